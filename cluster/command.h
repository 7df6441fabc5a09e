/* command.h - one verb of `trilith`: what it takes, what it was given, and how it ends.
 *
 * main.c has the one table of all verbs and reads the command line; each command_*.c holds the verbs of a group.
 * A verb returns its exit status: 0, COMMAND_FAILED, or COMMAND_USAGE. Before it returns anything but 0 it has said
 * why, in one line on stderr that also says what to do (command_fail, command_usage).
 *
 * Threads    One. */
#ifndef TRILITH_CLUSTER_COMMAND_H
#define TRILITH_CLUSTER_COMMAND_H

#include "base/check.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define COMMAND_FAILED        1
#define COMMAND_USAGE         2
#define COMMAND_ARGUMENTS_MAX 4
#define COMMAND_OPTIONS_MAX   12

struct client_config;
struct command;

struct verb_option {
    const char *name;     /* "--timeout" */
    const char *argument; /* "SECONDS"; NULL: a flag */
    const char *help;     /* one sentence */
};

struct verb {
    const char *group;     /* "tenant"; NULL: the verb stands alone */
    const char *name;      /* "create" */
    const char *arguments; /* "NAME", as the usage line prints it */
    unsigned arguments_min;
    unsigned arguments_max;
    const char *summary; /* a few words for the list of verbs */
    int (*run)(struct command *command);
    struct verb_option options[COMMAND_OPTIONS_MAX + 1]; /* ends with a NULL name */
};

/* A verb with what the user gave it. Strings belong to argv. */
struct command {
    const struct verb *verb;
    const char *arguments[COMMAND_ARGUMENTS_MAX];
    unsigned argument_count;
    const char *option_values[COMMAND_OPTIONS_MAX]; /* beside verb->options; "" for a flag that was given */
    bool json;
    const char *config_path;      /* --config, or $TRILITH_CONFIG; may be NULL */
    struct client_config *config; /* read by command_config() */
};

/* The value of the option `name`, "" for a flag that was given, NULL when it was not. */
const char *command_option(const struct command *command, const char *name);

/* The client's configuration, read at the first call. NULL: it is missing or wrong, and the user has been told. */
const struct client_config *command_config(struct command *command);

/* Say "trilith: ..." on stderr and return COMMAND_FAILED or COMMAND_USAGE. */
int command_fail(const char *format, ...) PRINTF_LIKE(1, 2);
int command_usage(const struct command *command, const char *format, ...) PRINTF_LIKE(2, 3);

/* Read a whole decimal number. False: it is something else or over `maximum`. */
MUST_USE bool command_number(const char *text, uint64_t maximum, uint64_t *number);

/* The verbs, by file. */
int command_status(struct command *command);
int command_put(struct command *command);
int command_get(struct command *command);
int command_ls(struct command *command);
int command_rm(struct command *command);
int command_stat(struct command *command);
int command_locate(struct command *command);
int command_tenant_create(struct command *command);
int command_tenant_list(struct command *command);
int command_tenant_show(struct command *command);
int command_tenant_erase(struct command *command);
int command_person_add(struct command *command);
int command_person_list(struct command *command);
int command_person_remove(struct command *command);
int command_person_key(struct command *command);
int command_request_list(struct command *command);
int command_request_show(struct command *command);
int command_request_approve(struct command *command);
int command_request_cancel(struct command *command);
int command_request_wait(struct command *command);
int command_hold(struct command *command);
int command_bucket_set(struct command *command);
int command_erase_undo(struct command *command);
int command_bucket_create(struct command *command);
int command_bucket_list(struct command *command);
int command_bucket_show(struct command *command);
int command_bucket_delete(struct command *command);
int command_credential_create(struct command *command);
int command_credential_list(struct command *command);
int command_credential_revoke(struct command *command);
int command_node_list(struct command *command);
int command_node_show(struct command *command);
int command_disk_list(struct command *command);
int command_disk_show(struct command *command);
int command_disk_drain(struct command *command);
int command_disk_undrain(struct command *command);
int command_node_drain(struct command *command);
int command_node_undrain(struct command *command);
int command_disk_inspect(struct command *command);
int command_disk_wipe(struct command *command);
int command_disk_countersign(struct command *command);
int command_disk_decommission(struct command *command);
int command_disk_report(struct command *command);
int command_node_decommission(struct command *command);
int command_erase_list(struct command *command);
int command_erase_show(struct command *command);
int command_erase_wait(struct command *command);
int command_erase_now(struct command *command);
int command_cert_list(struct command *command);
int command_cert_show(struct command *command);
int command_cert_export(struct command *command);
int command_cert_pdf(struct command *command);
int command_cert_verify(struct command *command);
int command_ledger_head(struct command *command);
int command_ledger_export(struct command *command);
int command_ledger_keys(struct command *command);
int command_ledger_rotate(struct command *command);
int command_evidence_export(struct command *command);
int command_ledger_verify(struct command *command);
int command_key_show(struct command *command);
int command_key_rotate(struct command *command);
int command_key_import(struct command *command);
int command_key_transport(struct command *command);
int command_key_revoke(struct command *command);
int command_key_enable(struct command *command);

#endif
