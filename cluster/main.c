/* main.c - `trilith`, the command line of operators and users: the table of all verbs, and how one is read.
 *
 * Exit status: 0 done, 1 failed, 2 used wrongly. Results go to stdout, as text or with --json as one document; errors
 * are one line on stderr. */
#include "base/keys.h"
#include "base/log.h"
#include "cluster/client_config.h"
#include "cluster/command.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define TENANT_OPTION                                                                                                  \
    {                                                                                                                  \
        "--tenant", "NAME", "The tenant; without it the one in the configuration."                                     \
    }

static const struct verb verbs[] = {
    {NULL, "status", "", 0, 0, "health in one screen", command_status, {{0}}},

    {NULL,
     "put",
     "FILE BUCKET/KEY",
     2,
     2,
     "store a file",
     command_put,
     {{"--content-type", "TYPE", "Kept with the object and given back with it."}}},
    {NULL, "get", "BUCKET/KEY FILE|-", 2, 2, "fetch an object into a file, or to stdout", command_get, {{0}}},
    {NULL,
     "ls",
     "[BUCKET[/PREFIX]]",
     0,
     1,
     "list buckets, or objects",
     command_ls,
     {{"--recursive", NULL, "List all keys instead of stopping at each '/'."},
      {"--max", "COUNT", "Stop after so many entries."}}},
    {NULL, "rm", "BUCKET/KEY", 1, 1, "delete an object and start its erasure", command_rm, {{0}}},
    {NULL, "stat", "BUCKET/KEY", 1, 1, "size, time and metadata of an object", command_stat, {{0}}},
    {NULL, "locate", "BUCKET/KEY", 1, 1, "where every copy of every chunk lies", command_locate, {TENANT_OPTION}},

    {"tenant", "create", "NAME", 1, 1, "create a tenant with a data key of its own", command_tenant_create, {{0}}},
    {"tenant", "list", "", 0, 0, "list tenants", command_tenant_list, {{0}}},
    {"tenant", "show", "NAME", 1, 1, "show a tenant", command_tenant_show, {{0}}},
    {"tenant",
     "erase",
     "NAME",
     1,
     1,
     "ask for the erasure of a tenant: two people approve it, then its keys and all copies go",
     command_tenant_erase,
     {{"--reason", "TEXT", "Why; it stands in the certificate."},
      {"--dry-run", NULL, "Print what would be erased, and change nothing."},
      {"--legal-basis", "TEXT", "The rule it is erased by, for the certificate."},
      {"--contract-ref", "TEXT", "The contract it belongs to, for the certificate."},
      {"--requested-by", "NAME", "Who asks for it; without it the user of this shell."}}},

    {"bucket",
     "create",
     "BUCKET",
     1,
     1,
     "create a bucket",
     command_bucket_create,
     {TENANT_OPTION,
      {"--degraded-writes", NULL, "Accept two copies while fewer than three failure domains are up."},
      {"--suite", "NAME", "What its objects are sealed with: aes-256-gcm (without it) or sm4-gcm."},
      {"--grace", "DURATION", "How long a deletion can be taken back: 7d, 12h, 30m; at most 90d, 0 without it."},
      {"--erase", "TECHNIQUE",
       "How erased chunks are overwritten: overwrite (without it), or dod3 on rotating disks."}}},
    {"bucket",
     "set",
     "BUCKET",
     1,
     1,
     "change how deletions from a bucket go from now on",
     command_bucket_set,
     {TENANT_OPTION,
      {"--grace", "DURATION", "How long a deletion can be taken back: 7d, 12h, 30m; at most 90d, 0 for not at all."},
      {"--erase", "TECHNIQUE", "How erased chunks are overwritten: overwrite, or dod3 on rotating disks."}}},
    {NULL,
     "hold",
     "BUCKET/KEY",
     1,
     1,
     "forbid that an object is deleted or overwritten",
     command_hold,
     {{"--legal", "on|off", "A legal hold: until it is lifted."},
      {"--until", "TIME", "Retention: until this time, which can be moved later but never earlier."},
      {"--erasure", "ID", "Hold the version that was deleted under this number and is in its grace time."},
      TENANT_OPTION}},

    {"person",
     "add",
     "NAME",
     1,
     1,
     "put a person on record who may approve",
     command_person_add,
     {{"--key", "FILE", "Their public key: Ed25519, PEM."},
      {"--title", "TEXT", "Their position, for certificates."},
      {"--organization", "TEXT", "Whom they work for, for certificates."},
      {"--location", "TEXT", "Where, for certificates."},
      {"--contact", "TEXT", "Phone or mail, for certificates."}}},
    {"person", "list", "", 0, 0, "list the people who may approve", command_person_list, {{0}}},
    {"person", "remove", "NAME", 1, 1, "end a person's right to approve", command_person_remove, {{0}}},
    {"person",
     "key",
     "FILE",
     1,
     1,
     "make a person's private key in a file, and print the public one",
     command_person_key,
     {{0}}},

    {"request",
     "list",
     "",
     0,
     0,
     "list what needs two people",
     command_request_list,
     {{"--open", NULL, "Only those that wait for approvals or run."}}},
    {"request", "show", "ID", 1, 1, "show a request and its plan", command_request_show, {{0}}},
    {"request",
     "approve",
     "ID",
     1,
     1,
     "show a request's plan and approve it with a person's key",
     command_request_approve,
     {{"--as", "PERSON", "Who approves."},
      {"--key", "FILE", "That person's private key, Ed25519 in PEM."},
      {"--plan", "SHA256", "Sign only if the plan has this hash, as it was looked at before."}}},
    {"request",
     "cancel",
     "ID",
     1,
     1,
     "take a request back that nothing has been destroyed for",
     command_request_cancel,
     {{0}}},
    {"request",
     "wait",
     "ID",
     1,
     1,
     "wait until a request has its certificate",
     command_request_wait,
     {{"--timeout", "SECONDS", "Give up after this long; without it seven days."}}},

    {"bucket", "list", "", 0, 0, "list buckets", command_bucket_list, {TENANT_OPTION}},
    {"bucket", "show", "BUCKET", 1, 1, "show a bucket", command_bucket_show, {TENANT_OPTION}},
    {"bucket", "delete", "BUCKET", 1, 1, "delete an empty bucket", command_bucket_delete, {TENANT_OPTION}},

    {"credential",
     "create",
     "",
     0,
     0,
     "create an access key; its secret is shown once",
     command_credential_create,
     {TENANT_OPTION, {"--role", "ROLE", "owner, editor or viewer; viewer without it."}}},
    {"credential", "list", "", 0, 0, "list access keys", command_credential_list, {TENANT_OPTION}},
    {"credential", "revoke", "ACCESS_KEY", 1, 1, "make an access key useless", command_credential_revoke, {{0}}},

    {"node", "list", "", 0, 0, "list nodes", command_node_list, {{0}}},
    {"node", "show", "NAME", 1, 1, "show a node and its disks", command_node_show, {{0}}},
    {"node",
     "drain",
     "NAME",
     1,
     1,
     "move everything off a node's disks",
     command_node_drain,
     {{"--wait", NULL, "Wait until all its disks are empty."}}},
    {"node", "undrain", "NAME", 1, 1, "stop draining a node: it stays", command_node_undrain, {{0}}},
    {"disk", "list", "", 0, 0, "list disks", command_disk_list, {{0}}},
    {"disk", "show", "ID|NODE:PATH", 1, 1, "show a disk: what is on it and on its way", command_disk_show, {{0}}},
    {"disk",
     "drain",
     "ID|NODE:PATH",
     1,
     1,
     "move everything off a disk",
     command_disk_drain,
     {{"--wait", NULL, "Wait until it is empty."}}},
    {"disk", "undrain", "ID|NODE:PATH", 1, 1, "stop draining a disk: it stays", command_disk_undrain, {{0}}},
    {"disk",
     "inspect",
     "DIR",
     1,
     1,
     "walk a disk's segment files offline",
     command_disk_inspect,
     {{"--chunk", "ID", "Show only the records of this chunk (32 hex digits)."},
      {"--records", NULL, "List every record, not only the sums."}}},
    {"disk",
     "wipe",
     "[DEVICE]",
     0,
     1,
     "erase a whole medium that no node uses any more, on the machine that it is in",
     command_disk_wipe,
     {{"--state", "FILE", "How far it has come: with the same file it goes on after any interruption."},
      {"--technique", "NAME", "auto (without it), overwrite, dod3, sanitize, sanitize-block, -crypto, -overwrite."},
      {"--verify", "NAME", "How it is read back: full (without it), r1-10pct, quick."},
      {"--directory", "DIR", "The disk is a directory: overwrite and remove its files, not the medium."},
      {"--yes-erase", "NAME", "The medium's serial number or name once more; without it nothing is erased."},
      {"--dry-run", NULL, "Print what would be done and claimed, and change nothing."},
      {"--discard", NULL, "Deallocate everything afterwards."},
      {"--dead", NULL, "It answers nothing: only record that it could not be erased."},
      {"--report", "FILE", "Where the report goes; without it beside the state."},
      {"--as", "PERSON", "Who signs the report."},
      {"--key", "FILE", "That person's private key, Ed25519 in PEM."}}},
    {"disk",
     "decommission",
     "DISK",
     1,
     1,
     "ask for a disk, by number or uuid, to be drained, erased and removed",
     command_disk_decommission,
     {{"--dry-run", NULL, "Print the plan and change nothing."},
      {"--dead", NULL, "The disk answers nothing any more and can't be erased."},
      {"--destination", "KIND", "internal_reuse, external_reuse, recycling, manufacturer, destroy, other."},
      {"--destination-details", "TEXT", "To whom, where."},
      {"--property-number", "TEXT", "The organization's own number of it."},
      {"--classification", "TEXT", "Of what is on it, before it is erased."},
      {"--backup", "WORD", "Whether what is on it was backed up: yes, no, unknown (without it)."},
      {"--backup-location", "TEXT", "Where that backup is."},
      {"--reason", "TEXT", "Why it leaves."},
      {"--requested-by", "NAME", "Who asks for it."}}},
    {"node",
     "decommission",
     "NODE",
     1,
     1,
     "ask for a node to be removed, after its disks",
     command_node_decommission,
     {{"--dry-run", NULL, "Print the plan and change nothing."},
      {"--destination", "KIND", "internal_reuse, external_reuse, recycling, manufacturer, destroy, other."},
      {"--destination-details", "TEXT", "To whom, where."},
      {"--property-number", "TEXT", "The organization's own number of it."},
      {"--classification", "TEXT", "Of what is on it, before it is erased."},
      {"--backup", "WORD", "Whether what is on it was backed up: yes, no, unknown (without it)."},
      {"--backup-location", "TEXT", "Where that backup is."},
      {"--reason", "TEXT", "Why it leaves."},
      {"--requested-by", "NAME", "Who asks for it."}}},
    {"disk",
     "report",
     "REQUEST",
     1,
     1,
     "hand in what was signed about the medium of a disk that leaves",
     command_disk_report,
     {{"--report", "FILE", "Of who wiped it: trilith disk wipe."},
      {"--verification", "FILE", "Of somebody else: trilith disk countersign."},
      {"--validation", "FILE", "The decision: trilith disk countersign --role validator."}}},
    {"disk",
     "countersign",
     "REPORT",
     1,
     1,
     "sign for somebody else's report of a wipe",
     command_disk_countersign,
     {{"--as", "PERSON", "Who signs; who verifies is somebody else than who wiped."},
      {"--key", "FILE", "That person's private key, Ed25519 in PEM."},
      {"--decision", "WORD", "accept, repeat or escalate."},
      {"--role", "ROLE", "verifier (without it) or validator."},
      {"--out", "FILE", "Where it goes; without it REPORT.ROLE."}}},

    {"erase",
     "list",
     "",
     0,
     0,
     "list erasures",
     command_erase_list,
     {{"--open", NULL, "Only those that are not closed yet."}}},
    {"erase", "show", "ID", 1, 1, "show an erasure", command_erase_show, {{0}}},
    {"erase", "undo", "ID", 1, 1, "take a deletion back in its grace time", command_erase_undo, {{0}}},
    {"erase",
     "wait",
     "ID",
     1,
     1,
     "wait until every copy is accounted for, the keys are destroyed, and the certificate is issued",
     command_erase_wait,
     {{"--timeout", "SECONDS", "Give up after this long; without it 3600."}}},
    {"erase",
     "now",
     "",
     0,
     0,
     "close the vault's epoch: destroy all keys that were given up so far",
     command_erase_now,
     {{"--timeout", "SECONDS", "Give up after this long; without it 600."}}},

    {"cert",
     "list",
     "",
     0,
     0,
     "list certificates",
     command_cert_list,
     {{"--tenant", "NAME", "Only those about this tenant."},
      {"--since", "TIME", "Only those issued at or after this time: 2026-01-31 or 2026-01-31T08:00:00Z."},
      {"--until", "TIME", "Only those issued before this time."},
      {"--object", "BUCKET/KEY", "Only those about this object, whose names they do not hold; of --tenant, or yours."},
      {"--max", "COUNT", "Stop after so many."}}},
    {"cert", "show", "ID|ERASURE", 1, 1, "show what a certificate says, in words", command_cert_show, {{0}}},
    {"cert",
     "export",
     "ID|ERASURE",
     1,
     1,
     "take a certificate away with all that verifies it",
     command_cert_export,
     {{"--out", "DIR", "The directory to write into; made when it is not there."},
      {"--object", "BUCKET/KEY", "Add what shows that it is about this object; keep that as you keep the name."},
      TENANT_OPTION}},
    {"cert",
     "pdf",
     "FILE.jws",
     1,
     1,
     "make a page of a certificate that people can file, offline",
     command_cert_pdf,
     {{"--out", "FILE.pdf", "The file to write."},
      {"--key", "FILE", "Refuse it unless it is signed with this public key, and say on the page that it is."}}},
    {"cert",
     "verify",
     "FILE",
     1,
     1,
     "check a certificate offline, with what stands beside it",
     command_cert_verify,
     {{"--key", "FILE", "Public keys of the issuer, PEM; several one after the other when keys were changed."},
      {"--opening", "FILE", "What shows which object it is about (opening.json of the tenant's export)."}}},
    {"ledger", "head", "", 0, 0, "the ledger's signed head", command_ledger_head, {{0}}},
    {"ledger",
     "export",
     "DIR",
     1,
     1,
     "copy the ledger into a directory, or bring a copy up to date",
     command_ledger_export,
     {{0}}},
    {"ledger",
     "keys",
     "",
     0,
     0,
     "the keys that sign certificates and the ledger",
     command_ledger_keys,
     {{"--out", "DIR", "Write them as PEM files too."}}},
    {"ledger", "rotate", "", 0, 0, "sign with a new key from now on", command_ledger_rotate, {{0}}},
    {"evidence",
     "export",
     "FILE.tar",
     1,
     1,
     "certificates, ledger and keys in one archive for an auditor",
     command_evidence_export,
     {{"--tenant", "NAME", "Only certificates about this tenant."},
      {"--since", "TIME", "Only certificates issued at or after this time."},
      {"--until", "TIME", "Only certificates issued before this time."}}},
    {"ledger",
     "verify",
     "DIR",
     1,
     1,
     "check an exported ledger offline, and the certificates in it",
     command_ledger_verify,
     {{"--key", "FILE", "Public keys of those who signed its checkpoint, PEM."},
      {"--since", "FILE", "An earlier checkpoint: the ledger must have only grown since."}}},

    {"key", "show", "[TENANT]", 0, 1, "versions and states of a tenant's keys", command_key_show, {TENANT_OPTION}},
    {"key",
     "rotate",
     "[TENANT]",
     0,
     1,
     "a new data key: new writes at once, what is stored in the background",
     command_key_rotate,
     {TENANT_OPTION,
      {"--cmk", NULL, "A new master key instead: the data keys are wrapped anew, nothing is sealed anew."},
      {"--wait", NULL, "Wait until the old data key is destroyed."},
      {"--timeout", "SECONDS", "With --wait: give up waiting after this long."}}},
    {"key",
     "import",
     "[TENANT] FILE",
     1,
     2,
     "wrap a tenant's data keys by a master key of its own",
     command_key_import,
     {TENANT_OPTION, {"--wrapped", NULL, "FILE is encrypted to the transport key already, by openssl for example."}}},
    {"key", "transport", "", 0, 0, "print the key that imports are encrypted to", command_key_transport, {{0}}},
    {"key", "revoke", "[TENANT]", 0, 1, "stop all access to a tenant's data", command_key_revoke, {TENANT_OPTION}},
    {"key", "enable", "[TENANT]", 0, 1, "take a revocation back", command_key_enable, {TENANT_OPTION}},
};

/* ---- help -------------------------------------------------------------------------------------- */

static void print_verb_title(FILE *out, const struct verb *verb)
{
    fprintf(out, "trilith %s%s%s%s%s", verb->group == NULL ? "" : verb->group, verb->group == NULL ? "" : " ",
            verb->name, verb->arguments[0] == '\0' ? "" : " ", verb->arguments);
}

static void print_verb_help(const struct verb *verb)
{
    printf("usage: ");
    print_verb_title(stdout, verb);
    printf(" [options]\n\n%s.\n\n", verb->summary);
    for (const struct verb_option *option = verb->options; option->name != NULL; option++) {
        char title[40];
        snprintf(title, sizeof(title), "%s %s", option->name, option->argument == NULL ? "" : option->argument);
        printf("  %-22s %s\n", title, option->help);
    }
    printf("  %-22s %s\n", "--json", "Print the result as one JSON document.");
    printf("  %-22s %s\n", "--config FILE", "The configuration; without it the file that TRILITH_CONFIG names.");
    printf("  %-22s %s\n", "--help", "Print this.");
}

static void print_help(void)
{
    printf("usage: trilith VERB [ARGUMENTS] [--json] [--config FILE]\n\n");
    for (size_t i = 0; i < ARRAY_LENGTH(verbs); i++) {
        char title[64];
        snprintf(title, sizeof(title), "%s%s%s %s", verbs[i].group == NULL ? "" : verbs[i].group,
                 verbs[i].group == NULL ? "" : " ", verbs[i].name, verbs[i].arguments);
        printf("  %-32s %s\n", title, verbs[i].summary);
    }
    printf("\n`trilith VERB --help` says more. TRILITH_CONFIG names the configuration file;\n"
           "`trilith --print-example-config` prints a commented example.\n"
           "Exit status: 0 done, 1 failed, 2 used wrongly.\n");
}

/* ---- saying why -------------------------------------------------------------------------------- */

int command_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("trilith: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return COMMAND_FAILED;
}

int command_usage(const struct command *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("trilith: ", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputs("; usage: ", stderr);
    print_verb_title(stderr, command->verb);
    fputc('\n', stderr);
    return COMMAND_USAGE;
}

/* ---- what was given ---------------------------------------------------------------------------- */

const char *command_option(const struct command *command, const char *name)
{
    for (unsigned i = 0; command->verb->options[i].name != NULL; i++) {
        if (strcmp(command->verb->options[i].name, name) == 0) {
            return command->option_values[i];
        }
    }
    UNREACHABLE();
}

bool command_number(const char *text, uint64_t maximum, uint64_t *number)
{
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value > maximum) {
        return false;
    }
    *number = value;
    return true;
}

const struct client_config *command_config(struct command *command)
{
    if (command->config != NULL) {
        return command->config;
    }
    if (command->config_path == NULL || command->config_path[0] == '\0') {
        command_fail("no configuration; set TRILITH_CONFIG or give --config FILE "
                     "(a local cluster prints its own: eval \"$(cluster/local env)\")");
        return NULL;
    }
    char message[512];
    enum status status = client_config_open(command->config_path, &command->config, message, sizeof(message));
    if (status != STATUS_OK) {
        command_fail("%s", message);
        return NULL;
    }
    return command->config;
}

/* Take one option at argv[*at]; *at moves on to its value when it has one. 0, or COMMAND_USAGE. */
static int read_option(struct command *command, int argc, char **argv, int *at)
{
    const char *text = argv[*at];
    if (strcmp(text, "--json") == 0) {
        command->json = true;
        return 0;
    }
    const char *equals = strchr(text, '=');
    size_t name_bytes = equals == NULL ? strlen(text) : (size_t)(equals - text);
    const char **value = NULL;
    bool takes_value = true;
    if (name_bytes == strlen("--config") && strncmp(text, "--config", name_bytes) == 0) {
        value = &command->config_path;
    }
    for (unsigned i = 0; command->verb->options[i].name != NULL; i++) {
        const struct verb_option *option = &command->verb->options[i];
        if (strlen(option->name) == name_bytes && strncmp(option->name, text, name_bytes) == 0) {
            value = &command->option_values[i];
            takes_value = option->argument != NULL;
        }
    }
    if (value == NULL) {
        return command_usage(command, "there is no option %.*s here", (int)name_bytes, text);
    }
    if (!takes_value) {
        *value = "";
        return equals == NULL ? 0 : command_usage(command, "%.*s takes no value", (int)name_bytes, text);
    }
    if (equals != NULL) {
        *value = equals + 1;
        return 0;
    }
    if (*at + 1 >= argc) {
        return command_usage(command, "%s needs a value", text);
    }
    (*at)++;
    *value = argv[*at];
    return 0;
}

/* Read everything behind the verb. 0, or COMMAND_USAGE. */
static int read_arguments(struct command *command, int argc, char **argv, int at)
{
    bool options_end = false;
    for (; at < argc; at++) {
        const char *text = argv[at];
        if (!options_end && strcmp(text, "--") == 0) {
            options_end = true;
            continue;
        }
        /* A lone "-" is stdin or stdout. */
        if (!options_end && text[0] == '-' && text[1] != '\0') {
            int usage = read_option(command, argc, argv, &at);
            if (usage != 0) {
                return usage;
            }
            continue;
        }
        if (command->argument_count == command->verb->arguments_max) {
            return command_usage(command, "\"%s\" is one argument too many", text);
        }
        command->arguments[command->argument_count++] = text;
    }
    if (command->argument_count < command->verb->arguments_min) {
        return command_usage(command, "%u of %u arguments are missing",
                             command->verb->arguments_min - command->argument_count, command->verb->arguments_min);
    }
    return 0;
}

/* The verb that argv[1] (and argv[2]) names, and how many words it took; NULL: there is none. */
static const struct verb *find_verb(int argc, char **argv, int *words)
{
    for (size_t i = 0; i < ARRAY_LENGTH(verbs); i++) {
        const struct verb *verb = &verbs[i];
        if (verb->group == NULL && strcmp(argv[1], verb->name) == 0) {
            *words = 1;
            return verb;
        }
        if (verb->group != NULL && argc > 2 && strcmp(argv[1], verb->group) == 0 && strcmp(argv[2], verb->name) == 0) {
            *words = 2;
            return verb;
        }
    }
    return NULL;
}

/* List the verbs of a group: "trilith tenant" or "trilith tenant --help". False: there is no such group. */
static bool print_group(FILE *out, const char *group)
{
    bool found = false;
    for (size_t i = 0; i < ARRAY_LENGTH(verbs); i++) {
        if (verbs[i].group != NULL && strcmp(verbs[i].group, group) == 0) {
            fputs(found ? "       " : "usage: ", out);
            print_verb_title(out, &verbs[i]);
            fprintf(out, "   %s\n", verbs[i].summary);
            found = true;
        }
    }
    return found;
}

static bool asks_for_help(int argc, char **argv, int at)
{
    for (; at < argc && strcmp(argv[at], "--") != 0; at++) {
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
            return true;
        }
    }
    return false;
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        fputs("trilith: no verb given; `trilith --help` lists them\n", stderr);
        return COMMAND_USAGE;
    }
    int words = 0;
    const struct verb *verb = find_verb(argc, argv, &words);
    if (verb == NULL) {
        if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
            print_help();
            return 0;
        }
        if (strcmp(argv[1], "--version") == 0) {
            printf("trilith %s\n", TRILITH_VERSION);
            return 0;
        }
        if (strcmp(argv[1], "--print-example-config") == 0) {
            client_config_print_example(stdout);
            return 0;
        }
        bool help = asks_for_help(argc, argv, 2);
        if (print_group(help ? stdout : stderr, argv[1])) {
            return help ? 0 : COMMAND_USAGE;
        }
        fprintf(stderr, "trilith: there is no verb \"%s\"; `trilith --help` lists them\n", argv[1]);
        return COMMAND_USAGE;
    }
    if (asks_for_help(argc, argv, 1 + words)) {
        print_verb_help(verb);
        return 0;
    }
    struct command command = {.verb = verb, .config_path = getenv("TRILITH_CONFIG")};
    int result = read_arguments(&command, argc, argv, 1 + words);
    if (result == 0) {
        result = verb->run(&command);
    }
    client_config_close(command.config);
    return result;
}

int main(int argc, char **argv)
{
    /* Operators' events are for daemons; here each error is said once, in one line, by the verb. */
    log_set_level(LOG_ERROR);
    if (keys_start_process() != STATUS_OK || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return command_fail("the cryptographic library or the HTTP library did not start");
    }
    int result = run(argc, argv);
    curl_global_cleanup();
    return result;
}
