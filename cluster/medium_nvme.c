/* medium_nvme.c - the sanitize commands of an NVMe controller, through the kernel's admin pass-through. */
#include "base/bytes.h"
#include "cluster/medium_sanitize.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define NVME_GET_LOG_PAGE   0x02u
#define NVME_IDENTIFY       0x06u
#define NVME_SANITIZE       0x84u
#define NVME_ALL_NAMESPACES UINT32_MAX
#define NVME_LOG_SANITIZE   0x81u
#define IDENTIFY_BYTES      4096u
#define IDENTIFY_CONTROLLER 1u
#define IDENTIFY_OACS       256u
#define IDENTIFY_SANICAP    328u
#define IDENTIFY_FNA        524u
#define IDENTIFY_NN         516u
#define IDENTIFY_ACTIVE     0x02u /* namespaces that are attached */
#define IDENTIFY_ALLOCATED  0x10u /* all that exist */
#define OACS_NAMESPACES     0x08u /* namespaces can be made and attached */
#define LOG_BYTES           512u
#define TIMEOUT_MS          60000u

struct nvme {
    struct sanitizer sanitizer;
    int controller;
};

static struct nvme *nvme_of(struct sanitizer *sanitizer)
{
    return CONTAINER_OF(sanitizer, struct nvme, sanitizer);
}

/* The kernel returns the device's own status as a positive number. */
static enum status submit(struct nvme *nvme, struct nvme_admin_cmd *command)
{
    command->timeout_ms = TIMEOUT_MS;
    int result = ioctl(nvme->controller, NVME_IOCTL_ADMIN_CMD, command);
    if (result < 0) {
        return status_from_errno(errno);
    }
    return result == 0 ? STATUS_OK : STATUS_IO;
}

/* How many namespaces its sanitize would erase; 0: it does not say. */
static uint32_t count_namespaces(struct nvme *nvme, uint16_t oacs)
{
    uint8_t list[IDENTIFY_BYTES] = {0};
    struct nvme_admin_cmd command = {.opcode = NVME_IDENTIFY,
                                     .addr = (uint64_t)(uintptr_t)list,
                                     .data_len = sizeof(list),
                                     .cdw10 = (oacs & OACS_NAMESPACES) != 0 ? IDENTIFY_ALLOCATED : IDENTIFY_ACTIVE};
    if (submit(nvme, &command) != STATUS_OK) {
        return 0;
    }
    struct byte_reader reader = byte_reader_of(list, sizeof(list));
    uint32_t count = 0;
    while (count < IDENTIFY_BYTES / 4 && read_u32(&reader) != 0) {
        count++;
    }
    return count;
}

static enum status nvme_ability(struct sanitizer *sanitizer, struct sanitize_ability *ability)
{
    uint8_t page[IDENTIFY_BYTES] = {0};
    struct nvme_admin_cmd command = {.opcode = NVME_IDENTIFY,
                                     .addr = (uint64_t)(uintptr_t)page,
                                     .data_len = sizeof(page),
                                     .cdw10 = IDENTIFY_CONTROLLER};
    enum status status = submit(nvme_of(sanitizer), &command);
    if (status != STATUS_OK) {
        return status;
    }
    struct byte_reader oacs = byte_reader_of(page + IDENTIFY_OACS, 2);
    struct byte_reader sanicap = byte_reader_of(page + IDENTIFY_SANICAP, 4);
    *ability =
        (struct sanitize_ability){.sanicap = read_u32(&sanicap), .oacs = read_u16(&oacs), .fna = page[IDENTIFY_FNA]};
    struct byte_reader most = byte_reader_of(page + IDENTIFY_NN, 4);
    ability->namespaces = read_u32(&most) == 1 ? 1 : count_namespaces(nvme_of(sanitizer), ability->oacs);
    return STATUS_OK;
}

static enum status nvme_issue(struct sanitizer *sanitizer, uint32_t cdw10, uint32_t cdw11)
{
    struct nvme_admin_cmd command = {.opcode = NVME_SANITIZE, .cdw10 = cdw10, .cdw11 = cdw11};
    return submit(nvme_of(sanitizer), &command);
}

static enum status nvme_log(struct sanitizer *sanitizer, struct sanitize_log *log)
{
    uint8_t page[LOG_BYTES] = {0};
    struct nvme_admin_cmd command = {.opcode = NVME_GET_LOG_PAGE,
                                     .nsid = NVME_ALL_NAMESPACES,
                                     .addr = (uint64_t)(uintptr_t)page,
                                     .data_len = sizeof(page),
                                     .cdw10 = NVME_LOG_SANITIZE | (LOG_BYTES / 4 - 1) << 16};
    enum status status = submit(nvme_of(sanitizer), &command);
    if (status == STATUS_OK) {
        sanitize_log_decode(page, log);
    }
    return status;
}

static void nvme_pause(struct sanitizer *sanitizer, unsigned ms)
{
    (void)sanitizer;
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

static uint64_t nvme_now_ms(struct sanitizer *sanitizer)
{
    (void)sanitizer;
    return medium_ticks_ns() / NS_PER_MS;
}

static void nvme_close(struct sanitizer *sanitizer)
{
    struct nvme *nvme = nvme_of(sanitizer);
    close(nvme->controller);
    free(nvme);
}

enum status medium_nvme_open(const struct medium_identity *identity, struct sanitizer **sanitizer, char *message)
{
    unsigned controller;
    unsigned name;
    char path[64];
    if (identity->kind != MEDIUM_DISK || sscanf(identity->disk, "nvme%un%u", &controller, &name) != 2) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "%s is no NVMe disk", identity->name);
        return STATUS_UNSUPPORTED;
    }
    struct nvme *nvme = calloc(1, sizeof(*nvme));
    if (nvme == NULL) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "out of memory");
        return STATUS_FULL;
    }
    snprintf(path, sizeof(path), "/dev/nvme%u", controller);
    nvme->controller = open(path, O_RDONLY | O_CLOEXEC);
    if (nvme->controller < 0) {
        snprintf(message, MEDIUM_MESSAGE_BYTES, "%s: %s", path, strerror(errno));
        free(nvme);
        return STATUS_UNSUPPORTED;
    }
    nvme->sanitizer = (struct sanitizer){.ability = nvme_ability,
                                         .issue = nvme_issue,
                                         .log = nvme_log,
                                         .pause = nvme_pause,
                                         .now_ms = nvme_now_ms,
                                         .close = nvme_close};
    *sanitizer = &nvme->sanitizer;
    return STATUS_OK;
}
