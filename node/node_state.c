/* node_state.c - reads and replaces the node's state file. */
#include "node/node_state.h"

#include "base/ids.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define STATE_BYTES_MAX 4096
#define PATH_BYTES      512

static enum status file_read(const char *path, char text[STATE_BYTES_MAX], size_t *bytes)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO;
    }
    ssize_t got = read(file, text, STATE_BYTES_MAX - 1);
    close(file);
    if (got < 0 || got == STATE_BYTES_MAX - 1) {
        return STATUS_IO;
    }
    text[got] = '\0';
    *bytes = (size_t)got;
    return STATUS_OK;
}

static bool line_decode(const char *line, struct node_state *state)
{
    const char *value = strchr(line, ' ');
    if (value == NULL) {
        return false;
    }
    size_t name_bytes = (size_t)(value - line);
    value++;
    if (name_bytes == 6 && memcmp(line, "format", 6) == 0) {
        return strcmp(value, "1") == 0;
    }
    if (name_bytes == 7 && memcmp(line, "cluster", 7) == 0) {
        state->has_cluster = true;
        return id_from_hex(value, state->cluster_id);
    }
    if (name_bytes == 13 && memcmp(line, "durable_write", 13) == 0) {
        state->has_probed = true;
        state->durable_write = value[0] == '1';
        return (value[0] == '0' || value[0] == '1') && value[1] == '\0';
    }
    return false;
}

enum status node_state_load(const char *directory, struct node_state *state)
{
    char path[PATH_BYTES];
    char text[STATE_BYTES_MAX];
    size_t bytes = 0;
    struct node_state loaded = {.has_cluster = false};
    snprintf(path, sizeof(path), "%s/state", directory);
    enum status status = file_read(path, text, &bytes);
    if (status == STATUS_NOT_FOUND) {
        *state = loaded;
        return STATUS_OK;
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (strlen(text) != bytes || strncmp(text, "format 1\n", 9) != 0) {
        return STATUS_CORRUPT;
    }
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        if (!line_decode(line, &loaded)) {
            return STATUS_CORRUPT;
        }
    }
    *state = loaded;
    return STATUS_OK;
}

static enum status file_write_durably(const char *path, const char *text, size_t bytes)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) {
        return STATUS_IO;
    }
    bool written = write(file, text, bytes) == (ssize_t)bytes && fsync(file) == 0;
    written = close(file) == 0 && written;
    return written ? STATUS_OK : STATUS_IO;
}

static enum status directory_flush(const char *directory)
{
    int file = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0) {
        return STATUS_IO;
    }
    bool flushed = fsync(file) == 0;
    close(file);
    return flushed ? STATUS_OK : STATUS_IO;
}

enum status node_state_save(const char *directory, const struct node_state *state)
{
    char path[PATH_BYTES];
    char new_path[PATH_BYTES];
    char text[STATE_BYTES_MAX];
    char hex[ID_HEX_BYTES];
    snprintf(path, sizeof(path), "%s/state", directory);
    snprintf(new_path, sizeof(new_path), "%s/state.new", directory);
    int bytes = snprintf(text, sizeof(text), "format 1\n");
    if (state->has_cluster) {
        id_to_hex(state->cluster_id, hex);
        bytes += snprintf(text + bytes, sizeof(text) - (size_t)bytes, "cluster %s\n", hex);
    }
    if (state->has_probed) {
        bytes += snprintf(text + bytes, sizeof(text) - (size_t)bytes, "durable_write %d\n", state->durable_write);
    }
    enum status status = file_write_durably(new_path, text, (size_t)bytes);
    if (status == STATUS_OK && rename(new_path, path) != 0) {
        status = STATUS_IO;
    }
    return status == STATUS_OK ? directory_flush(directory) : status;
}
