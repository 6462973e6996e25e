/* Records as bytes. The writer runs in a worker, the reader in the front, which believes nothing: a fault
 * anywhere gives CD_EINVAL and no record. Texts of one line come out without control characters, ids that
 * hold any are dropped, addresses must already have their normal form. What depends on more than the record
 * is left to the caller: attachments' places against the raw message (record_fits), a hit's pattern and field
 * against the compiled set. */
#include "daemon/intake/record.h"

#include "daemon/core/err.h"
#include "daemon/intake/handle.h"

#include <string.h>

#define RECORD_VERSION 2
#define RECORD_FLAGS (REC_DEGRADED | REC_NO_AUTO_ANSWER | REC_HTML_ONLY | REC_TRUNCATED_MATCH)
#define MAX_SHORT 256
#define MAX_LINE CD_KIB(16)
#define MAX_SENT_US INT64_C(253402300799000000) /* the end of the year 9999 */

static void write_attachment(struct buf *out, const struct attachment *a)
{
    wire_str(out, a->filename);
    wire_str(out, a->content_type);
    wire_str(out, a->encoding);
    wire_u64(out, a->offset);
    wire_u64(out, a->length);
    wire_u64(out, a->size_bytes);
    wire_bytes(out, a->sha256, sizeof(a->sha256));
    wire_u8(out, a->is_inline);
    wire_u8(out, (uint8_t)a->kind);
    wire_str(out, a->magic_type);
    wire_str(out, a->content_id);
    wire_str(out, a->inner);
}

static void write_bounce(struct buf *out, const struct bounce *b)
{
    wire_str(out, b->recipient);
    wire_str(out, b->status);
    wire_str(out, b->action);
    wire_str(out, b->diagnostic);
    wire_str(out, b->reason);
}

static void write_auth(struct buf *out, const struct auth_result *a)
{
    wire_str(out, a->server);
    wire_u8(out, (uint8_t)a->spf);
    wire_u8(out, (uint8_t)a->dkim);
    wire_u8(out, (uint8_t)a->dmarc);
    wire_u8(out, (uint8_t)a->arc);
}

/* What was found out about a mail beside its texts. */
static void write_mail_facts(const struct record *r, struct buf *out)
{
    wire_str(out, r->charset_note);
    wire_str(out, r->security);
    wire_u32(out, (uint32_t)r->signals.n);
    for (size_t i = 0; i < r->signals.n; i++)
        wire_str(out, r->signals.v[i]);
    wire_u32(out, r->hops);
    wire_u32(out, (uint32_t)r->nbounces);
    for (size_t i = 0; i < r->nbounces; i++)
        write_bounce(out, &r->bounces[i]);
    wire_str(out, r->bounced_id);
    wire_str(out, r->bounced_sender);
    wire_u32(out, (uint32_t)r->nauths);
    for (size_t i = 0; i < r->nauths; i++)
        write_auth(out, &r->auths[i]);
}

void record_write(const struct record *r, struct buf *out)
{
    wire_u8(out, RECORD_VERSION);
    wire_u32(out, r->flags);
    wire_u8(out, (uint8_t)r->cls);
    wire_str(out, r->degraded_reason);
    wire_str(out, r->no_answer_reason);
    wire_str(out, r->name);
    wire_str(out, r->email);
    wire_str(out, r->phone);
    wire_str(out, r->reply_to);
    wire_str(out, r->subject);
    wire_str(out, r->text);
    wire_str(out, r->text_new);
    wire_str(out, r->text_quoted);
    wire_str(out, r->language);
    wire_str(out, r->message_id);
    wire_str(out, r->in_reply_to);
    wire_u32(out, (uint32_t)r->references.n);
    for (size_t i = 0; i < r->references.n; i++)
        wire_str(out, r->references.v[i]);
    wire_u64(out, (uint64_t)r->sent_at_us);
    wire_u32(out, (uint32_t)r->nrefs);
    for (size_t i = 0; i < r->nrefs; i++)
        wire_str(out, r->refs[i]);
    wire_u32(out, (uint32_t)r->nattachments);
    for (size_t i = 0; i < r->nattachments; i++)
        write_attachment(out, &r->attachments[i]);
    wire_u32(out, (uint32_t)r->nhits);
    for (size_t i = 0; i < r->nhits; i++) {
        wire_u32(out, r->hits[i].pattern);
        wire_u8(out, r->hits[i].field);
        wire_str(out, r->hits[i].word);
    }
    wire_str(out, r->said_channel);
    wire_str(out, r->category);
    wire_str(out, r->priority);
    wire_str(out, r->external_id);
    wire_str(out, r->remedy_sought);
    wire_str(out, r->representative);
    write_mail_facts(r, out);
}

/* ---- reading ---- */

static bool is_control(char c)
{
    return (unsigned char)c < ' ' || c == 0x7f;
}

/* A text of one line, later a header value or a log field. */
static void read_line(struct wire_reader *r, size_t max, char **ret)
{
    *ret = wire_read_str(r, max, true);
    for (char *p = *ret; p && *p; p++)
        if (is_control(*p))
            *p = ' ';
}

/* A text that must be there. */
static void read_needed(struct wire_reader *r, size_t max, char **ret)
{
    char *s = wire_read_str(r, max, true);

    if (!s) {
        r->failed = true;
        return;
    }
    free(*ret);
    *ret = s;
}

/* A Message-ID. Spaces occur in real ones and do no harm in a hash; control characters would in a header. */
static char *read_id(struct wire_reader *r)
{
    char *s = wire_read_str(r, MAX_LINE, true);

    for (const char *p = s; p && *p; p++) {
        if (is_control(*p)) {
            free(s);
            return NULL;
        }
    }
    return s;
}

static void read_address(struct wire_reader *r, char **ret)
{
    *ret = wire_read_str(r, RECORD_MAX_ADDR, true);
    if (*ret && !mail_address_valid(*ret, strlen(*ret), true))
        r->failed = true;
}

static void read_phone(struct wire_reader *r, char **ret)
{
    *ret = wire_read_str(r, MAX_SHORT, true);
    if (!*ret)
        return;
    char *normal = phone_normalize(*ret, NULL);
    if (!str_eq(normal, *ret))
        r->failed = true;
    free(normal);
}

static void read_ids(struct wire_reader *r, struct strlist *ret)
{
    uint32_t n = wire_read_count(r, RECORD_MAX_THREAD_IDS);

    for (uint32_t i = 0; i < n && !r->failed; i++) {
        char *s = read_id(r);

        if (s)
            strlist_take(ret, s);
    }
}

static void read_refs(struct wire_reader *r, struct record *rec)
{
    uint32_t n = wire_read_count(r, RECORD_MAX_REFS);

    for (uint32_t i = 0; i < n && !r->failed; i++) {
        char *s = wire_read_str(r, REF_TEXT_SIZE - 1, true);
        char ref[REF_TEXT_SIZE];

        if (s && ref_parse(s, strlen(s), ref) == 0 && str_eq(s, ref))
            memcpy(rec->refs[rec->nrefs++], ref, sizeof(ref));
        else
            r->failed = true;
        free(s);
    }
}

static void read_attachment(struct wire_reader *r, struct record *rec)
{
    struct attachment *a = record_add_attachment(rec);
    size_t n;

    read_needed(r, MAX_LINE, &a->filename);
    for (char *p = a->filename; *p; p++)
        if (is_control(*p) || *p == '/' || *p == '\\')
            *p = '_';
    read_line(r, MAX_SHORT, &a->content_type);
    read_line(r, MAX_SHORT, &a->encoding);
    a->offset = wire_read_u64(r);
    a->length = wire_read_u64(r);
    a->size_bytes = wire_read_u64(r);
    const uint8_t *sha = wire_read_bytes(r, &n);
    if (!sha || n != sizeof(a->sha256)) {
        r->failed = true;
        return;
    }
    memcpy(a->sha256, sha, n);
    a->is_inline = wire_read_u8(r) != 0;
    uint8_t kind = wire_read_u8(r);
    if (kind >= AT_KIND_COUNT)
        r->failed = true;
    else
        a->kind = (enum attachment_kind)kind;
    read_line(r, MAX_SHORT, &a->magic_type);
    a->content_id = read_id(r);
    read_line(r, MAX_SHORT, &a->inner);
    /* Signed 64-bit columns of the database, and no sum that overflows. */
    if (a->offset > INT64_MAX || a->length > INT64_MAX - a->offset || a->size_bytes > INT64_MAX)
        r->failed = true;
}

static void read_hits(struct wire_reader *r, struct record *rec)
{
    uint32_t n = wire_read_count(r, RECORD_MAX_HITS);

    for (uint32_t i = 0; i < n && !r->failed; i++) {
        uint32_t pattern = wire_read_u32(r);
        uint8_t field = wire_read_u8(r);
        char *word = NULL;

        read_line(r, MAX_LINE, &word);
        if (!r->failed)
            record_add_hit(rec, pattern, field, word ? word : "", word ? strlen(word) : 0);
        free(word);
    }
}

/* The report of a bounce has addresses of any make: what is none of ours is no address here, and no fault. */
static char *read_any_address(struct wire_reader *r)
{
    char *s = wire_read_str(r, RECORD_MAX_ADDR, true);

    if (s && !mail_address_valid(s, strlen(s), true)) {
        free(s);
        return NULL;
    }
    return s;
}

static void read_bounces(struct wire_reader *r, struct record *rec)
{
    uint32_t n = wire_read_count(r, RECORD_MAX_BOUNCES);

    for (uint32_t i = 0; i < n && !r->failed; i++) {
        struct bounce *b = record_add_bounce(rec);

        b->recipient = read_any_address(r);
        read_line(r, MAX_SHORT, &b->status);
        read_line(r, MAX_SHORT, &b->action);
        read_line(r, MAX_LINE, &b->diagnostic);
        read_line(r, MAX_SHORT, &b->reason);
    }
}

static enum auth_verdict read_verdict(struct wire_reader *r)
{
    uint8_t v = wire_read_u8(r);

    if (v > AUTH_OTHER)
        r->failed = true;
    return (enum auth_verdict)(v > AUTH_OTHER ? AUTH_NONE : v);
}

static void read_auths(struct wire_reader *r, struct record *rec)
{
    uint32_t n = wire_read_count(r, RECORD_MAX_AUTHS);

    for (uint32_t i = 0; i < n && !r->failed; i++) {
        struct auth_result *a = record_add_auth(rec);

        read_line(r, MAX_SHORT, &a->server);
        a->spf = read_verdict(r);
        a->dkim = read_verdict(r);
        a->dmarc = read_verdict(r);
        a->arc = read_verdict(r);
    }
}

static void read_mail_facts(struct wire_reader *r, struct record *rec)
{
    read_line(r, MAX_SHORT, &rec->charset_note);
    read_line(r, MAX_SHORT, &rec->security);
    uint32_t n = wire_read_count(r, RECORD_MAX_SIGNALS);
    for (uint32_t i = 0; i < n && !r->failed; i++) {
        char *s = NULL;

        read_line(r, MAX_SHORT, &s);
        if (s)
            record_add_signal(rec, s);
        free(s);
    }
    rec->hops = wire_read_u32(r);
    read_bounces(r, rec);
    rec->bounced_id = read_id(r);
    rec->bounced_sender = read_any_address(r);
    read_auths(r, rec);
}

static void read_texts(struct wire_reader *r, struct record *rec)
{
    read_line(r, MAX_SHORT, &rec->degraded_reason);
    read_line(r, MAX_SHORT, &rec->no_answer_reason);
    read_line(r, MAX_LINE, &rec->name);
    read_address(r, &rec->email);
    read_phone(r, &rec->phone);
    read_address(r, &rec->reply_to);
    read_needed(r, RECORD_MAX_TEXT, &rec->subject);
    for (char *p = rec->subject; *p; p++)
        if (is_control(*p))
            *p = ' ';
    read_needed(r, RECORD_MAX_TEXT, &rec->text);
    rec->text_new = wire_read_str(r, RECORD_MAX_TEXT, true);
    rec->text_quoted = wire_read_str(r, RECORD_MAX_TEXT, true);
    read_needed(r, MAX_SHORT, &rec->language);
    for (const char *p = rec->language; *p; p++)
        if (is_control(*p) || *p == ' ')
            r->failed = true;
}

static void read_record(struct wire_reader *r, struct record *rec)
{
    if (wire_read_u8(r) != RECORD_VERSION) {
        r->failed = true;
        return;
    }
    rec->flags = wire_read_u32(r);
    uint8_t cls = wire_read_u8(r);
    if ((rec->flags & ~(uint32_t)RECORD_FLAGS) || cls >= MC_COUNT)
        r->failed = true;
    else
        rec->cls = (enum message_class)cls;
    read_texts(r, rec);
    rec->message_id = read_id(r);
    rec->in_reply_to = read_id(r);
    read_ids(r, &rec->references);
    rec->sent_at_us = (int64_t)wire_read_u64(r);
    if (rec->sent_at_us < 0 || rec->sent_at_us > MAX_SENT_US)
        rec->sent_at_us = 0; /* the sender's own nonsense, not the worker's */
    read_refs(r, rec);
    uint32_t n = wire_read_count(r, RECORD_MAX_ATTACHMENTS);
    for (uint32_t i = 0; i < n && !r->failed; i++)
        read_attachment(r, rec);
    read_hits(r, rec);
    read_line(r, MAX_SHORT, &rec->said_channel);
    read_line(r, MAX_SHORT, &rec->category);
    read_line(r, MAX_SHORT, &rec->priority);
    read_line(r, MAX_LINE, &rec->external_id); /* 200 characters of a client, in any script */
    rec->remedy_sought = wire_read_str(r, MAX_LINE, true);
    read_line(r, MAX_LINE, &rec->representative);
    read_mail_facts(r, rec);
    if (r->p != r->end)
        r->failed = true;
}

int record_read(const void *p, size_t n, struct record **ret)
{
    struct wire_reader r;
    struct record *rec = record_new();

    wire_reader_init(&r, p, n);
    read_record(&r, rec);
    if (r.failed) {
        record_free(&rec);
        return CD_EINVAL;
    }
    *ret = rec;
    return 0;
}
