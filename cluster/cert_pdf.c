/* cert_pdf.c - the layout: a title with its QR code, sections of labels and values, tables, and a foot on every page.
 *
 * Lengths are points (1/72 inch) from the lower left corner of an A4 page. The cursor `y` is the top of what comes
 * next; whatever needs more height than is left starts a page. libharu keeps its first error and does nothing from
 * then on, so it is asked once, at the end. */
#include "cluster/cert_pdf.h"

#include "cluster/cert_words.h"

#include <hpdf.h>
#include <qrencode.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_WIDTH   595.28f
#define PAGE_HEIGHT  841.89f
#define MARGIN       48.0f
#define CONTENT      (PAGE_WIDTH - 2 * MARGIN)
#define FOOT_HEIGHT  62.0f
#define LABEL_WIDTH  150.0f
#define QR_WIDTH     88.0f
#define TITLE_SIZE   17.0f
#define RESULT_SIZE  9.5f
#define HEADING_SIZE 10.0f
#define TEXT_SIZE    8.3f
#define CELL_SIZE    7.4f
#define FOOT_SIZE    6.8f
#define LEADING      1.28f
#define CELL_GAP     4.0f
#define LINES_MAX    16 /* of one value */

struct layout {
    struct cert_printer printer;
    const struct cert_pdf_record *record;
    HPDF_Doc document;
    HPDF_Page page; /* the current one */
    HPDF_Page pages[CERT_PDF_PAGES_MAX];
    size_t page_count;
    HPDF_Font regular;
    HPDF_Font bold;
    HPDF_Font fixed;
    float y;
    bool full;  /* the last page is: nothing is drawn any more */
    bool shade; /* every other row of a table */
};

/* ---- characters ------------------------------------------------------------------------------------ */

/* Unicode to Windows-1252, which is what the fonts are used with; 0: not in it. */
static unsigned char narrow_character(uint32_t code)
{
    static const struct {
        uint32_t code;
        unsigned char narrow;
    } others[] = {{0x20ac, 0x80}, {0x2013, 0x96}, {0x2014, 0x97}, {0x2018, 0x91}, {0x2019, 0x92},
                  {0x201c, 0x93}, {0x201d, 0x94}, {0x2022, 0x95}, {0x2026, 0x85}, {0x2122, 0x99}};
    if ((code >= 0x20 && code < 0x7f) || (code >= 0xa0 && code <= 0xff)) {
        return (unsigned char)code;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(others); i++) {
        if (others[i].code == code) {
            return others[i].narrow;
        }
    }
    return 0;
}

/* The character at *at of valid or invalid UTF-8, and move on. */
static uint32_t next_character(const unsigned char **at)
{
    uint32_t first = *(*at)++;
    unsigned more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0;
    uint32_t code = more == 0 ? first : first & (0x3fu >> more);
    for (; more > 0 && (**at & 0xc0) == 0x80; more--) {
        code = code << 6 | (*(*at)++ & 0x3fu);
    }
    return more == 0 && (first < 0x80 || first >= 0xc0) ? code : UINT32_MAX;
}

/* UTF-8 as the fonts take it. */
static void narrow(const char *text, char out[CERT_TEXT_BYTES])
{
    const unsigned char *at = (const unsigned char *)text;
    size_t used = 0;
    while (*at != '\0' && used + 1 < CERT_TEXT_BYTES) {
        unsigned char character = narrow_character(next_character(&at));
        out[used++] = (char)(character == 0 ? '?' : character);
    }
    out[used] = '\0';
}

/* ---- pages ----------------------------------------------------------------------------------------- */

static void add_page(struct layout *layout)
{
    if (layout->page_count == CERT_PDF_PAGES_MAX) {
        layout->full = true;
        return;
    }
    layout->page = HPDF_AddPage(layout->document);
    HPDF_Page_SetSize(layout->page, HPDF_PAGE_SIZE_A4, HPDF_PAGE_PORTRAIT);
    layout->pages[layout->page_count++] = layout->page;
    layout->y = PAGE_HEIGHT - MARGIN;
}

/* Room for `height` on this page, or on a new one. False: all pages are full. */
static bool make_room(struct layout *layout, float height)
{
    if (layout->y - height < FOOT_HEIGHT) {
        add_page(layout);
    }
    return !layout->full;
}

static void draw_text(struct layout *layout, HPDF_Font font, float size, float gray, float x, float y, const char *text)
{
    HPDF_Page_SetFontAndSize(layout->page, font, size);
    HPDF_Page_SetGrayFill(layout->page, gray);
    HPDF_Page_BeginText(layout->page);
    HPDF_Page_TextOut(layout->page, x, y, text);
    HPDF_Page_EndText(layout->page);
}

/* A text broken into lines of at most `width`: at blanks, and inside of words that are wider than a line. */
struct lines {
    char text[CERT_TEXT_BYTES + LINES_MAX];
    const char *line[LINES_MAX];
    size_t count;
};

static void break_lines(HPDF_Font font, float size, float width, const char *utf8, struct lines *lines)
{
    char text[CERT_TEXT_BYTES];
    narrow(utf8, text);
    const char *at = text;
    char *out = lines->text;
    lines->count = 0;
    if (*at == '\0') {
        *out = '\0';
        lines->line[lines->count++] = out;
    }
    while (lines->count < LINES_MAX && *at != '\0') {
        HPDF_UINT left = (HPDF_UINT)strlen(at);
        const HPDF_BYTE *bytes = (const HPDF_BYTE *)at;
        HPDF_UINT fit = HPDF_Font_MeasureText(font, bytes, left, width, size, 0, 0, HPDF_TRUE, NULL);
        if (fit == 0) {
            fit = HPDF_Font_MeasureText(font, bytes, left, width, size, 0, 0, HPDF_FALSE, NULL);
        }
        fit = fit == 0 ? 1 : fit > left ? left : fit;
        memcpy(out, at, fit);
        out[fit] = '\0';
        lines->line[lines->count++] = out;
        out += fit + 1;
        at += fit;
        at += strspn(at, " ");
    }
    if (*at != '\0') {
        /* Cut: the last three characters of the last line say so. */
        size_t used = strlen(lines->line[LINES_MAX - 1]);
        memcpy(lines->text + (lines->line[LINES_MAX - 1] - lines->text) + (used > 3 ? used - 3 : 0), "...", 4);
    }
}

static void draw_lines(struct layout *layout, HPDF_Font font, float size, float gray, float x,
                       const struct lines *lines)
{
    for (size_t i = 0; i < lines->count; i++) {
        draw_text(layout, font, size, gray, x, layout->y - size - (float)i * size * LEADING, lines->line[i]);
    }
}

/* ---- the QR code ----------------------------------------------------------------------------------- */

static void draw_qr(struct layout *layout)
{
    char hex[2 * SHA256_BYTES + 1];
    char text[256];
    hex_encode(layout->record->sha256, SHA256_BYTES, hex);
    const char *ledger = layout->record->ledger;
    snprintf(text, sizeof(text), "sha256:%s%s%s", hex, ledger == NULL ? "" : " ledger:", ledger == NULL ? "" : ledger);
    QRcode *code = QRcode_encodeString(text, 0, QR_ECLEVEL_M, QR_MODE_8, 1);
    if (code == NULL) {
        return;
    }
    float cell = QR_WIDTH / (float)code->width;
    float left = PAGE_WIDTH - MARGIN - QR_WIDTH;
    HPDF_Page_SetGrayFill(layout->page, 0);
    for (int row = 0; row < code->width; row++) {
        for (int column = 0; column < code->width; column++) {
            if ((code->data[row * code->width + column] & 1) != 0) {
                HPDF_Page_Rectangle(layout->page, left + (float)column * cell, layout->y - (float)(row + 1) * cell,
                                    cell, cell);
            }
        }
    }
    HPDF_Page_Fill(layout->page);
    QRcode_free(code);
}

/* ---- what cert_describe() tells -------------------------------------------------------------------- */

static struct layout *layout_of(struct cert_printer *printer)
{
    return CONTAINER_OF(printer, struct layout, printer);
}

static void print_title(struct cert_printer *printer, const char *title, const char *result)
{
    struct layout *layout = layout_of(printer);
    float width = CONTENT - QR_WIDTH - 16;
    float top = layout->y;
    struct lines lines;
    draw_qr(layout);
    break_lines(layout->bold, TITLE_SIZE, width, title, &lines);
    draw_lines(layout, layout->bold, TITLE_SIZE, 0, MARGIN, &lines);
    layout->y -= (float)lines.count * TITLE_SIZE * LEADING + 6;
    break_lines(layout->regular, RESULT_SIZE, width, result, &lines);
    draw_lines(layout, layout->bold, RESULT_SIZE, 0, MARGIN, &lines);
    layout->y -= (float)lines.count * RESULT_SIZE * LEADING + 4;
    const char *signature = layout->record->signature_verified
                                ? "Signature: verified with the key given when this page was made."
                                : "Signature: not checked when this page was made.";
    break_lines(layout->regular, TEXT_SIZE, width, signature, &lines);
    draw_lines(layout, layout->regular, TEXT_SIZE, 0.25f, MARGIN, &lines);
    layout->y = top - QR_WIDTH - 8;
}

static void print_section(struct cert_printer *printer, const char *heading)
{
    struct layout *layout = layout_of(printer);
    /* A heading is not left alone at the foot of a page. */
    if (!make_room(layout, HEADING_SIZE * LEADING + 14 + 2 * TEXT_SIZE * LEADING)) {
        return;
    }
    layout->y -= 8;
    draw_text(layout, layout->bold, HEADING_SIZE, 0, MARGIN, layout->y - HEADING_SIZE, heading);
    layout->y -= HEADING_SIZE * LEADING + 1;
    HPDF_Page_SetGrayStroke(layout->page, 0.6f);
    HPDF_Page_SetLineWidth(layout->page, 0.6f);
    HPDF_Page_MoveTo(layout->page, MARGIN, layout->y);
    HPDF_Page_LineTo(layout->page, PAGE_WIDTH - MARGIN, layout->y);
    HPDF_Page_Stroke(layout->page);
    layout->y -= 4;
    layout->shade = false;
}

static void print_paragraph(struct cert_printer *printer, const char *text)
{
    struct layout *layout = layout_of(printer);
    struct lines lines;
    break_lines(layout->regular, TEXT_SIZE, CONTENT, text, &lines);
    if (!make_room(layout, (float)lines.count * TEXT_SIZE * LEADING + 2)) {
        return;
    }
    draw_lines(layout, layout->regular, TEXT_SIZE, 0, MARGIN, &lines);
    layout->y -= (float)lines.count * TEXT_SIZE * LEADING + 2;
}

/* A hash or an id: a word of hex digits and hyphens. It stands in a font of equal widths. */
static bool is_digits(const char *text)
{
    size_t bytes = strlen(text);
    return bytes >= 32 && strspn(text, "0123456789abcdef-") == bytes;
}

static void print_field(struct cert_printer *printer, const char *label, const char *value)
{
    struct layout *layout = layout_of(printer);
    HPDF_Font font = is_digits(value) ? layout->fixed : layout->regular;
    struct lines labels;
    struct lines values;
    break_lines(layout->regular, TEXT_SIZE, LABEL_WIDTH - CELL_GAP, label, &labels);
    break_lines(font, TEXT_SIZE, CONTENT - LABEL_WIDTH, value, &values);
    size_t count = labels.count > values.count ? labels.count : values.count;
    if (!make_room(layout, (float)count * TEXT_SIZE * LEADING + 2)) {
        return;
    }
    draw_lines(layout, layout->regular, TEXT_SIZE, 0.35f, MARGIN, &labels);
    draw_lines(layout, font, TEXT_SIZE, 0, MARGIN + LABEL_WIDTH, &values);
    layout->y -= (float)count * TEXT_SIZE * LEADING + 1.5f;
}

static void print_row(struct cert_printer *printer, const char *const cells[], const unsigned widths[], size_t count,
                      bool is_heading)
{
    struct layout *layout = layout_of(printer);
    HPDF_Font font = is_heading ? layout->bold : layout->regular;
    struct lines lines[CERT_COLUMNS_MAX];
    size_t height = 1;
    for (size_t i = 0; i < count && i < CERT_COLUMNS_MAX; i++) {
        break_lines(font, CELL_SIZE, CONTENT * (float)widths[i] / 100 - CELL_GAP, cells[i], &lines[i]);
        height = lines[i].count > height ? lines[i].count : height;
    }
    float points = (float)height * CELL_SIZE * LEADING + 3;
    if (!make_room(layout, points)) {
        return;
    }
    layout->shade = is_heading ? false : !layout->shade;
    if (layout->shade) {
        HPDF_Page_SetGrayFill(layout->page, 0.95f);
        HPDF_Page_Rectangle(layout->page, MARGIN - 2, layout->y - points + 1, CONTENT + 4, points);
        HPDF_Page_Fill(layout->page);
    }
    float x = MARGIN;
    for (size_t i = 0; i < count && i < CERT_COLUMNS_MAX; i++) {
        draw_lines(layout, font, CELL_SIZE, 0, x, &lines[i]);
        x += CONTENT * (float)widths[i] / 100;
    }
    layout->y -= points;
}

/* ---- the document ---------------------------------------------------------------------------------- */

static void draw_feet(struct layout *layout)
{
    char hex[2 * SHA256_BYTES + 1];
    char text[192];
    hex_encode(layout->record->sha256, SHA256_BYTES, hex);
    for (size_t i = 0; i < layout->page_count; i++) {
        layout->page = layout->pages[i];
        HPDF_Page_SetGrayStroke(layout->page, 0.6f);
        HPDF_Page_SetLineWidth(layout->page, 0.6f);
        HPDF_Page_MoveTo(layout->page, MARGIN, FOOT_HEIGHT - 10);
        HPDF_Page_LineTo(layout->page, PAGE_WIDTH - MARGIN, FOOT_HEIGHT - 10);
        HPDF_Page_Stroke(layout->page);
        draw_text(layout, layout->regular, FOOT_SIZE, 0.25f, MARGIN, FOOT_HEIGHT - 20,
                  "This page is a rendering. The signed record is the JWS with SHA-256");
        draw_text(layout, layout->fixed, FOOT_SIZE, 0.25f, MARGIN, FOOT_HEIGHT - 29, hex);
        snprintf(text, sizeof(text), "Page %zu of %zu%s", i + 1, layout->page_count,
                 layout->full && i + 1 == layout->page_count ? "; more stands in the signed record" : "");
        draw_text(layout, layout->regular, FOOT_SIZE, 0.25f, MARGIN, FOOT_HEIGHT - 38, text);
    }
}

static void note_error(HPDF_STATUS error, HPDF_STATUS detail, void *user)
{
    (void)error;
    (void)detail;
    *(bool *)user = true;
}

static uint8_t *take_bytes(HPDF_Doc document, size_t *bytes)
{
    if (HPDF_SaveToStream(document) != HPDF_OK) {
        return NULL;
    }
    HPDF_UINT32 size = HPDF_GetStreamSize(document);
    HPDF_UINT32 got = size;
    uint8_t *data = malloc(size == 0 ? 1 : size);
    /* What reads to the end exactly may say that the end was met. */
    if (data != NULL) {
        HPDF_ResetStream(document);
        HPDF_ReadFromStream(document, data, &got);
        if (got != size || size == 0) {
            free(data);
            return NULL;
        }
        *bytes = size;
    }
    return data;
}

static void describe_document(HPDF_Doc document, const json_t *payload)
{
    char text[CERT_TEXT_BYTES];
    char narrowed[CERT_TEXT_BYTES];
    cert_value_text(cert_value(payload, "cert_id"), text);
    narrow(text, narrowed);
    HPDF_SetInfoAttr(document, HPDF_INFO_TITLE, narrowed);
    HPDF_SetInfoAttr(document, HPDF_INFO_CREATOR, "trilith " TRILITH_VERSION);
    HPDF_SetInfoAttr(document, HPDF_INFO_SUBJECT, "A rendering of a signed certificate");
}

uint8_t *cert_pdf_render(const struct cert_pdf_record *record, size_t *bytes)
{
    bool failed = false;
    struct layout *layout = calloc(1, sizeof(*layout));
    HPDF_Doc document = layout == NULL ? NULL : HPDF_New(note_error, &failed);
    if (document == NULL) {
        free(layout);
        return NULL;
    }
    layout->printer = (struct cert_printer){.title = print_title,
                                            .section = print_section,
                                            .paragraph = print_paragraph,
                                            .field = print_field,
                                            .row = print_row};
    layout->record = record;
    layout->document = document;
    layout->regular = HPDF_GetFont(document, "Helvetica", "WinAnsiEncoding");
    layout->bold = HPDF_GetFont(document, "Helvetica-Bold", "WinAnsiEncoding");
    layout->fixed = HPDF_GetFont(document, "Courier", "WinAnsiEncoding");
    describe_document(document, record->payload);
    uint8_t *data = NULL;
    if (!failed) {
        add_page(layout);
        cert_describe(record->payload, &layout->printer);
        draw_feet(layout);
        data = failed ? NULL : take_bytes(document, bytes);
    }
    HPDF_Free(document);
    free(layout);
    return data;
}
