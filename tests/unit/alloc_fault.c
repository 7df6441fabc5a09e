/* alloc_fault.c - see alloc_fault.h. The linker sends every allocation of the program to the wrappers below. */
#include "tests/unit/alloc_fault.h"

#include "base/check.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define LEAKS_ARE_FOUND 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LEAKS_ARE_FOUND 1
#endif
#endif
#ifdef LEAKS_ARE_FOUND
#include <sanitizer/lsan_interface.h>
#endif

#define RANGES_MAX 2048

/* Where code lies whose allocations are not the product's. */
struct code_range {
    uintptr_t start;
    uintptr_t end;
};

static struct {
    struct code_range exempt[RANGES_MAX];
    size_t exempt_count;
    bool armed;
    bool for_ever;
    uint64_t nth;
    uint64_t count;
    const struct alloc_fault_stop *stops;
} fault;

/* ---- whose code is it ---------------------------------------------------------------------------------- */

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Names of source files, and of functions: a function with a declaration is named after its file. */
static bool name_is_exempt(const char *name)
{
    static const char *const prefixes[] = {"sim_", "test_", "timer_heap", "alloc_fault", "io_fault", "__wrap_"};
    for (size_t i = 0; i < ARRAY_LENGTH(prefixes); i++) {
        if (starts_with(name, prefixes[i])) {
            return true;
        }
    }
    return false;
}

/* Walk one symbol table. Static functions stand behind a symbol with the name of their file; all others come later. */
static void symbols_walk(const ElfW(Sym) * symbols, size_t count, const char *names, uintptr_t base)
{
    bool file_is_exempt = false;
    for (size_t i = 0; i < count; i++) {
        const ElfW(Sym) *symbol = &symbols[i];
        unsigned type = ELF64_ST_TYPE(symbol->st_info);
        const char *name = names + symbol->st_name;
        if (type == STT_FILE) {
            file_is_exempt = name_is_exempt(name);
        }
        bool is_static = ELF64_ST_BIND(symbol->st_info) == STB_LOCAL;
        if (type != STT_FUNC || symbol->st_size == 0 || !(is_static ? file_is_exempt : name_is_exempt(name))) {
            continue;
        }
        CHECK(fault.exempt_count < RANGES_MAX);
        fault.exempt[fault.exempt_count++] =
            (struct code_range){.start = base + symbol->st_value, .end = base + symbol->st_value + symbol->st_size};
    }
}

static int program_base(struct dl_phdr_info *info, size_t bytes, void *base)
{
    (void)bytes;
    *(uintptr_t *)base = info->dlpi_addr;
    return 1; /* The first one is the program. */
}

static void symbols_load(void)
{
    uintptr_t base = 0;
    dl_iterate_phdr(program_base, &base);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat facts;
    CHECK(file >= 0 && fstat(file, &facts) == 0);
    const uint8_t *image = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    CHECK(image != MAP_FAILED);
    const ElfW(Ehdr) *header = (const void *)image;
    const ElfW(Shdr) *sections = (const void *)(image + header->e_shoff);
    for (unsigned i = 0; i < header->e_shnum; i++) {
        if (sections[i].sh_type == SHT_SYMTAB) {
            symbols_walk((const void *)(image + sections[i].sh_offset), sections[i].sh_size / sizeof(ElfW(Sym)),
                         (const char *)image + sections[sections[i].sh_link].sh_offset, base);
        }
    }
    munmap((void *)(uintptr_t)image, (size_t)facts.st_size);
    close(file);
    CHECK(fault.exempt_count > 0); /* Else the program was stripped. */
}

static bool caller_is_exempt(const void *caller)
{
    for (size_t i = 0; i < fault.exempt_count; i++) {
        if ((uintptr_t)caller > fault.exempt[i].start && (uintptr_t)caller <= fault.exempt[i].end) {
            return true;
        }
    }
    return false;
}

/* ---- the wrappers -------------------------------------------------------------------------------------- */

/* Count one allocation made from `caller`. True: it fails. */
static bool allocation_fails(const void *caller)
{
    if (!fault.armed || caller_is_exempt(caller)) {
        return false;
    }
    fault.count++;
    bool fails = fault.for_ever ? fault.count >= fault.nth : fault.count == fault.nth;
    errno = fails ? ENOMEM : errno;
    return fails;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
int __real_posix_memalign(void **memory, size_t alignment, size_t bytes);
_Noreturn void __real_check_failed(const char *condition, const char *file, int line);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes);
_Noreturn void __wrap_check_failed(const char *condition, const char *file, int line);

void *__wrap_malloc(size_t bytes)
{
    return allocation_fails(__builtin_return_address(0)) ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return allocation_fails(__builtin_return_address(0)) ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    return allocation_fails(__builtin_return_address(0)) ? NULL : __real_realloc(memory, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return allocation_fails(__builtin_return_address(0)) ? NULL : __real_aligned_alloc(alignment, bytes);
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    return allocation_fails(__builtin_return_address(0)) ? ENOMEM : __real_posix_memalign(memory, alignment, bytes);
}

/* A CHECK that an allocation gave something, where stopping is the design, is a good end. */
void __wrap_check_failed(const char *condition, const char *file, int line)
{
    const struct alloc_fault_stop *stop = fault.stops;
    for (; alloc_fault_hit() && stop != NULL && stop->file != NULL; stop++) {
        const char *at = strstr(file, stop->file);
        if (at != NULL && at[strlen(stop->file)] == '\0' && strstr(condition, stop->condition) != NULL) {
            _exit(ALLOC_FAULT_STOPPED);
        }
    }
    __real_check_failed(condition, file, line);
}

/* ---- running ------------------------------------------------------------------------------------------- */

bool alloc_fault_hit(void)
{
    return fault.nth > 0 && fault.count >= fault.nth;
}

bool alloc_fault_leaks(void)
{
#ifdef LEAKS_ARE_FOUND
    return __lsan_do_recoverable_leak_check() != 0;
#else
    return false;
#endif
}

static enum alloc_fault_end child_run(bool (*script)(void))
{
    fault.armed = true;
    bool good = script();
    fault.armed = false;
    if (!good) {
        return ALLOC_FAULT_BROKEN;
    }
    if (alloc_fault_leaks()) {
        return ALLOC_FAULT_BROKEN;
    }
    return alloc_fault_hit() ? ALLOC_FAULT_ANSWERED : ALLOC_FAULT_UNTOUCHED;
}

enum alloc_fault_end alloc_fault_run(bool (*script)(void), uint64_t nth, bool for_ever,
                                     const struct alloc_fault_stop *stops)
{
    CHECK(nth > 0);
    if (fault.exempt_count == 0) {
        symbols_load();
    }
    fault.nth = nth;
    fault.for_ever = for_ever;
    fault.stops = stops;
    fault.count = 0;
    fflush(NULL);
    pid_t child = fork();
    CHECK(child != -1);
    if (child == 0) {
        _exit((int)child_run(script));
    }
    int how = 0;
    CHECK(waitpid(child, &how, 0) == child);
    bool is_good = WIFEXITED(how) && WEXITSTATUS(how) < ALLOC_FAULT_BROKEN;
    return is_good ? (enum alloc_fault_end)WEXITSTATUS(how) : ALLOC_FAULT_BROKEN;
}
