/* Reports in words. Mail systems have written them in hundreds of ways, but nearly all keep to this: a line that begins with the address
 * that failed, or names it behind one of a few words, what the other system said behind or below it, and then the mail that comes back,
 * behind a line of dashes or with its own header. Texts are UTF-8 and borrowed; what is found belongs to the record. */
#include <string.h>
#include <strings.h>

#include "channels/mail/bounce.h"
#include "daemon/intake/handle.h"

#define MAX_LINES 2000
#define MAX_WORDS 2000 /* looked at, about one recipient */

/* ---- addresses ---- */

static bool in_local(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (c && strchr(".!#$%&'*+-/=?^_`{|}~", c));
}

static bool in_domain(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '.' || c == '-' || c == '_';
}

static char *normal(const char *s, size_t n)
{
    if (n == 0 || n > RECORD_MAX_ADDR)
        return NULL;
    char *copy = cd_strndup(s, n), *address = mail_address_normalize(copy);
    free(copy);
    return address;
}

/* "<@relay:ann@example.com>" at s[at], which is '@': what stands between the brackets. */
static char *in_brackets(const char *s, size_t n, size_t at, size_t *ret_end)
{
    size_t a = at, z = at;
    while (a > 0 && s[a - 1] != '<' && s[a - 1] != '>' && s[a - 1] != ' ' && s[a - 1] != '\n')
        a--;
    while (z < n && s[z] != '>' && s[z] != '<' && s[z] != ' ' && s[z] != '\n')
        z++;
    if (a == 0 || s[a - 1] != '<' || z == n || s[z] != '>')
        return NULL;
    *ret_end = z + 1;
    if (s[a] == '@') { /* a route (RFC 5321, appendix C) */
        const char *colon = memchr(s + a, ':', z - a);
        a = colon ? (size_t)(colon - s) + 1 : a;
    }
    if (z - a > 7 && strncasecmp(s + a, "mailto:", 7) == 0)
        a += 7;
    return normal(s + a, z - a);
}

char *bounce_address(const char *s, size_t n, size_t *ret_end)
{
    size_t end = 0;
    for (const char *p = s; (p = memchr(p, '@', n - (size_t)(p - s))) != NULL; p++) {
        size_t at = (size_t)(p - s), a = at, z = at + 1;
        char *address = in_brackets(s, n, at, &end);
        if (!address) {
            while (a > 0 && in_local(s[a - 1]))
                a--;
            while (a < at && (s[a] == '\'' || s[a] == '`' || s[a] == '*'))
                a++;
            while (z < n && in_domain(s[z]))
                z++;
            while (z > at + 1 && (s[z - 1] == '.' || s[z - 1] == '-' || s[z - 1] == '_'))
                z--;
            address = a < at ? normal(s + a, z - a) : NULL;
            end = z;
        }
        if (address) {
            if (ret_end)
                *ret_end = end;
            return address;
        }
        if (at + 1 >= n)
            break;
    }
    return NULL;
}

/* ---- lines ---- */

struct line {
    const char *s; /* without white space at both ends */
    size_t n;
};

static bool next_line(const char **p, const char *end, struct line *l)
{
    if (*p >= end)
        return false;
    const char *nl = memchr(*p, '\n', (size_t)(end - *p)), *stop = nl ? nl : end;
    l->s = *p;
    while (l->s < stop && (*l->s == ' ' || *l->s == '\t'))
        l->s++;
    l->n = (size_t)(stop - l->s);
    while (l->n && (l->s[l->n - 1] == ' ' || l->s[l->n - 1] == '\r' || l->s[l->n - 1] == '\t'))
        l->n--;
    *p = nl ? nl + 1 : end;
    return true;
}

static bool starts(const struct line *l, const char *word)
{
    size_t n = strlen(word);
    return l->n >= n && strncasecmp(l->s, word, n) == 0;
}

static bool is_letter(char c)
{
    return (c | 32) >= 'a' && (c | 32) <= 'z';
}

/* The word, of n bytes, stands at l->s[i], and not within another: "user" is none in "userunknown@". */
static bool stands_at(const struct line *l, size_t i, const char *word, size_t n)
{
    if ((l->s[i] != *word && (l->s[i] | 32) != *word) || strncasecmp(l->s + i, word, n) != 0)
        return false;
    bool begins = i == 0 || !is_letter(l->s[i - 1]) || !is_letter(*word);
    return begins && (i + n == l->n || !is_letter(l->s[i + n]) || !is_letter(word[n - 1]));
}

/* Where one of the words ends in the line, 0: nowhere. */
static size_t behind_any(const struct line *l, const char *const *words, size_t nwords)
{
    for (size_t w = 0; w < nwords; w++) {
        size_t n = strlen(words[w]);
        for (size_t i = 0; i + n <= l->n; i++)
            if (stands_at(l, i, words[w], n))
                return i + n;
    }
    return 0;
}

/* From here on it is the mail that comes back. */
static bool begins_copy(const struct line *l)
{
    static const char *const marks[] = {"original message", "copy of the message", "copy of your message", "returned message", "unsent message",
                                        "forwarded message", "bounced e-mail", "bounced email", "header of the message", "message header",
                                        "headers of the message", "message follows", "\xe5\x8e\x9f\xe9\x82\xae\xe4\xbb\xb6",
                                        "\xe5\x8e\x9f\xe5\xa7\x8b\xe9\x82\xae\xe4\xbb\xb6", "\xe5\x85\x83\xe3\x81\xae\xe3\x83\xa1\xe3\x83\x83\xe3\x82\xbb\xe3\x83\xbc\xe3\x82\xb8"};
    if (starts(l, "Received: ") || starts(l, "Received:from") || starts(l, "Return-Path:"))
        return true;
    bool ruled = starts(l, "--") || starts(l, "==") || starts(l, "**") || (l->n && l->s[l->n - 1] == ':');
    return ruled && l->n < 100 && behind_any(l, marks, ARRAY_LEN(marks));
}

/* Addresses of others, on lines that speak of the sender. */
static bool speaks_of_sender(const struct line *l)
{
    static const char *const words[] = {"mail from", "from:", "expanded from", "message from", "reply-to", "sender", "message-id", "contact", "assistance"};
    return starts(l, "from ") || starts(l, "to:") || starts(l, "cc:") || behind_any(l, words, ARRAY_LEN(words));
}

/* "<ann@example.com>: host …", "ann@example.com", ">>> ann@example.com" */
static char *leading_address(const struct line *l, size_t *ret_end)
{
    size_t skip = 0;
    while (skip < l->n && strchr("<>\"'*-= ", l->s[skip]))
        skip++;
    const char *at = memchr(l->s, '@', l->n);
    for (const char *p = l->s + skip; at && p < at; p++)
        if (!in_local(*p) && (uint8_t)*p < 0x80)
            return NULL;
    if (!at || at == l->s + skip)
        return NULL;
    size_t from = skip && l->s[skip - 1] == '<' ? skip - 1 : skip;
    char *address = bounce_address(l->s + from, l->n - from, ret_end);
    *ret_end += from;
    if (address && *ret_end < l->n && !strchr(" >:,;<([\"'\t=", l->s[*ret_end])) {
        free(address);
        return NULL;
    }
    return address;
}

static char *named_address(const struct line *l, size_t *ret_end)
{
    static const char *const words[] = {"rcpt to", "recipient", "recipients", "delivered to", "deliver to", "delivery to", "message to", "mail to",
                                        "mail address", "user", "could not send to", "following address", "following addresses", "mailto:",
                                        "\xe6\x94\xb6\xe4\xbb\xb6\xe4\xba\xba", "\xe6\x94\xb6\xe4\xbb\xb6\xe5\x9c\xb0\xe5\x9d\x80",
                                        "\xe5\xae\x9b\xe5\x85\x88", "\xd0\xbf\xd0\xbe\xd0\xbb\xd1\x83\xd1\x87\xd0\xb0\xd1\x82\xd0\xb5\xd0\xbb"};
    size_t at = behind_any(l, words, ARRAY_LEN(words));
    if (!at || at >= l->n)
        return NULL;
    char *address = bounce_address(l->s + at, l->n - at, ret_end);
    *ret_end += at;
    return address;
}

/* ---- the whole ---- */

struct reading {
    struct record *r;
    struct bounce *b;     /* the recipient that the lines speak of */
    struct buf words;     /* about it */
};

static void put(struct buf *b, const char *s, size_t n)
{
    size_t room = MAX_WORDS - CD_MIN(b->len, (size_t)MAX_WORDS);
    while (n && strchr(":>)]\", ", *s))
        s++, n--;
    if (!n || room < 2)
        return;
    if (b->len) {
        buf_append_char(b, ' ');
        room--;
    }
    buf_append(b, s, n > room ? utf8_cut(s, room) : n);
}

static void end_recipient(struct reading *g)
{
    if (g->b && !g->b->diagnostic && g->words.len) {
        char code[BOUNCE_STATUS_SIZE], *said = utf8_clean(buf_str(&g->words), g->words.len, NULL);
        const char *from = said;
        decode_squeeze(said);
        if (strlen(said) > BOUNCE_MAX_DIAGNOSTIC) { /* then what stands around the code says most */
            const char *at = bounce_find_status(said, code) ? strstr(said, code) : NULL;
            if (at && at - said > BOUNCE_MAX_DIAGNOSTIC / 2)
                from = at - CD_MIN((size_t)(at - said), (size_t)40);
            while ((*from & 0xc0) == 0x80)
                from++;
        }
        g->b->diagnostic = cd_strndup(from, utf8_cut(from, CD_MIN(strlen(from), (size_t)BOUNCE_MAX_DIAGNOSTIC)));
        free(said);
    }
    buf_reset(&g->words);
}

/* Takes the address; one that was named before goes on with what is said about it. */
static void begin_recipient(struct reading *g, char *address)
{
    struct bounce *known = NULL;
    for (size_t i = 0; i < g->r->nbounces && !known; i++)
        if (str_eq(g->r->bounces[i].recipient, address))
            known = &g->r->bounces[i];
    if (known && known == g->b) {
        free(address);
        return;
    }
    size_t at = g->r->nbounces; /* the array may move */
    end_recipient(g);
    g->b = known ? known : record_add_bounce(g->r);
    if (g->b && !known)
        g->b->recipient = address;
    else
        free(address);
    cd_assert(!g->b || known || g->b == &g->r->bounces[at]);
}

void bounce_text(struct record *r, const char *s, size_t n, const struct strlist *ours, size_t *ret_copy)
{
    const char *p = s, *end = s + CD_MIN(n, (size_t)BOUNCE_MAX_TEXT);
    struct reading g = {.r = r};
    struct line l;
    buf_init(&g.words, MAX_WORDS + 8);
    *ret_copy = n;
    for (size_t i = 0; i < MAX_LINES && next_line(&p, end, &l); i++) {
        size_t behind = 0;
        if (begins_copy(&l)) {
            bool header = starts(&l, "Re");
            *ret_copy = (size_t)((header ? l.s : p) - s);
            break;
        }
        char *address = leading_address(&l, &behind);
        if (!address && !speaks_of_sender(&l))
            address = named_address(&l, &behind);
        if (address && strlist_has(ours, address)) {
            free(address);
            address = NULL;
        }
        if (address) {
            begin_recipient(&g, address);
            put(&g.words, l.s + behind, l.n - behind);
        } else if (g.b) {
            put(&g.words, l.s, l.n);
        }
    }
    end_recipient(&g);
    buf_free(&g.words);
}

/* ---- the mail that comes back ---- */

static char *id_of(const char *s, size_t n)
{
    const char *a = memchr(s, '<', n), *z = a ? memchr(a, '>', n - (size_t)(a - s)) : NULL;
    while (!z && n && (*s == ' ' || *s == '\t' || *s == '\r' || *s == '\n'))
        s++, n--;
    const char *from = z ? a + 1 : s;
    size_t len = z ? (size_t)(z - from) : 0;
    while (!z && len < n && !strchr(" \t\r\n<>", from[len]))
        len++;
    if (len == 0 || len > DECODE_MAX_ID)
        return NULL;
    for (size_t i = 0; i < len; i++)
        if (from[i] <= ' ' || from[i] >= 0x7f)
            return NULL;
    return cd_strndup(from, len);
}

/* The value of a field in a header that may be indented, as in "  Message-id: <…>", with its first continuation. */
static bool value_of(const struct line *l, const char *end, const char *name, const char **ret, size_t *ret_n)
{
    size_t n = strlen(name);
    if (!starts(l, name) || l->n <= n || l->s[n] != ':')
        return false;
    const char *v = l->s + n + 1, *stop = l->s + l->n;
    if (stop - v < 3) { /* the whole value stands on the next line */
        const char *next = stop;
        while (next < end && (*next == '\r' || *next == '\n' || *next == ' ' || *next == '\t'))
            next++;
        while (next < end && *next != '\n')
            next++;
        stop = next;
    }
    *ret = v;
    *ret_n = (size_t)(stop - v);
    return true;
}

void bounce_returned(struct record *r, const char *s, size_t n, char **ret_to)
{
    const char *p = s, *end = s + CD_MIN(n, (size_t)BOUNCE_MAX_TEXT), *v;
    char *from = NULL, *to = NULL;
    struct line l;
    size_t nv;
    for (size_t i = 0; i < MAX_LINES && next_line(&p, end, &l); i++) {
        if (!r->bounced_id && value_of(&l, end, "Message-ID", &v, &nv))
            r->bounced_id = id_of(v, nv);
        else if (!r->bounced_sender && value_of(&l, end, "Return-Path", &v, &nv))
            r->bounced_sender = bounce_address(v, nv, NULL);
        else if (!from && value_of(&l, end, "From", &v, &nv))
            from = bounce_address(v, nv, NULL);
        else if (!to && value_of(&l, end, "To", &v, &nv))
            to = bounce_address(v, nv, NULL);
    }
    if (!r->bounced_sender) {
        r->bounced_sender = from;
        from = NULL;
    }
    free(from);
    if (ret_to)
        *ret_to = to;
    else
        free(to);
}
