/* node.c - the files and directories that the kernel knows, and what happens to all of them at once.
 *
 * A node lives as long as the kernel refers to it, and longer when it has something unflushed: closing a file and
 * forgetting it makes nothing durable. A file without a name and without a reference is gone, dirty or not. */
#include "tests/system/lossfs/lossfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void lossfs_lock(struct lossfs *lossfs)
{
    CHECK(pthread_mutex_lock(&lossfs->lock) == 0);
}

void lossfs_unlock(struct lossfs *lossfs)
{
    CHECK(pthread_mutex_unlock(&lossfs->lock) == 0);
}

void lossfs_enter(struct lossfs *lossfs)
{
    lossfs_lock(lossfs);
    if (lossfs->faults.stall) {
        lossfs->counters.stalled++;
    }
    while (lossfs->faults.stall) {
        CHECK(pthread_cond_wait(&lossfs->resumed, &lossfs->lock) == 0);
    }
}

void node_place(const struct node *node, char path[PLACE_BYTES])
{
    (void)snprintf(path, PLACE_BYTES, "/proc/self/fd/%d", node->place);
}

int node_lookup(struct lossfs *lossfs, int place, struct node **result)
{
    struct stat facts;
    if (fstat(place, &facts) != 0) {
        int error = errno;
        close(place);
        return error;
    }
    LIST_EACH (&lossfs->nodes, link) {
        struct node *node = LIST_ENTRY(link, struct node, link);
        if (node->inode == facts.st_ino && node->device == facts.st_dev) {
            close(place);
            node->lookups++;
            *result = node;
            return 0;
        }
    }
    struct node *node = calloc(1, sizeof(*node));
    CHECK(node != NULL);
    node->place = place;
    node->device = facts.st_dev;
    node->inode = facts.st_ino;
    node->lookups = 1;
    list_prepend(&lossfs->nodes, &node->link);
    *result = node;
    return 0;
}

static void node_free_unneeded(struct node *node)
{
    struct stat facts;
    bool named = fstat(node->place, &facts) == 0 && facts.st_nlink > 0;
    if (node->lookups > 0 || (named && node->is_open && volatile_file_is_dirty(&node->file))) {
        return;
    }
    if (node->is_open) {
        volatile_file_close(&node->file);
    }
    close(node->place);
    list_remove(&node->link);
    free(node);
}

void node_forget(struct lossfs *lossfs, struct node *node, uint64_t lookups)
{
    if (node == lossfs->root) {
        return;
    }
    CHECK(node->lookups >= lookups);
    node->lookups -= lookups;
    node_free_unneeded(node);
}

int node_open(struct node *node)
{
    if (node->is_open) {
        return 0;
    }
    char path[PLACE_BYTES];
    node_place(node, path);
    int disk = open(path, O_RDWR | O_CLOEXEC);
    if (disk < 0) {
        return errno;
    }
    int error = volatile_file_open(&node->file, disk);
    if (error != 0) {
        close(disk);
        return error;
    }
    node->is_open = true;
    return 0;
}

int lossfs_lose(struct lossfs *lossfs)
{
    int error = 0;
    lossfs->counters.losses++;
    LIST_EACH (&lossfs->nodes, link) {
        struct node *node = LIST_ENTRY(link, struct node, link);
        if (node->is_open && volatile_file_is_dirty(&node->file)) {
            int node_error =
                volatile_file_lose(&node->file, lossfs->faults.harsh, &lossfs->chance, &lossfs->counters.loss);
            error = error != 0 ? error : node_error;
        }
        if (node != lossfs->root) {
            node_free_unneeded(node);
        }
    }
    return error;
}

int lossfs_flush(struct lossfs *lossfs)
{
    int error = 0;
    LIST_EACH (&lossfs->nodes, link) {
        struct node *node = LIST_ENTRY(link, struct node, link);
        if (node->is_open) {
            int node_error = volatile_file_flush(&node->file);
            error = error != 0 ? error : node_error;
        }
        if (node != lossfs->root) {
            node_free_unneeded(node);
        }
    }
    return error;
}
