/* cert_words_media.c - media and nodes that leave: the fields of the NIST SP 800-88 sample form, under its labels.
 *
 * A field of the form that nobody recorded is printed as not recorded: a reader sees which ones they are. */
#include "base/check.h"
#include "cluster/cert_words_private.h"

#include <string.h>

static void print_person(struct cert_printer *printer, const char *heading, const json_t *person)
{
    static const struct cert_field fields[] = {
        {"Name", "name"},
        {"Title", "title"},
        {"Organization", "organization"},
        {"Location", "location"},
        {"Phone", "contact"},
        {"Date", "at"},
        {NULL, NULL},
    };
    printer->section(printer, heading);
    if (!json_is_object(person)) {
        printer->paragraph(printer, CERT_NOT_RECORDED);
        return;
    }
    cert_print_fields(printer, person, fields);
    const char *signature = json_string_value(json_object_get(person, "signature"));
    printer->field(printer, "Signature",
                   signature != NULL && signature[0] != '\0' ? "a signed statement (JWS), kept in the signed record"
                                                             : CERT_NOT_RECORDED);
}

static void print_approvers(struct cert_printer *printer, const json_t *list)
{
    static const struct cert_column columns[] = {
        {"Name", 25, "name", NULL},
        {"Title", 20, "title", NULL},
        {"Organization", 25, "organization", NULL},
        {"At", 30, "at", NULL},
    };
    printer->section(printer, "Approved by");
    cert_print_table(printer, list, columns, ARRAY_LENGTH(columns), "Nobody.");
}

void cert_print_medium(struct cert_printer *printer, const json_t *payload)
{
    static const struct cert_field media[] = {
        {"Make/Vendor", "media.manufacturer"},
        {"Model Number", "media.model"},
        {"Serial Number", "media.serial"},
        {"Media Property Number", "media.property_number"},
        {"Media Type", "media.type"},
        {"Interface", "media.interface"},
        {"World wide name", "media.wwn"},
        {"Firmware", "media.firmware"},
        {"Capacity in bytes", "media.capacity_bytes"},
        {"Source", "source"},
        {"Classification", "classification.pre"},
        {"Data Backed Up", "data_backed_up"},
        {"Backup Location", "backup_location"},
        {NULL, NULL},
    };
    static const struct cert_field details[] = {
        {"Method Type", "sanitization.method"},
        {"Method Used", "sanitization.technique"},
        {"Method Details", "sanitization.details"},
        {"Tool Used (version)", "sanitization.tool"},
        {"Resumed after a power loss", "sanitization.resumed_after_power_loss"},
        {"Verification Method", "verification.type"},
        {"Bytes read back", "verification.bytes"},
        {"Bytes that differed", "verification.mismatch"},
        {"Bytes that could not be read", "verification.unreadable"},
        {"Search for residue", "verification.residue_scan"},
        {"Post Sanitization Classification", "classification.post"},
        {"Copies left when it was drained", "drain"},
        {NULL, NULL},
    };
    static const struct cert_column steps[] = {
        {"Step", 8, "n", NULL},       {"Command", 22, "command", NULL}, {"Pattern", 16, "pattern", NULL},
        {"Bytes", 18, "bytes", NULL}, {"Errors", 10, "errors", NULL},   {"Finished", 26, "finished_at", NULL},
    };
    static const struct cert_field destination[] = {
        {"Destination", "destination.kind"},
        {"Details", "destination.details"},
        {"Custody", "destination.custody"},
        {NULL, NULL},
    };
    print_person(printer, "Person performing sanitization", cert_value(payload, "people.sanitizer"));
    printer->section(printer, "Media information");
    cert_print_fields(printer, payload, media);
    printer->section(printer, "Sanitization details");
    cert_print_fields(printer, payload, details);
    cert_print_table(printer, cert_value(payload, "sanitization.steps"), steps, ARRAY_LENGTH(steps),
                     "No step was recorded.");
    printer->section(printer, "Media destination");
    cert_print_fields(printer, payload, destination);
    print_person(printer, "Verification", cert_value(payload, "people.verifier"));
    print_person(printer, "Validation", cert_value(payload, "people.validator"));
    char decision[CERT_TEXT_BYTES];
    cert_value_text(cert_value(payload, "people.validator.decision"), decision);
    printer->field(printer, "Decision", decision);
    print_approvers(printer, cert_value(payload, "people.approvers"));
}

void cert_print_node(struct cert_printer *printer, const json_t *payload)
{
    static const struct cert_field node[] = {
        {"Node", "node.id"},
        {"Name", "node.name"},
        {"Make/Vendor", "node.host_manufacturer"},
        {"Model Number", "node.model"},
        {"Serial Number", "node.serial"},
        {"Property Number", "node.asset_tag"},
        {"BMC address", "node.bmc_mac"},
        {"Role", "node.role"},
        {NULL, NULL},
    };
    static const struct cert_field left[] = {
        {"Other memory in it", "inventory.other_memory"},
        {"Secrets", "inventory.secrets"},
        {"Information on it", "inventory.information_assets"},
        {"How it was emptied", "drain"},
        {"Membership", "membership"},
        {"Search for residual information", "residual_information_check"},
        {NULL, NULL},
    };
    static const struct cert_column media[] = {
        {"Serial Number", 50, "serial", NULL},
        {"Its certificate", 50, "cert_id", NULL},
    };
    static const struct cert_field destination[] = {
        {"Destination", "destination.kind"},
        {"Details", "destination.details"},
        {"Custody", "destination.custody"},
        {NULL, NULL},
    };
    printer->section(printer, "Node");
    cert_print_fields(printer, payload, node);
    printer->section(printer, "Media");
    cert_print_table(printer, cert_value(payload, "inventory.media"), media, ARRAY_LENGTH(media), "It had none.");
    printer->section(printer, "Inventory and residual information");
    cert_print_fields(printer, payload, left);
    printer->section(printer, "Destination");
    cert_print_fields(printer, payload, destination);
    print_person(printer, "Person performing decommission", cert_value(payload, "people.sanitizer"));
    print_person(printer, "Verification", cert_value(payload, "people.verifier"));
    print_person(printer, "Validation", cert_value(payload, "people.validator"));
    print_approvers(printer, cert_value(payload, "people.approvers"));
}
