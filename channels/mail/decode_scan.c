/* The look over a raw message before it is parsed; see decode_scan.h. One pass over the header lines and over
 * the lines that begin with two dashes; other body lines are only searched through. What looks like a part
 * boundary is counted generously: too many edits in the view do no harm, because contents are decoded from
 * the raw bytes. */
#include "channels/mail/decode_scan.h"

#include <string.h>
#include <strings.h>

#include "daemon/core/err.h"
#include "daemon/core/str.h"

#define MAX_BOUNDARIES 64
#define DROP_MAX_BYTES CD_KIB(64)
#define LOOK_AHEAD_LINES 32
#define LOOK_AHEAD_BYTES CD_KIB(8)

struct slice {
    const uint8_t *p;
    size_t n;
};

struct scan {
    struct mail_view *v;
    const uint8_t *raw;
    size_t n;
    struct slice boundaries[MAX_BOUNDARIES];
    unsigned nboundaries;
    bool any_boundary; /* a boundary could not be read: every line with two dashes may be one */
    bool digest;
    unsigned parts, fields;
    size_t header_bytes;
    /* the header block at hand */
    unsigned block_fields;
    size_t block_bytes, field_bytes;
    unsigned params;   /* of the field at hand, as far as it has any */
    bool keep_field, drop_field, type_field, params_field, has_type, holds_message;
    bool first_block;
    bool nothing_yet; /* the message has no other fields so far than those the transport puts in front */
};

/* ---- lines ---- */

static size_t line_length(const struct scan *s, size_t at) /* with its line end */
{
    const uint8_t *nl = memchr(s->raw + at, '\n', s->n - at);
    return nl ? (size_t)(nl - (s->raw + at)) + 1 : s->n - at;
}

static bool is_blank(const uint8_t *p, size_t n)
{
    return n == 0 || p[0] == '\n' || (p[0] == '\r' && (n == 1 || p[1] == '\n'));
}

static bool is_white(const uint8_t *p, size_t n)
{
    while (n > 0 && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
        p++, n--;
    return n == 0;
}

/* The length of the field name at the start of a header line; 0 when it is none. */
static size_t field_name(const uint8_t *p, size_t n)
{
    size_t i = 0, end;
    while (i < n && p[i] > 32 && p[i] < 127 && p[i] != ':')
        i++;
    end = i;
    while (i < n && (p[i] == ' ' || p[i] == '\t'))
        i++;
    return end > 0 && i < n && p[i] == ':' ? end : 0;
}

static bool name_is(const uint8_t *p, size_t n, const char *name)
{
    return strlen(name) == n && strncasecmp((const char *)p, name, n) == 0;
}

/* Fields that the record needs: kept beyond the budget of a block, up to twice of it. */
static bool is_needed(const uint8_t *p, size_t n)
{
    static const char *const names[] = {
        "From",       "Sender",      "Reply-To",         "Subject",      "Date",
        "Message-ID", "In-Reply-To", "References",       "MIME-Version", "Auto-Submitted",
        "Precedence", "List-Id",     "List-Unsubscribe", "Return-Path",  "X-Complaintd-Instance"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (name_is(p, n, names[i]))
            return true;
    return n > 8 && strncasecmp((const char *)p, "content-", 8) == 0;
}

static bool is_well_known(const uint8_t *p, size_t n)
{
    return is_needed(p, n) || name_is(p, n, "To") || name_is(p, n, "Cc") || name_is(p, n, "Received") ||
           (n > 2 && strncasecmp((const char *)p, "x-", 2) == 0);
}

/* Fields that no decoding looks at, though most mails have dozens of their lines: the library would spend a third of its time on them. */
static bool is_of_transport(const uint8_t *p, size_t n)
{
    static const char *const names[] = {"Received",   "X-Received",     "To",       "Cc",         "Delivered-To",          "Authentication-Results",
                                        "ARC-Seal",   "DKIM-Signature", "X-Mailer", "User-Agent", "ARC-Message-Signature", "ARC-Authentication-Results",
                                        "Received-SPF"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (name_is(p, n, names[i]))
            return true;
    return false;
}

static const uint8_t *find_word(const uint8_t *p, size_t n, const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i + len <= n; i++)
        if (((p[i] ^ (uint8_t)word[0]) & 0xdf) == 0 && strncasecmp((const char *)p + i, word, len) == 0)
            return p + i;
    return NULL;
}

/* ---- boundaries ---- */

static void learn_boundary(struct scan *s, const uint8_t *p, size_t n)
{
    const uint8_t *at = find_word(p, n, "boundary"), *end = p + n;
    if (!at)
        return;
    at += strlen("boundary");
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    if (at == end || *at != '=' || s->nboundaries == MAX_BOUNDARIES) {
        s->any_boundary = true; /* RFC 2231 form, folded, or too many: believe every one */
        return;
    }
    for (at++; at < end && (*at == ' ' || *at == '\t');)
        at++;
    bool quoted = at < end && *at == '"';
    const uint8_t *from = at += quoted;
    while (at < end && *at != '"' && *at != '\r' && *at != '\n' && *at != '\\' &&
           (quoted || (*at > 32 && *at != ';')))
        at++;
    while (at > from && (at[-1] == ' ' || at[-1] == '\t'))
        at--;
    if (at == from || (at < end && *at == '\\')) {
        s->any_boundary = true;
        return;
    }
    s->boundaries[s->nboundaries++] = (struct slice){.p = from, .n = (size_t)(at - from)};
}

static bool is_boundary(const struct scan *s, const uint8_t *p, size_t n)
{
    if (n < 3 || p[0] != '-' || p[1] != '-' || p[2] <= 32)
        return false;
    if (s->any_boundary)
        return true;
    for (unsigned i = 0; i < s->nboundaries; i++)
        if (n - 2 >= s->boundaries[i].n && memcmp(p + 2, s->boundaries[i].p, s->boundaries[i].n) == 0)
            return true;
    return false;
}

/* ---- header blocks ---- */

static void begin_block(struct scan *s)
{
    s->block_fields = 0;
    s->block_bytes = s->field_bytes = 0;
    s->keep_field = true;
    s->drop_field = s->type_field = s->has_type = s->holds_message = false;
}

/* Whether a known header field follows before the block ends: then the odd line at hand is not yet the body.
 */
static bool header_goes_on(const struct scan *s, size_t at)
{
    size_t end = CD_MIN(s->n, at + LOOK_AHEAD_BYTES);
    for (int i = 0; i < LOOK_AHEAD_LINES && at < end; i++) {
        const uint8_t *nl = memchr(s->raw + at, '\n', end - at);
        size_t len = nl ? (size_t)(nl - (s->raw + at)) + 1 : end - at;
        const uint8_t *p = s->raw + at;
        if (is_blank(p, len) || is_boundary(s, p, len))
            return false;
        size_t name = field_name(p, CD_MIN(len, (size_t)128));
        if (name && is_well_known(p, name))
            return true;
        at += len;
    }
    return false;
}

static bool over_budget(const struct scan *s, size_t factor)
{
    return s->block_bytes > SCAN_MAX_BLOCK * factor || s->header_bytes > SCAN_MAX_HEADERS * factor ||
           s->block_fields > SCAN_MAX_BLOCK_FIELDS * factor || s->fields > SCAN_MAX_FIELDS * factor;
}

/* How much of a line of a field with parameters still is within their budget. Each costs the library an allocation and a
 * search through those before it. Semicolons inside quotes count too: nobody has that many. */
static size_t within_params(struct scan *s, const uint8_t *p, size_t n)
{
    const uint8_t *end = p + n, *from = p;
    if (s->params > SCAN_MAX_PARAMS)
        return 0;
    while ((p = memchr(p, ';', (size_t)(end - p))) != NULL) {
        if (++s->params > SCAN_MAX_PARAMS)
            return (size_t)(p - from);
        p++;
    }
    return n;
}

/* Counts a line of a field that is kept or not; cuts it where the field gets too long. */
static void take_line(struct scan *s, size_t at, size_t len)
{
    if (s->drop_field) {
        mail_view_leave_out(s->v, at, at + len);
        return;
    }
    if (!s->keep_field) {
        mail_view_leave_out(s->v, at, at + len);
        s->v->flags |= VIEW_HEADERS;
        return;
    }
    const uint8_t *p = s->raw + at;
    size_t room = SCAN_MAX_FIELD - CD_MIN(s->field_bytes, SCAN_MAX_FIELD);
    size_t eol = len && p[len - 1] == '\n' ? (len > 1 && p[len - 2] == '\r' ? 2 : 1) : 0;
    size_t kept = len, params = s->params_field ? within_params(s, p, len) : len;
    if (params < len) {
        room = CD_MIN(room, params);
        s->v->flags |= VIEW_PARAMS;
    }
    if (len > room) {
        kept = room + eol < len ? room : len - eol;
        while (kept > 0 && kept < len && (p[kept] & 0xc0) == 0x80)
            kept--;
        if (s->field_bytes > 0 && kept == 0)
            mail_view_leave_out(s->v, at, at + len);
        else
            mail_view_leave_out(s->v, at + kept, at + len - eol);
        s->v->flags |= VIEW_HEADERS;
    }
    s->field_bytes += kept;
    s->block_bytes += kept;
    s->header_bytes += kept;
    if (s->type_field) {
        learn_boundary(s, p, kept);
        s->holds_message |= find_word(p, kept, "message") != NULL;
        s->digest |= find_word(p, kept, "digest") != NULL;
    }
}

/* One line of a header block. Returns false when it is the first line of the body instead. */
static bool header_line(struct scan *s, size_t at, size_t len)
{
    const uint8_t *p = s->raw + at;
    if (*p == ' ' || *p == '\t') {
        take_line(s, at, len);
        return true;
    }
    if (s->nothing_yet && len > 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark */
        mail_view_leave_out(s->v, at, at + 3);
        at += 3;
        len -= 3;
        p += 3;
    }
    size_t name = field_name(p, CD_MIN(len, (size_t)1000));
    if (!name) {
        const char *text = (const char *)p;
        if ((len > 5 && strncmp(text, "From ", 5) == 0) || (len > 6 && strncmp(text, ">From ", 6) == 0)) {
            mail_view_leave_out(s->v, at, at + len); /* of a mailbox file */
            return true;
        }
        if (!s->keep_field || s->field_bytes >= SCAN_MAX_FIELD) {
            take_line(s, at, len); /* beyond the budget there is nothing to find out */
            return true;
        }
        if (!header_goes_on(s, at + len)) {
            mail_view_insert(s->v, at, "\n");
            return false;
        }
        if (s->block_fields == 0) {
            mail_view_leave_out(s->v, at, at + len);
            s->v->flags |= VIEW_HEADERS;
            return true;
        }
        if (!s->drop_field)
            mail_view_insert(s->v, at, " "); /* a continuation whose space was lost */
        take_line(s, at, len);
        return true;
    }
    s->nothing_yet = s->nothing_yet && (name_is(p, name, "Return-Path") || name_is(p, name, "Received"));
    s->field_bytes = 0;
    s->params = 0;
    s->params_field = name_is(p, name, "Content-Type") || name_is(p, name, "Content-Disposition");
    /* behind a field that is kept, for the library wants a header; in small mails, for large ones should not be copied for this */
    s->drop_field = s->first_block && s->block_fields > 0 && s->n <= DROP_MAX_BYTES && is_of_transport(p, name);
    if (s->drop_field) {
        s->type_field = false;
        take_line(s, at, len);
        return true;
    }
    s->keep_field = !over_budget(s, 1) || (is_needed(p, name) && !over_budget(s, 2));
    s->fields += s->keep_field;
    s->block_fields += s->keep_field;
    s->type_field = s->keep_field && name_is(p, name, "Content-Type");
    s->has_type |= s->type_field;
    take_line(s, at, len);
    return true;
}

/* Walks a header block from `at`. Returns where the next thing begins; *ret_header says whether it is a
 * header block again. */
static size_t scan_block(struct scan *s, size_t at, bool *ret_header)
{
    begin_block(s);
    *ret_header = false;
    while (at < s->n) {
        size_t len = line_length(s, at);
        const uint8_t *p = s->raw + at;
        if (is_boundary(s, p, len))
            return at;
        if (s->nothing_yet && is_white(p, len) && header_goes_on(s, at + len)) {
            mail_view_leave_out(s->v, at, at + len); /* empty lines in front of the header */
            at += len;
            continue;
        }
        if (is_blank(p, len)) {
            *ret_header = s->holds_message || (s->digest && !s->has_type && s->parts > 0);
            return at + len;
        }
        if (!header_line(s, at, len))
            return at;
        at += len;
    }
    return at;
}

/* The next line at or after `at` that begins with two dashes. */
static size_t next_dashes(const struct scan *s, size_t at)
{
    if (s->n - at >= 2 && s->raw[at] == '-' && s->raw[at + 1] == '-')
        return at;
    const uint8_t *end = s->raw + s->n, *p = s->raw + at;
    while ((p = memchr(p, '-', (size_t)(end - p))) != NULL) { /* rarer in mails than line ends */
        if (end - p >= 2 && p[1] == '-' && p > s->raw + at && p[-1] == '\n')
            return (size_t)(p - s->raw);
        p++;
    }
    return s->n;
}

/* A closing boundary ("--b--") begins no part; where a boundary itself may end in dashes, any line counts as
 * opening. */
static bool is_closing(const struct scan *s, const uint8_t *p, size_t n)
{
    if (s->any_boundary)
        return false;
    for (unsigned i = 0; i < s->nboundaries; i++) {
        const struct slice *b = &s->boundaries[i];
        if (b->n >= 2 && b->p[b->n - 1] == '-' && b->p[b->n - 2] == '-')
            return false;
        if (n - 2 >= b->n + 2 && memcmp(p + 2, b->p, b->n) == 0 && p[b->n + 2] == '-' && p[b->n + 3] == '-')
            return true;
    }
    return false;
}

/* Over the body behind the next boundary; *ret_header says whether a part begins there. */
static size_t scan_body(const struct scan *s, size_t at, bool *ret_header)
{
    *ret_header = false;
    if (!s->any_boundary && s->nboundaries == 0)
        return s->n;
    at = next_dashes(s, at);
    if (at == s->n)
        return at;
    size_t len = line_length(s, at);
    *ret_header = is_boundary(s, s->raw + at, len) && !is_closing(s, s->raw + at, len);
    return at + len;
}

void mail_scan(struct mail_view *v)
{
    struct scan s = {.v = v, .raw = v->base, .n = v->cut, .nothing_yet = true};
    bool header = true;
    s.first_block = true;
    size_t at = scan_block(&s, 0, &header);
    v->body = at;
    s.first_block = s.nothing_yet = false;
    while (at < s.n) {
        size_t from = at;
        at = header ? scan_block(&s, at, &header) : scan_body(&s, at, &header);
        if (header && ++s.parts > SCAN_MAX_PARTS) {
            mail_view_leave_out(v, from, s.n);
            v->cut = from;
            v->flags |= VIEW_PARTS;
            return;
        }
    }
}
