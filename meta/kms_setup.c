/* kms_setup.c - choosing a KMS provider, and getting its passphrase or PIN from a file or a person. */
#include "meta/kms_setup.h"

#include "meta/kms_file.h"
#include "meta/kms_pkcs11.h"
#include "meta/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* ---- the prompt -------------------------------------------------------------------------------- */

/* One line from `terminal`, without its end. False: the end of input, or longer than there is room for. */
static bool line_read(int terminal, char *line, size_t capacity)
{
    size_t length = 0;
    for (;;) {
        char byte;
        ssize_t got = read(terminal, &byte, 1);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        if (byte == '\n') {
            line[length < capacity ? length : capacity - 1] = '\0';
            return length < capacity;
        }
        if (length < capacity) {
            line[length] = byte;
        }
        length += length < capacity ? 1 : 0;
    }
}

static void terminal_say(int terminal, const char *text)
{
    (void)!write_whole(terminal, text, strlen(text));
}

/* Ask with the echo off. Signals wait meanwhile: one that ended the process would leave the terminal without echo. */
static bool ask(int terminal, const char *question, char *line, size_t capacity)
{
    struct termios before;
    sigset_t all;
    sigset_t mask;
    if (tcgetattr(terminal, &before) != 0) {
        return false;
    }
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_BLOCK, &all, &mask);
    struct termios silent = before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
    silent.c_lflag |= ICANON;
    bool answered = tcsetattr(terminal, TCSAFLUSH, &silent) == 0;
    if (answered) {
        terminal_say(terminal, question);
        answered = line_read(terminal, line, capacity);
        terminal_say(terminal, "\n");
        (void)tcsetattr(terminal, TCSAFLUSH, &before);
    }
    (void)sigprocmask(SIG_SETMASK, &mask, NULL);
    return answered && line[0] != '\0';
}

/* A secret from the terminal, asked for once or twice. */
static enum status prompt(const char *question, const char *again, const char *option, char *line, char *message,
                          size_t message_bytes)
{
    int terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal < 0) {
        (void)snprintf(message, message_bytes, "there is no terminal to ask for it: %s", option);
        return STATUS_DENIED;
    }
    enum status status = STATUS_OK;
    char *second = guarded_take(KMS_SECRET_BYTES);
    if (second == NULL || !ask(terminal, question, line, KMS_SECRET_BYTES) ||
        (again != NULL && !ask(terminal, again, second, KMS_SECRET_BYTES))) {
        (void)snprintf(message, message_bytes, "nothing usable was entered (1 to %d bytes)", KMS_SECRET_BYTES - 1);
        status = STATUS_DENIED;
    } else if (again != NULL && strcmp(line, second) != 0) {
        (void)snprintf(message, message_bytes, "the two entries differ: nothing was made");
        status = STATUS_DENIED;
    }
    guarded_release(second);
    (void)close(terminal);
    return status;
}

/* ---- providers --------------------------------------------------------------------------------- */

static enum status refuse(char *message, size_t message_bytes, const char *what)
{
    (void)snprintf(message, message_bytes, "%s", what);
    return STATUS_INVALID;
}

static enum status secret_get(const char *path, const char *question, const char *option, char *line, char *message,
                              size_t message_bytes)
{
    return is_given(path) ? secret_line_read(path, line, KMS_SECRET_BYTES, message, message_bytes)
                          : prompt(question, NULL, option, line, message, message_bytes);
}

static enum status open_file(const struct kms_setup *setup, char *line, struct kms_provider **provider, char *message,
                             size_t message_bytes)
{
    bool is_protected = false;
    if (!is_given(setup->key_file)) {
        return refuse(message, message_bytes,
                      "the provider \"file\" needs key_file; trilith-meta --create-key makes one");
    }
    enum status status = kms_file_is_protected(setup->key_file, &is_protected, message, message_bytes);
    if (status == STATUS_OK && !is_protected && is_given(setup->passphrase_file)) {
        (void)snprintf(message, message_bytes, "%s: is not protected by a passphrase: leave passphrase_file out",
                       setup->key_file);
        return STATUS_INVALID;
    }
    if (status == STATUS_OK && is_protected) {
        char question[512];
        (void)snprintf(question, sizeof(question), "Passphrase for %.400s: ", setup->key_file);
        status =
            secret_get(setup->passphrase_file, question, "set passphrase_file to a file with the key file's passphrase",
                       line, message, message_bytes);
    }
    return status != STATUS_OK
               ? status
               : kms_file_open(setup->key_file, is_protected ? line : NULL, provider, message, message_bytes);
}

static enum status open_pkcs11(const struct kms_setup *setup, char *line, struct kms_provider **provider, char *message,
                               size_t message_bytes)
{
    if (!is_given(setup->pkcs11_module)) {
        return refuse(message, message_bytes,
                      "the provider \"pkcs11\" needs pkcs11_module, the path of the token's shared library");
    }
    if (!is_given(setup->pkcs11_token)) {
        return refuse(message, message_bytes, "the provider \"pkcs11\" needs pkcs11_token, the token's label");
    }
    char question[128];
    (void)snprintf(question, sizeof(question), "PIN of the token \"%.64s\": ", setup->pkcs11_token);
    enum status status = secret_get(setup->pkcs11_pin_file, question,
                                    "set pkcs11_pin_file to a file with the token's PIN", line, message, message_bytes);
    if (status != STATUS_OK) {
        return status;
    }
    const struct kms_pkcs11_options options = {
        .module = setup->pkcs11_module, .token = setup->pkcs11_token, .pin = line};
    return kms_pkcs11_open(&options, provider, message, message_bytes);
}

enum status kms_setup_open(const struct kms_setup *setup, struct kms_provider **provider, char *message,
                           size_t message_bytes)
{
    char *line = guarded_take(KMS_SECRET_BYTES);
    enum status status;
    if (line == NULL) {
        (void)snprintf(message, message_bytes, "no locked memory for a secret: raise the limit memlock");
        return STATUS_FULL;
    }
    if (!is_given(setup->provider)) {
        status = refuse(message, message_bytes, "no KMS provider is set: \"file\" or \"pkcs11\"");
    } else if (strcmp(setup->provider, "file") == 0) {
        status = open_file(setup, line, provider, message, message_bytes);
    } else if (strcmp(setup->provider, "pkcs11") == 0) {
        status = open_pkcs11(setup, line, provider, message, message_bytes);
    } else {
        (void)snprintf(message, message_bytes, "there is no KMS provider \"%.32s\"; there are \"file\" and \"pkcs11\"",
                       setup->provider);
        status = STATUS_INVALID;
    }
    guarded_release(line);
    return status;
}

enum status kms_setup_create_key(const char *path, const char *passphrase_file, bool asks, char *message,
                                 size_t message_bytes)
{
    bool has_passphrase = is_given(passphrase_file) || asks;
    char *line = guarded_take(KMS_SECRET_BYTES);
    enum status status = STATUS_OK;
    if (line == NULL) {
        (void)snprintf(message, message_bytes, "no locked memory for a secret: raise the limit memlock");
        return STATUS_FULL;
    }
    if (is_given(passphrase_file)) {
        status = secret_line_read(passphrase_file, line, KMS_SECRET_BYTES, message, message_bytes);
    } else if (asks) {
        char question[512];
        (void)snprintf(question, sizeof(question), "Passphrase for %.400s, at least %d bytes: ", path,
                       SECRET_PASSPHRASE_MIN);
        status = prompt(question, "The same again: ", "give a file with the passphrase", line, message, message_bytes);
    }
    if (status == STATUS_OK) {
        status = kms_file_create(path, has_passphrase ? line : NULL, message, message_bytes);
    }
    guarded_release(line);
    return status;
}
