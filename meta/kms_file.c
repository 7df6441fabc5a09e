/* kms_file.c - master keys from a key file: the master key in guarded memory, imported ones in boxes beside the file.
 *
 * Every file in FILE.keys/ is written whole under one temporary name, flushed and renamed, so a crash leaves the old
 * state or the new one. Secrets pass through one guarded scratch: calls come one at a time. */
#include "meta/kms_file.h"

#include "meta/secret_file.h"

#include "base/digest.h"
#include "base/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID_BYTES     16
#define ID_HEX       32
#define RANDOM_BYTES 12
#define IMPORTED     0x80 /* in the first byte of an id */
#define PREFIX       "file:"
#define INCOMING     "incoming.tmp"
#define TRANSPORT    "transport"
#define NAME_BYTES   48
#define STORED_MAX   (TRANSPORT_PRIVATE_BYTES_MAX + BOX_OVERHEAD_BYTES)

_Static_assert(ID_HEX == 2 * ID_BYTES, "two digits a byte");
_Static_assert(sizeof(PREFIX) + ID_HEX <= KMS_CMK_BYTES, "a name fits");
_Static_assert(KMS_IMPORT_BYTES_MAX <= TRANSPORT_WRAPPED_BYTES_MAX, "an import fits");
_Static_assert(KMS_PUBLIC_KEY_BYTES >= TRANSPORT_PEM_BYTES, "a public key fits");

/* In guarded memory. */
struct secrets {
    struct key master;
    struct key store;
    struct key cmk;
    struct key check;
    struct key seed;
    uint8_t plain[TRANSPORT_PRIVATE_BYTES_MAX];
};

struct kms_file {
    struct kms_provider provider;
    struct secrets *secrets;
    char directory[PATH_MAX]; /* FILE.keys */
};

static void refuse(struct kms_call *call, enum status status, const char *why)
{
    call->status = status;
    (void)snprintf(call->message, sizeof(call->message), "%s", why);
}

/* ---- files beside the key file ----------------------------------------------------------------- */

/* What the kernel said about FILE.keys/NAME. */
static void refuse_errno(const struct kms_file *file, struct kms_call *call, const char *name, const char *what)
{
    int error = errno;
    call->status = error == ENOSPC || error == EDQUOT ? STATUS_FULL : STATUS_KEY_AWAY;
    (void)snprintf(call->message, sizeof(call->message), "%.120s/%s %s: %s", file->directory, name, what,
                   strerror(error));
}

/* FILE.keys, or -1; made when `create`. */
static int directory_open(const struct kms_file *file, bool create)
{
    if (create && mkdir(file->directory, 0700) != 0 && errno != EEXIST) {
        return -1;
    }
    if (create && !flush_directory_of(file->directory)) {
        return -1;
    }
    return open(file->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

/* The plaintext of FILE.keys/NAME into the scratch. STATUS_OK with its length, STATUS_NOT_FOUND: no such file; else the
 * call is refused. */
static enum status stored_read(struct kms_file *file, struct kms_call *call, const char *name, size_t *bytes)
{
    uint8_t sealed[STORED_MAX + 1];
    int directory = directory_open(file, false);
    int source = directory < 0 ? -1 : openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t got = source < 0 ? -1 : read(source, sealed, sizeof(sealed));
    enum status status = STATUS_OK;
    if (got < 0 && errno == ENOENT) {
        status = STATUS_NOT_FOUND;
    } else if (got < 0) {
        refuse_errno(file, call, name, "can't be read");
        status = call->status;
    } else if ((size_t)got > STORED_MAX || got < BOX_OVERHEAD_BYTES ||
               box_open(&file->secrets->store, name, strlen(name), sealed, (size_t)got, file->secrets->plain) !=
                   STATUS_OK) {
        call->status = status = STATUS_INVALID;
        (void)snprintf(call->message, sizeof(call->message),
                       "%.120s/%s is damaged or belongs to another key file: restore it from your copy",
                       file->directory, name);
    } else {
        *bytes = (size_t)got - BOX_OVERHEAD_BYTES;
    }
    if (source >= 0) {
        (void)close(source);
    }
    if (directory >= 0) {
        (void)close(directory);
    }
    return status;
}

/* Seal `bytes` bytes of the scratch into FILE.keys/NAME, durably. False: the call is refused. */
static bool stored_write(struct kms_file *file, struct kms_call *call, const char *name, size_t bytes)
{
    uint8_t sealed[STORED_MAX];
    int directory = directory_open(file, true);
    int target =
        directory < 0 ? -1 : openat(directory, INCOMING, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool written = false;
    if (target >= 0) {
        box_seal(&file->secrets->store, name, strlen(name), file->secrets->plain, bytes, sealed);
        written = write_whole(target, sealed, bytes + BOX_OVERHEAD_BYTES) && fchmod(target, 0600) == 0 &&
                  fsync(target) == 0 && renameat(directory, INCOMING, directory, name) == 0 && fsync(directory) == 0;
    }
    if (!written) {
        refuse_errno(file, call, name, "can't be written");
    }
    if (target >= 0) {
        (void)close(target);
    }
    if (directory >= 0) {
        (void)close(directory);
    }
    return written;
}

/* Overwrite FILE.keys/NAME and remove it, durably. */
static bool stored_destroy(const struct kms_file *file, const char *name)
{
    static const uint8_t zeros[KEY_BYTES + BOX_OVERHEAD_BYTES];
    int directory = directory_open(file, false);
    int target = directory < 0 ? -1 : openat(directory, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    bool destroyed = target >= 0 && write_whole(target, zeros, sizeof(zeros)) && fsync(target) == 0 &&
                     unlinkat(directory, name, 0) == 0 && fsync(directory) == 0;
    int error = errno;
    if (target >= 0) {
        (void)close(target);
    }
    if (directory >= 0) {
        (void)close(directory);
    }
    errno = error;
    return destroyed;
}

/* ---- master keys ------------------------------------------------------------------------------- */

/* The last bytes of an id, from those before. */
static void id_check(struct kms_file *file, const uint8_t id[ID_BYTES], uint8_t check[ID_BYTES - RANDOM_BYTES])
{
    char label[sizeof("cmk-check ") + ID_HEX] = "cmk-check ";
    hex_encode(id, RANDOM_BYTES, label + strlen("cmk-check "));
    derive_named_key(&file->secrets->master, label, &file->secrets->check);
    memcpy(check, file->secrets->check.bytes, ID_BYTES - RANDOM_BYTES);
}

static void id_make(struct kms_file *file, bool imported, uint8_t id[ID_BYTES], char hex[ID_HEX + 1])
{
    struct key random; /* No secret: ids are public. */
    key_make(&random);
    memcpy(id, random.bytes, RANDOM_BYTES);
    id[0] = (uint8_t)((id[0] & ~IMPORTED) | (imported ? IMPORTED : 0));
    id_check(file, id, id + RANDOM_BYTES);
    hex_encode(id, ID_BYTES, hex);
}

/* The id in a CMK's name. False: the call is refused. */
static bool id_of(struct kms_file *file, struct kms_call *call, uint8_t id[ID_BYTES])
{
    uint8_t check[ID_BYTES - RANDOM_BYTES];
    size_t length = strnlen(call->cmk, sizeof(call->cmk));
    if (length != strlen(PREFIX) + ID_HEX || memcmp(call->cmk, PREFIX, strlen(PREFIX)) != 0 ||
        !hex_decode(call->cmk + strlen(PREFIX), ID_HEX, id, ID_BYTES)) {
        refuse(call, STATUS_INVALID,
               "this is not the name of a master key of the key file: those begin with \"file:\"");
        return false;
    }
    id_check(file, id, check);
    if (memcmp(check, id + RANDOM_BYTES, sizeof(check)) != 0) {
        refuse(call, STATUS_NOT_FOUND,
               "this master key is not of this key file: set key_file to the one that it was made with");
        return false;
    }
    return true;
}

static bool id_is_imported(const uint8_t id[ID_BYTES])
{
    return (id[0] & IMPORTED) != 0;
}

/* "<32 hex digits>.cmk" */
static void stored_name(const uint8_t id[ID_BYTES], char name[NAME_BYTES])
{
    char hex[ID_HEX + 1];
    hex_encode(id, ID_BYTES, hex);
    (void)snprintf(name, NAME_BYTES, "%s.cmk", hex);
}

/* The CMK that a call names into secrets->cmk. False: the call is refused. */
static bool cmk_find(struct kms_file *file, struct kms_call *call)
{
    struct secrets *secrets = file->secrets;
    uint8_t id[ID_BYTES];
    if (!id_of(file, call, id)) {
        return false;
    }
    if (!id_is_imported(id)) {
        char label[sizeof("cmk ") + ID_HEX] = "cmk ";
        hex_encode(id, ID_BYTES, label + strlen("cmk "));
        derive_named_key(&secrets->master, label, &secrets->cmk);
        return true;
    }
    char name[NAME_BYTES];
    size_t bytes = 0;
    stored_name(id, name);
    enum status status = stored_read(file, call, name, &bytes);
    if (status == STATUS_OK) {
        CHECK(bytes >= KEY_BYTES); /* Only perform_import() seals under such a name. */
        memcpy(secrets->cmk.bytes, secrets->plain, KEY_BYTES);
        return true;
    }
    if (status == STATUS_NOT_FOUND) {
        call->status = STATUS_NOT_FOUND;
        (void)snprintf(call->message, sizeof(call->message),
                       "the imported master key %s is not in %.100s: it was destroyed, or restore it from your copy",
                       name, file->directory);
    } else if (status == STATUS_INVALID) {
        call->status = STATUS_NOT_FOUND;
    }
    return false;
}

static void name_cmk(struct kms_call *call, const char hex[ID_HEX + 1])
{
    (void)snprintf(call->cmk, sizeof(call->cmk), PREFIX "%s", hex);
}

static void perform_create(struct kms_file *file, struct kms_call *call)
{
    uint8_t id[ID_BYTES];
    char hex[ID_HEX + 1];
    id_make(file, false, id, hex);
    name_cmk(call, hex);
}

/* The transport key's private half into the scratch, made when there is none. False: the call is refused. */
static bool transport_load(struct kms_file *file, struct kms_call *call, size_t *bytes)
{
    enum status status = stored_read(file, call, TRANSPORT, bytes);
    if (status == STATUS_NOT_FOUND) {
        char pem[TRANSPORT_PEM_BYTES];
        status = transport_make(file->secrets->plain, bytes, pem);
        if (status != STATUS_OK) {
            refuse(call, STATUS_FULL, "no memory to make the transport key");
            return false;
        }
        return stored_write(file, call, TRANSPORT, *bytes);
    }
    if (status == STATUS_INVALID) {
        call->status = STATUS_KEY_AWAY; /* Of the provider's own state, not of the request. */
    }
    return status == STATUS_OK;
}

static void perform_transport(struct kms_file *file, struct kms_call *call)
{
    size_t bytes = 0;
    if (!transport_load(file, call, &bytes)) {
        return;
    }
    if (transport_public(file->secrets->plain, bytes, call->public_key) != STATUS_OK) {
        refuse(call, STATUS_KEY_AWAY, "the transport key can't be read: remove \"transport\" beside the key file");
        return;
    }
    (void)snprintf(call->algorithm, sizeof(call->algorithm), "%s", TRANSPORT_SHA256);
}

static void perform_import(struct kms_file *file, struct kms_call *call)
{
    struct secrets *secrets = file->secrets;
    uint8_t id[ID_BYTES];
    char hex[ID_HEX + 1];
    char name[NAME_BYTES];
    size_t private_bytes = 0;
    size_t bytes = 0;
    if (!transport_load(file, call, &private_bytes)) {
        return;
    }
    enum status status = transport_decrypt(secrets->plain, private_bytes, call->sealed, call->sealed_bytes,
                                           secrets->plain, sizeof(secrets->plain), &bytes);
    if (status != STATUS_OK) {
        refuse(call, status == STATUS_FULL ? STATUS_FULL : STATUS_DENIED,
               "the import does not open: encrypt the key to the current transport key, with " TRANSPORT_SHA256);
        return;
    }
    if (bytes != KEY_BYTES) {
        refuse(call, STATUS_INVALID, "the import opens, but a master key has 32 bytes");
        return;
    }
    id_make(file, true, id, hex);
    stored_name(id, name);
    if (stored_write(file, call, name, KEY_BYTES)) {
        name_cmk(call, hex);
    }
}

static void perform_wrap(struct kms_file *file, struct kms_call *call)
{
    if (cmk_find(file, call)) {
        box_seal(&file->secrets->cmk, call->context, call->context_bytes, call->dek->bytes, KEY_BYTES, call->sealed);
        call->sealed_bytes = KEY_BYTES + BOX_OVERHEAD_BYTES;
    }
}

static void perform_unwrap(struct kms_file *file, struct kms_call *call)
{
    if (!cmk_find(file, call)) {
        return;
    }
    if (call->sealed_bytes != KEY_BYTES + BOX_OVERHEAD_BYTES ||
        box_open(&file->secrets->cmk, call->context, call->context_bytes, call->sealed, call->sealed_bytes,
                 call->dek->bytes) != STATUS_OK) {
        refuse(call, STATUS_DENIED, "the wrapped key was changed, or belongs to another tenant, version or master key");
    }
}

static void perform_destroy(struct kms_file *file, struct kms_call *call)
{
    uint8_t id[ID_BYTES];
    char name[NAME_BYTES];
    if (!id_of(file, call, id)) {
        return;
    }
    if (!id_is_imported(id)) {
        refuse(call, STATUS_UNSUPPORTED, "this master key follows from the key file and can't be destroyed alone");
        return;
    }
    stored_name(id, name);
    if (!stored_destroy(file, name)) {
        if (errno == ENOENT) {
            refuse(call, STATUS_NOT_FOUND, "there is no such imported master key; it was destroyed before");
        } else {
            refuse_errno(file, call, name, "can't be destroyed");
        }
    }
}

/* ---- signing keys ------------------------------------------------------------------------------ */

/* The seed of signing key `number` into the scratch. */
static void seed_derive(struct kms_file *file, uint32_t number)
{
    char label[sizeof("sign 4294967295")];
    (void)snprintf(label, sizeof(label), "sign %u", number);
    derive_named_key(&file->secrets->master, label, &file->secrets->seed);
}

static void perform_signing_key(struct kms_file *file, struct kms_call *call)
{
    seed_derive(file, call->number);
    signature_public_key(&file->secrets->seed, &call->signing_key);
}

static void perform_sign(struct kms_file *file, struct kms_call *call)
{
    seed_derive(file, call->number);
    for (uint32_t i = 0; i < call->batch->count; i++) {
        size_t bytes = 0;
        const uint8_t *message = kms_batch_message(call->batch, i, &bytes);
        signature_sign(&file->secrets->seed, message, bytes, &call->batch->signatures[i]);
    }
}

/* ---- the provider ------------------------------------------------------------------------------ */

static void file_perform(struct kms_provider *provider, struct kms_call *call)
{
    struct kms_file *file = CONTAINER_OF(provider, struct kms_file, provider);
    call->status = STATUS_OK;
    call->message[0] = '\0';
    switch (call->operation) {
    case KMS_CREATE:
        perform_create(file, call);
        break;
    case KMS_IMPORT:
        perform_import(file, call);
        break;
    case KMS_TRANSPORT:
        perform_transport(file, call);
        break;
    case KMS_WRAP:
        perform_wrap(file, call);
        break;
    case KMS_UNWRAP:
        perform_unwrap(file, call);
        break;
    case KMS_DESTROY:
        perform_destroy(file, call);
        break;
    case KMS_CHECK:
        break; /* The master key is in memory. */
    case KMS_SIGNING_KEY:
        perform_signing_key(file, call);
        break;
    case KMS_SIGN:
        perform_sign(file, call);
        break;
    }
    struct secrets *secrets = file->secrets;
    wipe_memory(&secrets->cmk, sizeof(secrets->cmk));
    wipe_memory(&secrets->check, sizeof(secrets->check));
    wipe_memory(&secrets->seed, sizeof(secrets->seed));
    wipe_memory(secrets->plain, sizeof(secrets->plain));
}

/* ---- opening ----------------------------------------------------------------------------------- */

static void file_close(struct kms_provider *provider)
{
    struct kms_file *file = CONTAINER_OF(provider, struct kms_file, provider);
    guarded_release(file->secrets);
    free(file);
}

static const struct kms_provider_ops file_ops = {.perform = file_perform, .close = file_close};

static enum status refuse_memory(const char *path, char *message, size_t message_bytes)
{
    (void)snprintf(message, message_bytes, "%s: no locked memory for the key: raise the limit memlock", path);
    return STATUS_FULL;
}

static enum status unlock(const char *path, const struct key_file *content, const char *passphrase, struct key *master,
                          char *message, size_t message_bytes)
{
    if (!content->is_protected) {
        if (passphrase != NULL) {
            (void)snprintf(message, message_bytes, "%s: is not protected by a passphrase: do not give one", path);
            return STATUS_INVALID;
        }
        *master = content->key;
        return STATUS_OK;
    }
    if (passphrase == NULL) {
        (void)snprintf(message, message_bytes, "%s: is protected by a passphrase: give it", path);
        return STATUS_DENIED;
    }
    enum status status = key_file_unlock(content, passphrase, master);
    if (status == STATUS_DENIED) {
        (void)snprintf(message, message_bytes,
                       "%s: does not open with this passphrase (or the file was changed: compare it with your copy)",
                       path);
    } else if (status != STATUS_OK) {
        (void)snprintf(message, message_bytes, "%s: its passphrase takes %u MiB of memory to check: free some", path,
                       content->cost.memory_kib / 1024);
    }
    return status;
}

/* Remove what a crash left of an import that nobody was told of. */
static void drop_incoming(const struct kms_file *file)
{
    int directory = directory_open(file, false);
    if (directory >= 0) {
        (void)unlinkat(directory, INCOMING, 0);
        (void)close(directory);
    }
}

enum status kms_file_open(const char *path, const char *passphrase, struct kms_provider **provider, char *message,
                          size_t message_bytes)
{
    struct kms_file *file = calloc(1, sizeof(*file));
    struct secrets *secrets = guarded_take(sizeof(*secrets));
    struct key_file *content = guarded_take(sizeof(*content));
    enum status status = STATUS_OK;
    if (file == NULL || secrets == NULL || content == NULL) {
        status = refuse_memory(path, message, message_bytes);
    } else if (snprintf(file->directory, sizeof(file->directory), "%s.keys", path) >= (int)sizeof(file->directory)) {
        (void)snprintf(message, message_bytes, "%s: the path is too long", path);
        status = STATUS_INVALID;
    } else {
        status = key_file_read(path, content, message, message_bytes);
    }
    if (status == STATUS_OK) {
        status = unlock(path, content, passphrase, &secrets->master, message, message_bytes);
    }
    guarded_release(content);
    if (status != STATUS_OK) {
        guarded_release(secrets);
        free(file);
        return status;
    }
    file->provider = (struct kms_provider){.ops = &file_ops, .name = "file"};
    file->secrets = secrets;
    derive_named_key(&secrets->master, "store", &secrets->store);
    drop_incoming(file);
    *provider = &file->provider;
    return STATUS_OK;
}

enum status kms_file_is_protected(const char *path, bool *is_protected, char *message, size_t message_bytes)
{
    struct key_file *content = guarded_take(sizeof(*content));
    if (content == NULL) {
        return refuse_memory(path, message, message_bytes);
    }
    enum status status = key_file_read(path, content, message, message_bytes);
    if (status == STATUS_OK) {
        *is_protected = content->is_protected;
    }
    guarded_release(content);
    return status;
}

enum status kms_file_create(const char *path, const char *passphrase, char *message, size_t message_bytes)
{
    const struct passphrase_cost cost = passphrase_cost_default();
    return key_file_create(path, passphrase, &cost, message, message_bytes);
}
