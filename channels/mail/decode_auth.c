/* Authentication-Results fields (RFC 8601), as they are said: whether their author is believed is for the front to know (daemon/scan). Only
 * those are read that our own server or the one before it can have written: above the second Received field beneath ours stands what they
 * put there, below it anybody's. Read from the raw header, which the view of small mails leaves them out of. A field that is not well
 * formed is left out as a whole: half of what it says might be the better half. Nothing is allocated but what goes into the record. */
#include <string.h>
#include <strings.h>

#include "channels/mail/decode_impl.h"
#include "daemon/intake/headers.h"

#define MAX_FIELD CD_KIB(8)
#define MAX_SERVER 255
#define MAX_RESULTS 64 /* of one field */
#define MAX_COMMENTS 16 /* one within the other */
#define OUR_HOPS 2 /* our own Received field, and the one of the server in front */

struct text {
    const char *p, *end;
};

/* White space and comments; false for a comment that does not end. */
static bool skip_cfws(struct text *t)
{
    unsigned depth = 0;
    for (; t->p < t->end; t->p++) {
        char c = *t->p;
        if (c == '(' && ++depth > MAX_COMMENTS)
            return false;
        if (depth && c == '\\') {
            if (++t->p == t->end)
                return false;
        } else if (depth && c == ')') {
            depth--;
        } else if (!depth && c != ' ' && c != '\t') {
            return true;
        }
    }
    return depth == 0;
}

static bool is_token_char(char c)
{
    return (unsigned char)c > ' ' && (unsigned char)c < 0x7f && !strchr("()<>,;:\\\"/[]?=", c);
}

/* A token or a quoted string, without its quotes, into `out`; false when there is none, or it does not fit. */
static bool take_value(struct text *t, char *out, size_t size)
{
    size_t n = 0;
    bool quoted = t->p < t->end && *t->p == '"';
    t->p += quoted;
    for (; t->p < t->end; t->p++) {
        char c = *t->p;
        if (quoted ? c == '"' : !is_token_char(c))
            break;
        if (quoted && c == '\\' && ++t->p < t->end)
            c = *t->p;
        if (n + 1 >= size || t->p == t->end || (unsigned char)c < ' ' || c == 0x7f)
            return false;
        out[n++] = c;
    }
    out[n] = '\0';
    if (quoted)
        return t->p < t->end && t->p++ && n > 0;
    return n > 0;
}

static bool take_char(struct text *t, char c)
{
    bool found = t->p < t->end && *t->p == c;
    t->p += found;
    return found;
}

/* Reason and properties up to the next result: nothing of them is kept, but quotes and comments may hold a semicolon. */
static bool skip_properties(struct text *t)
{
    while (t->p < t->end && *t->p != ';') {
        if (*t->p == '(') {
            if (!skip_cfws(t))
                return false;
        } else if (*t->p == '"') {
            for (t->p++; t->p < t->end && *t->p != '"'; t->p++)
                t->p += *t->p == '\\' && t->p + 1 < t->end;
            if (!take_char(t, '"'))
                return false;
        } else {
            t->p++;
        }
    }
    return true;
}

static enum auth_verdict verdict_of(const char *s)
{
    return str_ieq(s, "pass") ? AUTH_PASS : str_ieq(s, "none") ? AUTH_NONE : str_ieq(s, "fail") || str_ieq(s, "hardfail") ? AUTH_FAIL : AUTH_OTHER;
}

/* Several results of a method: of DKIM, which has one for each signature, one that is good will do; else a failure counts, then the first. */
static void take_result(struct auth_result *a, unsigned seen[4], const char *method, enum auth_verdict v)
{
    static const char *const methods[] = {"spf", "dkim", "dmarc", "arc"};
    enum auth_verdict *const place[] = {&a->spf, &a->dkim, &a->dmarc, &a->arc};
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if (!str_ieq(methods[i], method))
            continue;
        enum auth_verdict stronger = i == 1 ? AUTH_PASS : AUTH_FAIL;
        if (!seen[i]++ || (v == stronger && *place[i] != stronger))
            *place[i] = v;
    }
}

/* "; method[/version] = result …" until the end. */
static bool take_results(struct text *t, struct auth_result *a)
{
    char method[32], result[32], version[8];
    unsigned seen[4] = {0};
    for (unsigned i = 0; i < MAX_RESULTS; i++) {
        if (!skip_cfws(t))
            return false;
        if (t->p == t->end)
            return true;
        if (!take_char(t, ';') || !skip_cfws(t))
            return false;
        if (t->p == t->end) /* a last semicolon, which some write */
            return true;
        if (!take_value(t, method, sizeof method) || !skip_cfws(t))
            return false;
        if (t->p == t->end && str_ieq(method, "none") && i == 0)
            return true;
        if (take_char(t, '/') && (!skip_cfws(t) || !take_value(t, version, sizeof version) || !skip_cfws(t)))
            return false;
        if (!take_char(t, '=') || !skip_cfws(t) || !take_value(t, result, sizeof result) || !skip_properties(t))
            return false;
        take_result(a, seen, method, verdict_of(result));
    }
    return false;
}

static void take_field(struct record *r, const char *s, size_t n)
{
    struct text t = {s, s + n};
    struct auth_result a = {0};
    char server[MAX_SERVER + 1], version[8];
    if (memchr(s, '\0', n) || !utf8_valid(s, n) || !skip_cfws(&t) || !take_value(&t, server, sizeof server) || !skip_cfws(&t))
        return;
    if (t.p < t.end && *t.p != ';' && (!take_value(&t, version, sizeof version) || strcmp(version, "1") != 0))
        return;
    if (!take_results(&t, &a))
        return;
    struct auth_result *place = record_add_auth(r);
    if (!place)
        return;
    *place = a;
    place->server = cd_strdup(server);
}

/* Whether a line of the header begins with the name. Most mails have none, and need no look at each of their fields: a third of the time. */
static bool is_there(const char *p, size_t n)
{
    static const char name[] = "authentication-results";
    for (const char *end = p + n; p;) {
        size_t left = (size_t)(end - p);
        if (left >= sizeof name && (*p | 0x20) == 'a' && strncasecmp(p, name, sizeof name - 1) == 0)
            return true;
        if (left == 0 || *p == '\n' || (*p == '\r' && left > 1 && p[1] == '\n'))
            return false;
        p = memchr(p, '\n', left);
        p = p ? p + 1 : NULL;
    }
    return false;
}

void decode_auth(struct record *r, const void *raw, size_t n)
{
    struct headers_scan s;
    struct headers_field f;
    struct buf value;
    unsigned hops = 0;
    if (!n || !is_there(raw, n))
        return;
    buf_init(&value, MAX_FIELD);
    headers_scan_init(&s, raw, n);
    while (r->nauths < RECORD_MAX_AUTHS && headers_next(&s, &f)) {
        if (headers_is(&f, "Received") && ++hops > OUR_HOPS)
            break;
        if (!headers_is(&f, "Authentication-Results"))
            continue;
        buf_reset(&value);
        value.failed = false;
        headers_value(&f, &value);
        if (!value.failed)
            take_field(r, buf_str(&value), value.len);
    }
    buf_free(&value);
}
