/* command_cert.c - certificates: which there are, what one says, one with all that verifies it, one as a page. */
#include "base/digest.h"
#include "cluster/admin.h"
#include "cluster/cert_fetch.h"
#include "cluster/cert_pdf.h"
#include "cluster/cert_words.h"
#include "cluster/client_config.h"
#include "cluster/command.h"
#include "cluster/output.h"
#include "cluster/progress.h"
#include "cluster/s3_client.h"
#include "cluster/times.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CERTIFICATES_PER_PAGE 1000u
#define CERTIFICATES_MAX      UINT64_C(1000000000)

/* ---- list ---------------------------------------------------------------------------------------- */

static json_t *hex_json(const ProtobufCBinaryData *bytes)
{
    char hex[2 * SHA256_BYTES + 1];
    if (bytes->len != SHA256_BYTES) {
        return json_null();
    }
    hex_encode(bytes->data, SHA256_BYTES, hex);
    return json_string(hex);
}

static json_t *number_or_null(uint64_t number)
{
    return number == 0 ? json_null() : json_integer((json_int_t)number);
}

static json_t *certificate_json(const Trilith__Certificate *certificate)
{
    return json_pack(
        "{s:s, s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o}", "id", certificate->id, "seq",
        (json_int_t)certificate->seq, "type", certificate->type, "erasure", number_or_null(certificate->erasure_id),
        "request", number_or_null(certificate->request_id), "tenant", number_or_null(certificate->tenant_id), "issued",
        output_json_time(certificate->issued_ms), "object_ref", hex_json(&certificate->object_ref), "ledger_index",
        (json_int_t)certificate->ledger_index, "batch", number_or_null(certificate->batch_seq), "supersedes",
        certificate->supersedes[0] == '\0' ? json_null() : json_string(certificate->supersedes));
}

static void print_certificate_title(void)
{
    printf("%-36s %10s  %-20s %10s %12s  %s\n", "CERTIFICATE", "NUMBER", "TYPE", "ERASURE", "LEDGER", "ISSUED");
}

static void print_certificate(const Trilith__Certificate *certificate)
{
    char issued[OUTPUT_TIME_BYTES];
    char erasure[24] = "-";
    output_time(certificate->issued_ms, issued);
    if (certificate->erasure_id != 0) {
        snprintf(erasure, sizeof(erasure), "%" PRIu64, certificate->erasure_id);
    }
    printf("%-36s %10" PRIu64 "  %-20s %10s %12" PRIu64 "  %s\n", certificate->id, certificate->seq, certificate->type,
           erasure, certificate->ledger_index, issued);
}

/* A walk over the certificates that the options ask for. */
struct listing {
    struct admin *admin;
    Trilith__CertListRequest request;
    const struct cert_opening *opening; /* NULL: of any object */
    json_t *list;                       /* NULL: onto the terminal */
    uint64_t left;                      /* of --max */
};

/* Is the certificate about the object that `opening` opens? Its payload names the version. */
static enum status is_about(struct listing *listing, const Trilith__Certificate *certificate, bool *about)
{
    *about = false;
    if (certificate->object_ref.len != SHA256_BYTES) {
        return STATUS_OK;
    }
    Trilith__CertGetRequest request;
    trilith__cert_get_request__init(&request);
    request.seq = certificate->seq;
    ProtobufCMessage *message = NULL;
    enum status status = cert_fetch_one(listing->admin, &request, &message);
    if (status == STATUS_OK) {
        uint8_t version_id[16];
        uint8_t reference[SHA256_BYTES];
        json_t *payload = cert_payload(((const Trilith__CertGetReply *)message)->certificate->jws);
        const char *version = json_string_value(cert_value(payload, "subject.version_id"));
        if (version != NULL && id_from_hex(version, version_id)) {
            if (!cert_object_ref(listing->opening, version_id, reference)) {
                status = STATUS_BUSY;
            }
            *about = status == STATUS_OK && memcmp(reference, certificate->object_ref.data, SHA256_BYTES) == 0;
        }
        json_decref(payload);
    }
    admin_reply_free(message);
    return status;
}

static enum status list_page(struct listing *listing, const Trilith__CertListReply *reply)
{
    for (size_t i = 0; i < reply->n_certificates && listing->left > 0; i++) {
        bool about = true;
        if (listing->opening != NULL) {
            enum status status = is_about(listing, reply->certificates[i], &about);
            if (status != STATUS_OK) {
                return status;
            }
        }
        listing->request.after_seq = reply->certificates[i]->seq;
        if (!about) {
            continue;
        }
        listing->left--;
        if (listing->list != NULL) {
            json_array_append_new(listing->list, certificate_json(reply->certificates[i]));
        } else {
            print_certificate(reply->certificates[i]);
        }
    }
    return STATUS_OK;
}

static enum status list_all(struct listing *listing)
{
    bool more = true;
    enum status status = STATUS_OK;
    while (more && status == STATUS_OK && listing->left > 0) {
        ProtobufCMessage *message = NULL;
        uint64_t before = listing->request.after_seq;
        listing->request.max = listing->left < CERTIFICATES_PER_PAGE ? (uint32_t)listing->left : CERTIFICATES_PER_PAGE;
        status = admin_call(listing->admin, TRILITH__MESSAGE_TYPE__CERT_LIST, &listing->request.base, &message);
        if (status == STATUS_OK) {
            const Trilith__CertListReply *reply = (const Trilith__CertListReply *)message;
            status = list_page(listing, reply);
            more = reply->more && listing->request.after_seq > before;
        }
        admin_reply_free(message);
    }
    return status;
}

/* Read --since, --until, --max. 0, or COMMAND_USAGE. */
static int read_list_options(struct command *command, struct listing *listing)
{
    const char *since = command_option(command, "--since");
    const char *until = command_option(command, "--until");
    const char *max = command_option(command, "--max");
    if (since != NULL && !time_read(since, &listing->request.from_ms)) {
        return command_usage(command, "\"%s\" is not a time like 2026-01-31 or 2026-01-31T08:00:00Z", since);
    }
    if (until != NULL && !time_read(until, &listing->request.until_ms)) {
        return command_usage(command, "\"%s\" is not a time like 2026-01-31 or 2026-01-31T08:00:00Z", until);
    }
    listing->left = CERTIFICATES_MAX;
    if (max != NULL && (!command_number(max, CERTIFICATES_MAX, &listing->left) || listing->left == 0)) {
        return command_usage(command, "\"%s\" is not a count", max);
    }
    return 0;
}

static int list_failed(const struct admin *admin, enum status status, const char *tenant)
{
    char what[96];
    snprintf(what, sizeof(what), tenant == NULL || tenant[0] == '\0' ? "list of certificates" : "tenant \"%.63s\"",
             tenant);
    return admin_failed(admin, status, what);
}

int command_cert_list(struct command *command)
{
    struct listing listing = {0};
    struct s3_place place = {0};
    struct cert_opening opening;
    const char *object = command_option(command, "--object");
    const char *tenant = command_option(command, "--tenant");
    trilith__cert_list_request__init(&listing.request);
    if (object != NULL && (!s3_place_read(object, &place) || place.key[0] == '\0')) {
        return command_usage(command, "\"%s\" is not BUCKET/KEY", object);
    }
    int result = read_list_options(command, &listing);
    const struct client_config *config = result != 0 ? NULL : command_config(command);
    listing.admin = config == NULL ? NULL : admin_open(command);
    if (listing.admin == NULL) {
        return COMMAND_USAGE;
    }
    if (object != NULL && tenant == NULL) {
        tenant = config->tenant;
    }
    if (tenant != NULL) {
        listing.request.tenant = (char *)(uintptr_t)tenant;
    }
    enum status status = STATUS_OK;
    if (object != NULL) {
        listing.opening = &opening;
        status = cert_fetch_opening(listing.admin, tenant, place.bucket, place.key, &opening);
    }
    listing.list = command->json ? json_array() : NULL;
    if (status == STATUS_OK && listing.list == NULL) {
        print_certificate_title();
    }
    status = status == STATUS_OK ? list_all(&listing) : status;
    if (status != STATUS_OK) {
        result = list_failed(listing.admin, status, tenant);
        json_decref(listing.list);
    } else {
        result = listing.list != NULL ? output_json(json_pack("{s:o}", "certificates", listing.list)) : output_finish();
    }
    admin_close(listing.admin);
    return result;
}

/* ---- show ---------------------------------------------------------------------------------------- */

static void show_text(const char *text)
{
    output_text(text, strlen(text));
}

static void show_title(struct cert_printer *printer, const char *title, const char *result)
{
    (void)printer;
    show_text(title);
    printf("\n");
    show_text(result);
    printf("\n");
}

static void show_section(struct cert_printer *printer, const char *heading)
{
    (void)printer;
    printf("\n");
    show_text(heading);
    printf("\n");
}

static void show_paragraph(struct cert_printer *printer, const char *text)
{
    (void)printer;
    printf("  ");
    show_text(text);
    printf("\n");
}

static void show_field(struct cert_printer *printer, const char *label, const char *value)
{
    (void)printer;
    printf("  ");
    show_text(label);
    printf("%*s", (int)(strlen(label) < 36 ? 36 - strlen(label) : 1), "");
    show_text(value);
    printf("\n");
}

static void show_row(struct cert_printer *printer, const char *const cells[], const unsigned widths[], size_t count,
                     bool is_heading)
{
    (void)printer;
    (void)is_heading;
    printf(" ");
    for (size_t i = 0; i < count; i++) {
        int width = (int)(widths[i] * 130 / 100);
        int used = (int)strlen(cells[i]);
        printf(" ");
        show_text(cells[i]);
        printf("%*s", i + 1 < count && used < width ? width - used : 0, "");
    }
    printf("\n");
}

static int show(struct command *command, const Trilith__CertGetReply *found, const Trilith__SigningKeyListReply *keys)
{
    static struct cert_printer printer = {.title = show_title,
                                          .section = show_section,
                                          .paragraph = show_paragraph,
                                          .field = show_field,
                                          .row = show_row};
    const char *jws = found->certificate->jws;
    json_t *payload = cert_payload(jws);
    bool is_signed = cert_is_signed(jws, keys);
    if (payload == NULL) {
        return command_fail("certificate %s: what the metadata service answered is no certificate",
                            command->arguments[0]);
    }
    if (command->json) {
        return output_json(json_pack("{s:o, s:o, s:b, s:s}", "certificate", certificate_json(found->certificate),
                                     "payload", payload, "signature_verified", is_signed ? 1 : 0, "jws", jws));
    }
    cert_describe(payload, &printer);
    printf("\nSignature\n  %s\n",
           is_signed ? "verified with the key that the metadata service has for it; `trilith cert export` "
                       "takes away all that verifies it without the service"
                     : "NOT VERIFIED with the keys that the metadata service has");
    json_decref(payload);
    int result = output_finish();
    return result == 0 && !is_signed
               ? command_fail("the signature of certificate %s is not right", command->arguments[0])
               : result;
}

static int cert_failed(struct command *command, const struct admin *admin, enum status status)
{
    const char *which = command->arguments[0];
    if (status == STATUS_NOT_FOUND && strchr(which, '-') == NULL) {
        return command_fail("erasure %s has no certificate (yet); `trilith erase show %s` says why", which, which);
    }
    char what[80];
    snprintf(what, sizeof(what), "certificate %.40s", which);
    return admin_failed(admin, status, what);
}

static enum status fetch_keys(struct admin *admin, ProtobufCMessage **keys)
{
    return admin_call(admin, TRILITH__MESSAGE_TYPE__SIGNING_KEY_LIST, NULL, keys);
}

int command_cert_show(struct command *command)
{
    Trilith__CertGetRequest request;
    if (!cert_request_read(command->arguments[0], &request)) {
        return command_usage(command, "\"%s\" is neither a certificate's id nor the number of an erasure",
                             command->arguments[0]);
    }
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    ProtobufCMessage *found = NULL;
    ProtobufCMessage *keys = NULL;
    enum status status = cert_fetch_one(admin, &request, &found);
    if (status == STATUS_OK) {
        status = fetch_keys(admin, &keys);
    }
    int result = status != STATUS_OK
                     ? cert_failed(command, admin, status)
                     : show(command, (const Trilith__CertGetReply *)found, (const Trilith__SigningKeyListReply *)keys);
    admin_reply_free(found);
    admin_reply_free(keys);
    admin_close(admin);
    return result;
}

/* ---- export -------------------------------------------------------------------------------------- */

/* The directory is new, empty, or holds the same certificate: parts of another one would not fit. 0, or
 * COMMAND_FAILED. */
static int check_directory(struct evidence_files *files, const char *path, const char *jws)
{
    char *there = NULL;
    size_t bytes = 0;
    enum status status = files->read(files, "certificate.jws", JWS_BYTES_MAX, &there, &bytes);
    bool same = status == STATUS_OK && bytes == strlen(jws) && memcmp(there, jws, bytes) == 0;
    free(there);
    return status == STATUS_NOT_FOUND || same
               ? 0
               : command_fail("%s holds another certificate; choose another directory with --out", path);
}

static int export_into(struct command *command, const char *path, const struct cert_export *export)
{
    struct evidence_directory directory;
    if ((mkdir(path, 0755) != 0 && errno != EEXIST) || evidence_directory_open(&directory, path) != STATUS_OK) {
        return command_fail("%s: it can't be made or opened: %s", path, strerror(errno));
    }
    int result = check_directory(&directory.files, path, export->found->certificate->jws);
    if (result == 0) {
        enum status status = cert_export_write(export, &directory.files);
        if (status == STATUS_CORRUPT) {
            result =
                command_fail("certificate %s: the metadata service's answers do not fit together; its log says more",
                             command->arguments[0]);
        } else if (status != STATUS_OK) {
            result =
                command_fail("%s: the export could not be written (%s); is the disk full?", path, status_name(status));
        }
    }
    evidence_directory_close(&directory);
    if (result != 0) {
        return result;
    }
    if (command->json) {
        return output_json(json_pack("{s:s, s:s, s:I}", "certificate", export->found->certificate->id, "directory",
                                     path, "attestations", (json_int_t) export->found->n_attestations));
    }
    printf("certificate %s is in %s; README.txt there says how to verify it (sh %s/verify.sh)\n",
           export->found->certificate->id, path, path);
    return output_finish();
}

/* The opening must open this certificate: it would prove nothing, or name somebody else's object. */
static bool opens(const struct cert_opening *opening, const Trilith__CertGetReply *found)
{
    uint8_t version_id[16];
    uint8_t reference[SHA256_BYTES];
    json_t *payload = cert_payload(found->certificate->jws);
    const char *version = json_string_value(cert_value(payload, "subject.version_id"));
    bool good = version != NULL && id_from_hex(version, version_id) &&
                cert_object_ref(opening, version_id, reference) && found->certificate->object_ref.len == SHA256_BYTES &&
                memcmp(reference, found->certificate->object_ref.data, SHA256_BYTES) == 0;
    json_decref(payload);
    return good;
}

static int export_fetched(struct command *command, struct admin *admin, const struct s3_place *place,
                          struct cert_fetched *fetched)
{
    struct cert_opening opening;
    if (place->bucket[0] != '\0') {
        const struct client_config *config = command_config(command);
        const char *tenant = command_option(command, "--tenant");
        enum status status = config == NULL ? STATUS_INVALID
                                            : cert_fetch_opening(admin, tenant != NULL ? tenant : config->tenant,
                                                                 place->bucket, place->key, &opening);
        if (status != STATUS_OK) {
            return admin_failed(admin, status, "object");
        }
        if (!opens(&opening, fetched->export.found)) {
            return command_fail("certificate %s is not about %s/%s", command->arguments[0], place->bucket, place->key);
        }
        fetched->export.opening = &opening;
    }
    return export_into(command, command_option(command, "--out"), &fetched->export);
}

int command_cert_export(struct command *command)
{
    Trilith__CertGetRequest request;
    struct s3_place place = {0};
    const char *object = command_option(command, "--object");
    if (!cert_request_read(command->arguments[0], &request)) {
        return command_usage(command, "\"%s\" is neither a certificate's id nor the number of an erasure",
                             command->arguments[0]);
    }
    if (command_option(command, "--out") == NULL) {
        return command_usage(command, "--out names the directory to write into");
    }
    if (object != NULL && (!s3_place_read(object, &place) || place.key[0] == '\0')) {
        return command_usage(command, "\"%s\" is not BUCKET/KEY", object);
    }
    struct admin *admin = admin_open(command);
    if (admin == NULL) {
        return COMMAND_USAGE;
    }
    struct cert_fetched fetched = {0};
    ProtobufCMessage *keys = NULL;
    enum status status = fetch_keys(admin, &keys);
    if (status == STATUS_OK) {
        status = cert_fetch(admin, &request, keys, NULL, &fetched);
    }
    int result =
        status != STATUS_OK ? cert_failed(command, admin, status) : export_fetched(command, admin, &place, &fetched);
    cert_fetched_free(&fetched);
    admin_reply_free(keys);
    admin_close(admin);
    return result;
}

/* ---- pdf ----------------------------------------------------------------------------------------- */

/* Where the ledger has it: its batch, or what a proof beside the file says. `text` holds the answer. NULL: not known.
 * */
static const char *ledger_place(const json_t *payload, const char *path, char text[64])
{
    const char *batch = json_string_value(cert_value(payload, "batch.epoch_cert_id"));
    if (batch != NULL && strlen(batch) < 64) {
        snprintf(text, 64, "%s", batch);
        return text;
    }
    char proof[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int folder = slash == NULL ? 0 : (int)(slash - path) + 1;
    snprintf(proof, sizeof(proof), "%.*sproof.tlog-proof", folder, path);
    char *data = NULL;
    size_t bytes = 0;
    uint64_t index = 0;
    static const char begin[] = "c2sp.org/tlog-proof@v1\nindex ";
    bool found = evidence_file_read(proof, 1u << 16, &data, &bytes) == STATUS_OK && bytes > sizeof(begin) &&
                 memcmp(data, begin, sizeof(begin) - 1) == 0;
    if (found) {
        size_t digits = 0;
        const char *at = data + sizeof(begin) - 1;
        while (digits < 20 && digits < bytes - sizeof(begin) && at[digits] >= '0' && at[digits] <= '9') {
            digits++;
        }
        snprintf(text, 64, "%.*s", (int)digits, at);
        found = command_number(text, UINT64_MAX, &index);
    }
    free(data);
    return found ? text : NULL;
}

/* Is the JWS signed with the key in the file? 0: yes, or COMMAND_FAILED. */
static int check_signature(const char *path, const struct jws *jws, const char *text, const char *key_path)
{
    char *pem = NULL;
    size_t bytes = 0;
    struct public_key key;
    enum status status = evidence_file_read(key_path, 4096, &pem, &bytes);
    status = status == STATUS_OK ? public_key_from_pem(pem, bytes, &key) : status;
    free(pem);
    if (status != STATUS_OK) {
        return command_fail("%s: it is no Ed25519 public key in PEM, or can't be read", key_path);
    }
    return jws_verify(jws, text, &key) ? 0 : command_fail("%s is not signed with the key in %s", path, key_path);
}

static int write_pdf(const char *path, const uint8_t *data, size_t bytes)
{
    FILE *file = fopen(path, "wbe");
    bool good = file != NULL && fwrite(data, 1, bytes, file) == bytes;
    good = file != NULL && fclose(file) == 0 && good;
    return good ? 0 : command_fail("%s: it can't be written: %s", path, strerror(errno));
}

static int render(struct command *command, const struct jws *jws, const char *text, size_t bytes)
{
    char place[64];
    const char *path = command->arguments[0];
    const char *out = command_option(command, "--out");
    const char *key = command_option(command, "--key");
    int result = key == NULL ? 0 : check_signature(path, jws, text, key);
    if (result != 0) {
        return result;
    }
    struct cert_pdf_record record = {
        .payload = jws->payload, .ledger = ledger_place(jws->payload, path, place), .signature_verified = key != NULL};
    sha256(text, bytes, record.sha256);
    size_t pdf_bytes = 0;
    uint8_t *pdf = cert_pdf_render(&record, &pdf_bytes);
    if (pdf == NULL) {
        return command_fail("out of memory");
    }
    result = write_pdf(out, pdf, pdf_bytes);
    free(pdf);
    if (result != 0) {
        return result;
    }
    if (command->json) {
        return output_json(json_pack("{s:s, s:I, s:b}", "file", out, "bytes", (json_int_t)pdf_bytes,
                                     "signature_verified", key != NULL ? 1 : 0));
    }
    printf("%s is a rendering of %s; the signed record is the JWS%s\n", out, path,
           key != NULL ? "" : " (its signature was not checked: --key)");
    return output_finish();
}

int command_cert_pdf(struct command *command)
{
    const char *path = command->arguments[0];
    char *text = NULL;
    size_t bytes = 0;
    if (command_option(command, "--out") == NULL) {
        return command_usage(command, "--out names the file to write");
    }
    enum status status = evidence_file_read(path, JWS_BYTES_MAX, &text, &bytes);
    if (status != STATUS_OK) {
        return command_fail("%s: it can't be read (%s)", path, status_name(status));
    }
    /* The digest that the ledger has is of the JWS without a newline. */
    bytes -= bytes > 0 && text[bytes - 1] == '\n' ? 1 : 0;
    struct jws jws;
    int result = jws_open(&jws, text, bytes) != STATUS_OK || strcmp(jws.type, "erasure-cert+jws") != 0
                     ? command_fail("%s is no certificate", path)
                     : render(command, &jws, text, bytes);
    jws_close(&jws);
    free(text);
    return result;
}
