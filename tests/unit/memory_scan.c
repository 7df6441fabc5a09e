/* memory_scan.c - see memory_scan.h. A page is read when the kernel has one: pagemap tells, so that the address space
 * reserved by a sanitizer costs nothing. */
#include "tests/unit/memory_scan.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MASK           0x5au
#define PAGE_BYTES     4096u
#define BLOCK_PAGES    256u
#define READ_BYTES     ((size_t)BLOCK_PAGES * PAGE_BYTES)
#define OVERLAP_BYTES  (MEMORY_MARK_BYTES_MAX - 1)
#define MAPPINGS_MAX   8192u
#define CORE_BYTES_MAX GIB(2)

#define PAGEMAP_HELD   (3ull << 62) /* present or swapped out: Documentation/admin-guide/mm/pagemap.rst */

struct mapping {
    uintptr_t start;
    uintptr_t end;
    bool in_core;
    char name[64];
};

/* One scan. What it finds in its own buffer does not count: the buffer is a mapping of its own, left out by address. */
struct scan {
    struct memory_mark *marks;
    unsigned count;
    uint8_t *buffer; /* OVERLAP_BYTES and READ_BYTES */
    int memory;
    int pagemap;
    uint8_t starts[1u << 13]; /* a bit for each two bytes that a secret begins with */
};

/* ---- marks ------------------------------------------------------------------------------------- */

void memory_mark_set(struct memory_mark *mark, const char *name, const void *secret, size_t bytes)
{
    CHECK(bytes >= MEMORY_MARK_BYTES_MIN);
    CHECK(bytes <= MEMORY_MARK_BYTES_MAX);
    *mark = (struct memory_mark){.name = name, .bytes = bytes};
    const uint8_t *source = secret;
    for (size_t i = 0; i < bytes; i++) {
        mark->masked[i] = (uint8_t)(source[i] ^ MASK);
    }
}

bool memory_mark_matches(const struct memory_mark *mark, const void *data)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < mark->bytes; i++) {
        if ((bytes[i] ^ MASK) != mark->masked[i]) {
            return false;
        }
    }
    return true;
}

/* The array is there for its size; it is used so that the compiler keeps it. */
#define SCAN_STACK_BYTES KIB(64)
__attribute__((noinline)) void memory_run_below(void (*body)(void *argument), void *argument)
{
    volatile uint8_t room[SCAN_STACK_BYTES];
    room[0] = 0;
    body(argument);
    CHECK(room[0] == 0);
}

/* ---- searching --------------------------------------------------------------------------------- */

static void note_place(struct memory_mark *mark, uintptr_t address, const char *name, bool in_core)
{
    if (mark->places == 0 || (in_core && mark->places_in_core == 0)) {
        snprintf(mark->where, sizeof(mark->where), "%s at %" PRIxPTR " in %s", mark->name, address,
                 name[0] == '\0' ? "anonymous memory" : name);
    }
    mark->places++;
    mark->places_in_core += in_core;
}

/* The first `known` bytes have been looked through before: only what reaches beyond them is new. */
static void search(struct scan *scan, const uint8_t *data, size_t bytes, size_t known, uintptr_t address,
                   const char *name, bool in_core)
{
    for (size_t at = 0; at + MEMORY_MARK_BYTES_MIN <= bytes; at++) {
        unsigned start = data[at] | (unsigned)data[at + 1] << 8;
        if ((scan->starts[start / 8] >> start % 8 & 1) == 0) {
            continue;
        }
        for (unsigned i = 0; i < scan->count; i++) {
            struct memory_mark *mark = &scan->marks[i];
            if (at + mark->bytes <= bytes && at + mark->bytes > known && memory_mark_matches(mark, data + at)) {
                note_place(mark, address + at, name, in_core);
            }
        }
    }
}

static void scan_begin(struct scan *scan, struct memory_mark *marks, unsigned count)
{
    *scan = (struct scan){.marks = marks, .count = count, .memory = -1, .pagemap = -1};
    scan->buffer = mmap(NULL, OVERLAP_BYTES + READ_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(scan->buffer != MAP_FAILED);
    for (unsigned i = 0; i < count; i++) {
        unsigned start = (marks[i].masked[0] ^ MASK) | (unsigned)(marks[i].masked[1] ^ MASK) << 8;
        scan->starts[start / 8] |= (uint8_t)(1u << start % 8);
        marks[i].places = 0;
        marks[i].places_in_core = 0;
        marks[i].where[0] = '\0';
    }
}

static void scan_end(struct scan *scan)
{
    wipe_memory(scan->buffer, OVERLAP_BYTES + READ_BYTES);
    munmap(scan->buffer, OVERLAP_BYTES + READ_BYTES);
    wipe_memory(scan, sizeof(*scan));
}

/* ---- the process ------------------------------------------------------------------------------- */

/* One line of smaps. True at the end of a mapping that can be read. */
static bool read_smaps_line(const char *line, struct mapping *mapping, bool *readable)
{
    uintptr_t start;
    uintptr_t end;
    char rights[5];
    char name[64] = "";
    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %*s %63s", &start, &end, rights, name) >= 3) {
        *mapping = (struct mapping){.start = start, .end = end};
        memcpy(mapping->name, name, sizeof(name));
        *readable = rights[0] == 'r' && end - start <= MEMORY_MAPPING_BYTES_MAX;
        return false;
    }
    if (strncmp(line, "VmFlags:", 8) != 0) {
        return false;
    }
    mapping->in_core = strstr(line, " dd") == NULL;
    return *readable;
}

static unsigned read_mappings(struct mapping *mappings)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    CHECK(file != NULL);
    char line[512];
    unsigned count = 0;
    bool readable = false;
    while (fgets(line, sizeof(line), file) != NULL) {
        CHECK(count < MAPPINGS_MAX);
        count += read_smaps_line(line, &mappings[count], &readable);
    }
    fclose(file);
    CHECK(count > 0);
    return count;
}

static bool page_is_own_buffer(const struct scan *scan, uintptr_t page)
{
    uintptr_t buffer = (uintptr_t)scan->buffer;
    return page >= buffer && page < buffer + OVERLAP_BYTES + READ_BYTES;
}

/* Pages that stand side by side, and what went before them: a secret may lie across. */
static void scan_pages(struct scan *scan, const struct mapping *mapping, uintptr_t start, size_t bytes)
{
    size_t before = start - mapping->start < OVERLAP_BYTES ? start - mapping->start : OVERLAP_BYTES;
    if (before > 0 && page_is_own_buffer(scan, start - 1)) {
        before = 0;
    }
    ssize_t got = pread(scan->memory, scan->buffer, before + bytes, (off_t)(start - before));
    if (got > 0) {
        search(scan, scan->buffer, (size_t)got, before, start - before, mapping->name, mapping->in_core);
    }
}

static void scan_block(struct scan *scan, const struct mapping *mapping, uintptr_t start, unsigned pages)
{
    uint64_t entries[BLOCK_PAGES];
    ssize_t bytes = (ssize_t)(pages * sizeof(entries[0]));
    CHECK(pread(scan->pagemap, entries, (size_t)bytes, (off_t)(start / PAGE_BYTES * sizeof(entries[0]))) == bytes);
    unsigned held = 0;
    for (unsigned i = 0; i <= pages; i++) {
        uintptr_t page = start + (uintptr_t)i * PAGE_BYTES;
        if (i < pages && (entries[i] & PAGEMAP_HELD) != 0 && !page_is_own_buffer(scan, page)) {
            held++;
        } else if (held > 0) {
            scan_pages(scan, mapping, page - (uintptr_t)held * PAGE_BYTES, (size_t)held * PAGE_BYTES);
            held = 0;
        }
    }
}

void memory_scan(struct memory_mark *marks, unsigned count)
{
    static struct mapping mappings[MAPPINGS_MAX];
    struct scan scan;
    scan_begin(&scan, marks, count);
    scan.memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    scan.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    CHECK(scan.memory >= 0 && scan.pagemap >= 0);
    unsigned mapping_count = read_mappings(mappings);
    for (unsigned i = 0; i < mapping_count; i++) {
        const struct mapping *mapping = &mappings[i];
        for (uintptr_t at = mapping->start; at < mapping->end; at += READ_BYTES) {
            size_t left = mapping->end - at;
            scan_block(&scan, mapping, at, (unsigned)((left < READ_BYTES ? left : READ_BYTES) / PAGE_BYTES));
        }
    }
    close(scan.memory);
    close(scan.pagemap);
    scan_end(&scan);
}

/* ---- a core dump ------------------------------------------------------------------------------- */

/* In the copy of the process. The limit may be beyond what we are allowed: then there is no core, and that is told. */
static void die_with_a_core(const char *directory)
{
    const struct rlimit limit = {.rlim_cur = CORE_BYTES_MAX, .rlim_max = CORE_BYTES_MAX};
    if (chdir(directory) != 0 || setrlimit(RLIMIT_CORE, &limit) != 0 || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) {
        _exit(1);
    }
    signal(SIGABRT, SIG_DFL);
    raise(SIGABRT);
    _exit(1);
}

static bool core_is_a_plain_file(char *why, size_t why_bytes)
{
    char pattern[256] = "";
    FILE *file = fopen("/proc/sys/kernel/core_pattern", "re");
    bool is_plain = file != NULL && fgets(pattern, sizeof(pattern), file) != NULL && strpbrk(pattern, "|/") == NULL;
    if (file != NULL) {
        fclose(file);
    }
    pattern[strcspn(pattern, "\n")] = '\0';
    snprintf(why, why_bytes, "core dumps don't go to the working directory here: core_pattern is \"%s\"", pattern);
    return is_plain;
}

static void scan_core_file(struct scan *scan, int file)
{
    size_t kept = 0;
    uintptr_t offset = 0;
    ssize_t got;
    while ((got = read(file, scan->buffer + kept, READ_BYTES)) > 0) {
        size_t bytes = kept + (size_t)got;
        search(scan, scan->buffer, bytes, kept, offset, "the core dump", true);
        kept = bytes < OVERLAP_BYTES ? bytes : OVERLAP_BYTES;
        memmove(scan->buffer, scan->buffer + bytes - kept, kept);
        offset += bytes - kept;
    }
    CHECK(got == 0);
}

/* Scan the one file in `directory` and delete it. False: there is none. */
static bool scan_core_in(const char *directory, struct memory_mark *marks, unsigned count)
{
    DIR *opened = opendir(directory);
    CHECK(opened != NULL);
    bool found = false;
    for (struct dirent *entry = readdir(opened); entry != NULL; entry = readdir(opened)) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        int file = openat(dirfd(opened), entry->d_name, O_RDONLY | O_CLOEXEC);
        CHECK(file >= 0);
        struct scan scan;
        scan_begin(&scan, marks, count);
        scan_core_file(&scan, file);
        scan_end(&scan);
        close(file);
        unlinkat(dirfd(opened), entry->d_name, 0);
        found = true;
    }
    closedir(opened);
    return found;
}

bool memory_scan_core(struct memory_mark *marks, unsigned count, char *why, size_t why_bytes)
{
    if (!core_is_a_plain_file(why, why_bytes)) {
        return false;
    }
    char directory[] = "/tmp/trilith-core-XXXXXX";
    CHECK(mkdtemp(directory) != NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        die_with_a_core(directory);
    }
    int ended = 0;
    CHECK(waitpid(child, &ended, 0) == child);
    bool found = scan_core_in(directory, marks, count);
    rmdir(directory);
    if (!found) {
        snprintf(why, why_bytes, "no core dump was written: %s", WIFEXITED(ended) ? "the limit is fixed" : "no room");
    }
    return found;
}
