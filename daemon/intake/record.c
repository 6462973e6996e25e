/* Records: making and freeing, and the record of what no worker could decode. A record owns everything in it.
 * Its form as bytes is in record_wire.c. */
#include "daemon/intake/record.h"

#include "daemon/intake/handle.h"
#include "daemon/intake/headers.h"

#include <string.h>

#define MAX_HIT_WORD 256

static const char *const class_names[MC_COUNT] = {
    [MC_PERSON] = "person", [MC_AUTO_REPLY] = "auto-reply", [MC_BOUNCE] = "bounce", [MC_BULK] = "bulk",
    [MC_OWN] = "own",
};

static const char *const kind_names[AT_KIND_COUNT] = {
    [AT_FILE] = "file",           [AT_INLINE] = "inline",       [AT_MESSAGE] = "message",     [AT_CALENDAR] = "calendar",
    [AT_SIGNATURE] = "signature", [AT_ENCRYPTED] = "encrypted", [AT_CONTAINER] = "container",
};

const char *attachment_kind_name(enum attachment_kind k)
{
    return (unsigned)k < AT_KIND_COUNT ? kind_names[k] : "unknown";
}

const char *message_class_name(enum message_class c)
{
    return (unsigned)c < MC_COUNT ? class_names[c] : "unknown";
}

struct record *record_new(void)
{
    struct record *r = cd_alloc(sizeof(*r));

    r->subject = cd_strdup("");
    r->text = cd_strdup("");
    r->language = cd_strdup("und");
    return r;
}

void record_free(struct record **rp)
{
    struct record *r = *rp;

    if (!r)
        return;
    *rp = NULL;
    char *const texts[] = {
        r->degraded_reason, r->no_answer_reason, r->name,       r->email,
        r->phone,           r->subject,          r->text,       r->text_new,
        r->text_quoted,     r->language,         r->message_id, r->in_reply_to,
        r->reply_to,        r->said_channel,     r->category,   r->priority,
        r->external_id,   r->remedy_sought,    r->representative, r->charset_note,     r->security,   r->bounced_id,
        r->bounced_sender,
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        free(texts[i]);
    strlist_free(&r->references);
    for (size_t i = 0; i < r->nattachments; i++) {
        free(r->attachments[i].filename);
        free(r->attachments[i].content_type);
        free(r->attachments[i].encoding);
        free(r->attachments[i].magic_type);
        free(r->attachments[i].content_id);
        free(r->attachments[i].inner);
    }
    free(r->attachments);
    for (size_t i = 0; i < r->nbounces; i++) {
        free(r->bounces[i].recipient);
        free(r->bounces[i].status);
        free(r->bounces[i].action);
        free(r->bounces[i].diagnostic);
        free(r->bounces[i].reason);
    }
    free(r->bounces);
    for (size_t i = 0; i < r->nauths; i++)
        free(r->auths[i].server);
    free(r->auths);
    strlist_free(&r->signals);
    for (size_t i = 0; i < r->nhits; i++)
        free(r->hits[i].word);
    free(r->hits);
    free(r);
}

/* The arrays grow at every power of two. */
static void *grow(void *v, size_t n, size_t size)
{
    return (n & (n - 1)) == 0 ? cd_realloc(v, (n ? n * 2 : 1) * size) : v;
}

struct attachment *record_add_attachment(struct record *r)
{
    if (r->nattachments >= RECORD_MAX_ATTACHMENTS)
        return NULL;
    r->attachments = grow(r->attachments, r->nattachments, sizeof(*r->attachments));
    struct attachment *a = &r->attachments[r->nattachments++];
    *a = (struct attachment){.filename = cd_strdup("")};
    return a;
}

struct bounce *record_add_bounce(struct record *r)
{
    if (r->nbounces >= RECORD_MAX_BOUNCES)
        return NULL;
    r->bounces = grow(r->bounces, r->nbounces, sizeof(*r->bounces));
    struct bounce *b = &r->bounces[r->nbounces++];
    *b = (struct bounce){0};
    return b;
}

struct auth_result *record_add_auth(struct record *r)
{
    if (r->nauths >= RECORD_MAX_AUTHS)
        return NULL;
    r->auths = grow(r->auths, r->nauths, sizeof(*r->auths));
    struct auth_result *a = &r->auths[r->nauths++];
    *a = (struct auth_result){0};
    return a;
}

void record_add_signal(struct record *r, const char *name)
{
    if (r->signals.n < RECORD_MAX_SIGNALS && !strlist_has(&r->signals, name))
        strlist_add(&r->signals, name);
}

void record_add_hit(struct record *r, uint32_t pattern, uint8_t field, const char *word, size_t nword)
{
    if (r->nhits >= RECORD_MAX_HITS)
        return;
    r->hits = grow(r->hits, r->nhits, sizeof(*r->hits));
    if (nword > MAX_HIT_WORD)
        nword = utf8_cut(word, MAX_HIT_WORD);
    r->hits[r->nhits++] =
        (struct hit){.pattern = pattern, .field = field, .word = utf8_clean(word ? word : "", nword, NULL)};
}

bool record_fits(const struct record *r, const struct envelope *e)
{
    for (size_t i = 0; i < r->nattachments; i++) {
        const struct attachment *a = &r->attachments[i];

        if (a->offset > e->raw.len || a->length > e->raw.len - a->offset)
            return false;
    }
    return true;
}

/* ---- what no worker could decode ---- */

static bool header_begins(const struct envelope *e, const char *name, const char *const *values)
{
    char *s = headers_text(e->raw.data, e->raw.len, name, 200);
    bool found = false;

    for (size_t i = 0; s && values[i] && !found; i++)
        found = str_istarts(s, values[i]);
    free(s);
    return found;
}

/* RFC 3834 section 2 as far as the raw fields tell. One answer too few is better here than a loop between two
 * machines. */
static const char *no_answer_reason(const struct envelope *e)
{
    static const char *const any[] = {"", NULL};
    static const char *const automatic[] = {"auto-", NULL};
    static const char *const bulk[] = {"bulk", "list", "junk", NULL};

    if (!e->sender || !*e->sender)
        return "null-sender";
    if (header_begins(e, "Auto-Submitted", automatic))
        return "auto-submitted";
    if (header_begins(e, "Precedence", bulk))
        return "precedence";
    if (header_begins(e, "List-Id", any) || header_begins(e, "List-Unsubscribe", any))
        return "list";
    return NULL;
}

/* The ids in a References or In-Reply-To field: what stands between < and >. */
static void add_ids(struct strlist *l, const struct envelope *e, const char *name)
{
    char *s = headers_text(e->raw.data, e->raw.len, name, CD_KIB(64));

    for (char *p = s; p && (p = strchr(p, '<')) != NULL && l->n < RECORD_MAX_THREAD_IDS;) {
        size_t n = strcspn(++p, "<> ");

        if (n > 0 && n <= 255 && p[n] == '>')
            strlist_take(l, cd_strndup(p, n));
        p += n;
    }
    free(s);
}

static void degraded_mail(const struct envelope *e, struct record *r)
{
    const char *reason = no_answer_reason(e);
    struct strlist parents = {0};

    r->email = mail_address_normalize(e->sender);
    if (reason) {
        r->flags |= REC_NO_AUTO_ANSWER;
        r->no_answer_reason = cd_strdup(reason);
    }
    if (e->key && !str_eq(e->key, "none"))
        r->message_id = cd_strdup(e->key);
    add_ids(&parents, e, "In-Reply-To");
    if (parents.n > 0)
        r->in_reply_to = cd_strdup(parents.v[0]);
    strlist_free(&parents);
    add_ids(&r->references, e, "References");
    char *subject = headers_text(e->raw.data, e->raw.len, "Subject", 500);
    if (subject && !strstr(subject, "=?")) { /* an encoded word is no text */
        free(r->subject);
        r->subject = subject;
        r->nrefs = ref_find(subject, strlen(subject), r->refs, RECORD_MAX_REFS);
    } else {
        free(subject);
    }
}

struct record *record_degraded(const struct envelope *e, const char *reason)
{
    struct record *r = record_new();

    r->flags = REC_DEGRADED;
    r->degraded_reason = cd_strdup(reason);
    free(r->text);
    r->text = cd_strdup(
        "This message could not be read automatically. The original is kept in full: please open it.");
    if (e->channel == CH_MAIL)
        degraded_mail(e, r);
    else if (e->channel == CH_SMS)
        r->phone = phone_normalize(e->sender, NULL);
    return r;
}
