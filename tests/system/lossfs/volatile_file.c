/* volatile_file.c - pages of unflushed sectors over a backing file.
 *
 * Invariants
 *   cut_bytes <= bytes and cut_bytes <= disk_bytes; all three are equal after a flush and after a loss.
 *   A sector is in memory whole: what a write did not cover was filled in from below.
 *   In a page of memory, bytes from the file's end on are zeros. */
#include "tests/system/lossfs/volatile_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_BYTES       4096u
#define PAGE_SECTORS     (PAGE_BYTES / SECTOR_BYTES)
#define TORN_IN          50u /* one in so many of the sectors that are lost is torn instead */
#define TABLE_LENGTH_MIN 64u

struct volatile_page {
    struct list_link link; /* in volatile_file.dirty */
    uint64_t number;
    uint8_t sectors; /* one bit for each: unflushed */
    uint8_t data[PAGE_BYTES];
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* splitmix64: small, and good enough to decide about sectors. */
static uint64_t draw(uint64_t *chance)
{
    uint64_t value = *chance += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

/* ---- the disk ------------------------------------------------------------------------------------------ */

/* What the disk has at `offset`, zeros where it has nothing that counts. */
static int disk_read(const struct volatile_file *file, uint8_t *buffer, size_t bytes, uint64_t offset)
{
    size_t wanted = offset < file->cut_bytes ? (size_t)smaller(bytes, file->cut_bytes - offset) : 0;
    size_t done = 0;
    while (done < wanted) {
        ssize_t got = pread(file->disk, buffer + done, wanted - done, (off_t)(offset + done));
        if (got < 0) {
            return errno;
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    memset(buffer + done, 0, bytes - done);
    return 0;
}

static int disk_write(const struct volatile_file *file, const uint8_t *data, size_t bytes, uint64_t offset)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t put = pwrite(file->disk, data + done, bytes - done, (off_t)(offset + done));
        if (put <= 0) {
            return put < 0 ? errno : EIO;
        }
        done += (size_t)put;
    }
    return 0;
}

/* Give the disk the size, and zeros where the file was cut off in between. */
static int disk_resize(struct volatile_file *file)
{
    if (file->cut_bytes < file->disk_bytes && ftruncate(file->disk, (off_t)file->cut_bytes) != 0) {
        return errno;
    }
    file->disk_bytes = file->cut_bytes;
    if (file->bytes != file->disk_bytes && ftruncate(file->disk, (off_t)file->bytes) != 0) {
        return errno;
    }
    file->disk_bytes = file->bytes;
    file->cut_bytes = file->bytes;
    return 0;
}

/* ---- pages ---------------------------------------------------------------------------------------------- */

static struct volatile_page *page_find(const struct volatile_file *file, uint64_t number)
{
    return number < file->table_length ? file->table[number] : NULL;
}

static struct volatile_page *page_make(struct volatile_file *file, uint64_t number)
{
    struct volatile_page *page = page_find(file, number);
    if (page != NULL) {
        return page;
    }
    if (number >= file->table_length) {
        size_t length = file->table_length == 0 ? TABLE_LENGTH_MIN : file->table_length;
        while (length <= number) {
            length *= 2;
        }
        file->table = realloc(file->table, length * sizeof(struct volatile_page *));
        CHECK(file->table != NULL);
        for (size_t i = file->table_length; i < length; i++) {
            file->table[i] = NULL;
        }
        file->table_length = length;
    }
    page = calloc(1, sizeof(*page));
    CHECK(page != NULL);
    page->number = number;
    list_append(&file->dirty, &page->link);
    file->table[number] = page;
    file->dirty_pages++;
    return page;
}

static void page_free(struct volatile_file *file, struct volatile_page *page)
{
    CHECK(file->table[page->number] == page);
    file->table[page->number] = NULL;
    file->dirty_pages--;
    list_remove(&page->link);
    free(page);
}

static void pages_free(struct volatile_file *file)
{
    LIST_EACH (&file->dirty, link) {
        page_free(file, LIST_ENTRY(link, struct volatile_page, link));
    }
    CHECK(file->dirty_pages == 0);
}

/* Change bytes [from, from + bytes) of a page; NULL: to zeros. Sectors that are touched in part are filled first. */
static int page_write(struct volatile_file *file, struct volatile_page *page, uint32_t from, uint32_t bytes,
                      const uint8_t *data)
{
    for (uint32_t sector = from / SECTOR_BYTES; sector * SECTOR_BYTES < from + bytes; sector++) {
        uint32_t start = sector * SECTOR_BYTES;
        bool whole = from <= start && start + SECTOR_BYTES <= from + bytes;
        if ((page->sectors & 1u << sector) == 0 && !whole) {
            int error = disk_read(file, page->data + start, SECTOR_BYTES, page->number * PAGE_BYTES + start);
            if (error != 0) {
                return error;
            }
        }
        page->sectors = (uint8_t)(page->sectors | 1u << sector);
    }
    if (data == NULL) {
        memset(page->data + from, 0, bytes);
    } else {
        memcpy(page->data + from, data, bytes);
    }
    return 0;
}

/* Copy the unflushed sectors of a page over what was read from the disk. */
static void page_read(const struct volatile_page *page, uint8_t *buffer, uint32_t from, uint32_t bytes)
{
    for (uint32_t at = from; at < from + bytes;) {
        uint32_t sector = at / SECTOR_BYTES;
        uint32_t end = (uint32_t)smaller((sector + 1) * SECTOR_BYTES, from + bytes);
        if ((page->sectors & 1u << sector) != 0) {
            memcpy(buffer + (at - from), page->data + at, end - at);
        }
        at = end;
    }
}

/* Bring the unflushed sectors of a page to the disk, as far as the file reaches: neighbours in one write. */
static int page_flush(const struct volatile_file *file, const struct volatile_page *page)
{
    uint64_t start = page->number * PAGE_BYTES;
    uint32_t sector = 0;
    while (sector < PAGE_SECTORS) {
        if ((page->sectors & 1u << sector) == 0) {
            sector++;
            continue;
        }
        uint32_t first = sector;
        while (sector < PAGE_SECTORS && (page->sectors & 1u << sector) != 0) {
            sector++;
        }
        uint64_t offset = start + first * SECTOR_BYTES;
        uint64_t end = smaller(start + sector * SECTOR_BYTES, file->bytes);
        int error =
            end > offset ? disk_write(file, page->data + first * SECTOR_BYTES, (size_t)(end - offset), offset) : 0;
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

/* ---- the file ------------------------------------------------------------------------------------------- */

int volatile_file_open(struct volatile_file *file, int disk)
{
    struct stat facts;
    memset(file, 0, sizeof(*file));
    list_init(&file->dirty);
    if (fstat(disk, &facts) != 0) {
        return errno;
    }
    file->disk = disk;
    file->bytes = file->disk_bytes = file->cut_bytes = (uint64_t)facts.st_size;
    return 0;
}

void volatile_file_close(struct volatile_file *file)
{
    pages_free(file);
    free(file->table);
    close(file->disk);
}

bool volatile_file_is_dirty(const struct volatile_file *file)
{
    return file->dirty_pages > 0 || file->bytes != file->disk_bytes || file->cut_bytes != file->disk_bytes;
}

int volatile_file_read(const struct volatile_file *file, uint8_t *buffer, size_t bytes, uint64_t offset,
                       size_t *read_bytes)
{
    bytes = offset < file->bytes ? (size_t)smaller(bytes, file->bytes - offset) : 0;
    int error = disk_read(file, buffer, bytes, offset);
    if (error != 0) {
        return error;
    }
    for (size_t done = 0; done < bytes;) {
        uint32_t from = (uint32_t)((offset + done) % PAGE_BYTES);
        uint32_t part = (uint32_t)smaller(PAGE_BYTES - from, bytes - done);
        const struct volatile_page *page = page_find(file, (offset + done) / PAGE_BYTES);
        if (page != NULL) {
            page_read(page, buffer + done, from, part);
        }
        done += part;
    }
    *read_bytes = bytes;
    return 0;
}

/* Change [offset, offset + bytes) in memory; NULL: to zeros. */
static int change(struct volatile_file *file, const uint8_t *data, uint64_t bytes, uint64_t offset)
{
    for (uint64_t done = 0; done < bytes;) {
        uint32_t from = (uint32_t)((offset + done) % PAGE_BYTES);
        uint32_t part = (uint32_t)smaller(PAGE_BYTES - from, bytes - done);
        struct volatile_page *page = page_make(file, (offset + done) / PAGE_BYTES);
        int error = page_write(file, page, from, part, data == NULL ? NULL : data + done);
        if (error != 0) {
            return error;
        }
        done += part;
    }
    return 0;
}

int volatile_file_write(struct volatile_file *file, const uint8_t *data, size_t bytes, uint64_t offset)
{
    if (offset > VOLATILE_FILE_BYTES_MAX || bytes > VOLATILE_FILE_BYTES_MAX - offset) {
        return EFBIG;
    }
    int error = change(file, data, bytes, offset);
    if (error == 0 && bytes > 0 && offset + bytes > file->bytes) {
        file->bytes = offset + bytes;
    }
    return error;
}

int volatile_file_zero(struct volatile_file *file, uint64_t bytes, uint64_t offset)
{
    if (offset >= file->bytes) {
        return 0;
    }
    return change(file, NULL, smaller(bytes, file->bytes - offset), offset);
}

int volatile_file_truncate(struct volatile_file *file, uint64_t bytes)
{
    if (bytes > VOLATILE_FILE_BYTES_MAX) {
        return EFBIG;
    }
    if (bytes < file->bytes) {
        LIST_EACH (&file->dirty, link) {
            struct volatile_page *page = LIST_ENTRY(link, struct volatile_page, link);
            uint64_t start = page->number * PAGE_BYTES;
            if (start >= bytes) {
                page_free(file, page);
            } else if (start + PAGE_BYTES > bytes) {
                uint32_t rest = (uint32_t)(bytes - start);
                uint32_t sectors = (rest + SECTOR_BYTES - 1) / SECTOR_BYTES;
                memset(page->data + rest, 0, PAGE_BYTES - rest);
                page->sectors = (uint8_t)(page->sectors & ((1u << sectors) - 1));
            }
        }
        file->cut_bytes = smaller(file->cut_bytes, bytes);
    }
    file->bytes = bytes;
    return 0;
}

int volatile_file_flush(struct volatile_file *file)
{
    int error = disk_resize(file);
    LIST_EACH (&file->dirty, link) {
        struct volatile_page *page = LIST_ENTRY(link, struct volatile_page, link);
        error = error != 0 ? error : page_flush(file, page);
        if (error == 0) {
            page_free(file, page);
        }
    }
    return error;
}

int volatile_file_flush_range(struct volatile_file *file, size_t bytes, uint64_t offset)
{
    int error = disk_resize(file);
    for (uint64_t number = offset / PAGE_BYTES; error == 0 && number * PAGE_BYTES < offset + bytes; number++) {
        struct volatile_page *page = page_find(file, number);
        if (page == NULL) {
            continue;
        }
        uint64_t start = number * PAGE_BYTES;
        uint8_t others = 0; /* unflushed sectors of this page that lie outside the range */
        for (uint32_t sector = 0; sector < PAGE_SECTORS; sector++) {
            uint64_t at = start + sector * SECTOR_BYTES;
            if (at + SECTOR_BYTES <= offset || at >= offset + bytes) {
                others = (uint8_t)(others | (page->sectors & 1u << sector));
            }
        }
        page->sectors = (uint8_t)(page->sectors & ~others);
        error = page_flush(file, page);
        page->sectors = others;
        if (others == 0) {
            page_free(file, page);
        }
    }
    return error;
}

void volatile_file_drop(struct volatile_file *file)
{
    pages_free(file);
}

/* ---- losing power ------------------------------------------------------------------------------------------ */

/* What becomes of one unflushed sector; `limit` is how far the file reaches after the loss. */
static int lose_sector(const struct volatile_file *file, const struct volatile_page *page, uint32_t sector,
                       uint64_t limit, unsigned kept_percent, uint64_t *chance, struct loss *loss)
{
    uint64_t offset = page->number * PAGE_BYTES + sector * SECTOR_BYTES;
    uint64_t luck = draw(chance);
    size_t bytes = offset < limit ? (size_t)smaller(SECTOR_BYTES, limit - offset) : 0;

    if (bytes > 0 && luck % 100 < kept_percent) {
        loss->kept++;
    } else if (bytes > 0 && kept_percent > 0 && (luck >> 32) % TORN_IN == 0) {
        loss->torn++;
        bytes = 1 + (size_t)((luck >> 8) % bytes);
    } else {
        loss->lost++;
        return 0;
    }
    return disk_write(file, page->data + sector * SECTOR_BYTES, bytes, offset);
}

int volatile_file_lose(struct volatile_file *file, bool nothing_kept, uint64_t *chance, struct loss *loss)
{
    /* All, none, and what lies between: a coin for each sector alone would never leave a long write whole. */
    static const unsigned percents[] = {0, 0, 10, 50, 90, 100};
    unsigned kept_percent = nothing_kept ? 0 : percents[draw(chance) % ARRAY_LENGTH(percents)];
    int error = 0;
    if (file->bytes != file->disk_bytes || file->cut_bytes != file->disk_bytes) {
        if (!nothing_kept && draw(chance) % 2 == 0) {
            error = disk_resize(file);
        } else {
            /* Bytes behind a lost change of size went to blocks that belong to no file. */
            loss->sizes_lost++;
        }
    }
    uint64_t limit = file->cut_bytes;
    LIST_EACH (&file->dirty, link) {
        struct volatile_page *page = LIST_ENTRY(link, struct volatile_page, link);
        for (uint32_t sector = 0; error == 0 && sector < PAGE_SECTORS; sector++) {
            if ((page->sectors & 1u << sector) != 0) {
                error = lose_sector(file, page, sector, limit, kept_percent, chance, loss);
            }
        }
        page_free(file, page);
    }
    file->bytes = file->cut_bytes = file->disk_bytes;
    return error;
}
