/* One report: its parts found in the MIME tree and given to the readers, and what they found put together. Fields of a report come first;
 * words only where there are none, or to say what the fields leave out. The record owns what is found. */
#include "channels/mail/bounce.h"

#include <string.h>

#define MAX_DEPTH 6
#define MAX_PARTS 40         /* looked at */
#define MAX_SAID CD_KIB(8)   /* of a report's own words, searched for what they mean */

struct report {
    struct decoding *d;
    char *to;     /* first recipient of the mail that came back */
    unsigned parts;
    bool returned; /* a part that is the mail that came back, or its header */
};

static bool is_type(GMimeObject *o, const char *type, const char *subtype)
{
    GMimeContentType *ct = g_mime_object_get_content_type(o);
    return ct && g_mime_content_type_is_type(ct, type, subtype);
}

static void read_returned(struct report *p, const char *s, size_t n)
{
    char *to = NULL;
    bounce_returned(p->d->r, s, n, &to);
    if (p->to)
        free(to);
    else
        p->to = to;
    p->returned = true;
}

static void read_message(struct report *p, GMimeMessage *m)
{
    char *header = m ? g_mime_object_get_headers(GMIME_OBJECT(m), NULL) : NULL;
    if (header)
        read_returned(p, header, strlen(header));
    g_free(header);
}

static void read_leaf(struct report *p, GMimeObject *o)
{
    bool fields = is_type(o, "message", "delivery-status") || is_type(o, "message", "global-delivery-status");
    bool header = is_type(o, "text", "rfc822-headers") || is_type(o, "text", "rfc822-header") || is_type(o, "message", "global-headers") ||
                  is_type(o, "message", "rfc822") || is_type(o, "message", "global");
    struct leaf l;
    uint8_t *own;
    size_t n;
    bool cut;
    if (!fields && !header)
        return;
    leaf_init(p->d, o, &l);
    const uint8_t *s = leaf_bytes(p->d, &l, BOUNCE_MAX_TEXT, &n, &own, &cut);
    if (fields)
        bounce_fields(p->d->r, (const char *)s, n);
    else
        read_returned(p, (const char *)s, n);
    free(own);
    leaf_free(&l);
}

static void read_parts(struct report *p, GMimeObject *o, int depth)
{
    if (!o || depth > MAX_DEPTH || p->parts++ >= MAX_PARTS)
        return;
    if (GMIME_IS_MULTIPART(o))
        for (int i = 0; i < CD_MIN(g_mime_multipart_get_count(GMIME_MULTIPART(o)), MAX_PARTS); i++)
            read_parts(p, g_mime_multipart_get_part(GMIME_MULTIPART(o), i), depth + 1);
    else if (GMIME_IS_MESSAGE_PART(o) && !p->returned)
        read_message(p, g_mime_message_part_get_message(GMIME_MESSAGE_PART(o)));
    else if (GMIME_IS_PART(o))
        read_leaf(p, o);
}

/* "X-Failed-Recipients: a@example.com, b@example.com" (Exim, Google) */
static void read_failed_recipients(struct record *r, const char *value)
{
    size_t n = value ? strlen(value) : 0, end;
    char *address;
    while (n && (address = bounce_address(value, n, &end)) != NULL) {
        struct bounce *b = record_add_bounce(r);
        if (b)
            b->recipient = address;
        else
            free(address);
        value += end;
        n -= end;
    }
}

/* The addresses that reports come to, which are never the ones that they speak of. */
static void find_ours(const struct decoding *d, GMimeMessage *m, struct strlist *ours)
{
    for (size_t i = 0; i < d->e->recipients.n; i++) {
        char *lower = cd_strdup(d->e->recipients.v[i]);
        str_lower(lower);
        strlist_take(ours, lower);
    }
    const char *to = decode_header(GMIME_OBJECT(m), "To");
    char *address = to ? bounce_address(to, strlen(to), NULL) : NULL;
    if (address)
        strlist_take(ours, address);
}

/* What a report says in words about the recipients of its fields, where the fields do not say why. */
static void add_words(struct record *r, struct record *words)
{
    for (size_t i = 0; i < r->nbounces; i++)
        for (size_t k = 0; k < words->nbounces && !r->bounces[i].diagnostic; k++)
            if (str_eq(r->bounces[i].recipient, words->bounces[k].recipient) || (r->nbounces == 1 && words->nbounces == 1)) {
                r->bounces[i].diagnostic = words->bounces[k].diagnostic;
                words->bounces[k].diagnostic = NULL;
            }
}

static void take_words(struct record *r, struct record *words)
{
    for (size_t i = 0; i < words->nbounces; i++) {
        struct bounce *b = record_add_bounce(r);
        if (!b)
            return;
        *b = words->bounces[i];
        words->bounces[i] = (struct bounce){0};
    }
}

bool bounce_read(struct decoding *d, GMimeMessage *m)
{
    struct record *r = d->r, *words = record_new();
    struct report p = {.d = d};
    struct strlist ours = {0};
    size_t n = strlen(r->text), copy = 0;
    read_parts(&p, g_mime_message_get_mime_part(m), 0);
    const char *inside = strstr(r->text, "Final-Recipient:"); /* a report whose parts fell apart */
    if (!r->nbounces && inside)
        bounce_fields(r, inside, n - (size_t)(inside - r->text));
    bool known = r->nbounces > 0;
    find_ours(d, m, &ours);
    bounce_text(words, r->text, n, &ours, &copy);
    bounce_returned(r, r->text + copy, n - copy, p.to ? NULL : &p.to);
    if (!r->bounced_id) /* named among the words */
        bounce_returned(r, r->text, copy, NULL);
    char *said = cd_strndup(r->text, CD_MIN(copy, (size_t)MAX_SAID));
    known |= words->nbounces > 0 && (bounce_find_reason(said) || bounce_find_reply(said));
    if (r->nbounces)
        add_words(r, words);
    else
        take_words(r, words);
    if (!r->nbounces) {
        const char *failed = decode_header(GMIME_OBJECT(m), "X-Failed-Recipients");
        read_failed_recipients(r, failed);
        known |= r->nbounces > 0;
    }
    struct bounce *b;
    if (!r->nbounces && p.to && !strlist_has(&ours, p.to) && (b = record_add_bounce(r))) {
        b->recipient = p.to;
        p.to = NULL;
    }
    CD_CLEANUP_FREE char *all = cd_asprintf("%s\n%s", r->subject, said);
    if (!r->nbounces && bounce_is_delay(all)) /* of nobody by name: what nothing is known of counts as final otherwise */
        (void)record_add_bounce(r);
    for (size_t i = 0; i < r->nbounces; i++)
        bounce_finish(&r->bounces[i], all);
    free(said);
    free(p.to);
    strlist_free(&ours);
    record_free(&words);
    return known;
}

void bounce_forget(struct record *r)
{
    for (size_t i = 0; i < r->nbounces; i++) {
        struct bounce *b = &r->bounces[i];
        free(b->recipient);
        free(b->status);
        free(b->action);
        free(b->diagnostic);
        free(b->reason);
    }
    free(r->bounces);
    free(r->bounced_id);
    free(r->bounced_sender);
    r->bounces = NULL;
    r->nbounces = 0;
    r->bounced_id = r->bounced_sender = NULL;
}
