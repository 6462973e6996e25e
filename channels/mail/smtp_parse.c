/* Command lines and the arguments of MAIL and RCPT. Pure: views into the caller's bytes go in and out, faults
 * are an enum, nothing is allocated. What passes as an address is judged by mail_address_valid(), the one
 * grammar for addresses. */
#include "channels/mail/smtp_parse.h"

#include <string.h>
#include <strings.h>

#include "daemon/intake/handle.h"

size_t smtp_line_take(const uint8_t *p, size_t n, struct smtp_line *ret)
{
    const uint8_t *lf = memchr(p, '\n', n);
    if (!lf)
        return 0;
    size_t len = (size_t)(lf - p);
    *ret = (struct smtp_line){.text = (const char *)p, .bare_lf = true};
    if (len && p[len - 1] == '\r') {
        ret->bare_lf = false;
        len--;
    }
    ret->n = len;
    ret->bad_bytes = memchr(p, '\r', len) || memchr(p, '\0', len);
    return (size_t)(lf - p) + 1;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

void smtp_command_split(const struct smtp_line *l, struct smtp_command *ret)
{
    const char *p = l->text, *end = p + l->n;
    while (end > p && blank(end[-1]))
        end--;
    ret->verb = p;
    while (p < end && !blank(*p))
        p++;
    ret->nverb = (size_t)(p - ret->verb);
    while (p < end && blank(*p))
        p++;
    ret->arg = p;
    ret->narg = (size_t)(end - p);
}

static bool high_bytes(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)p[i] >= 0x80)
            return true;
    return false;
}

static bool word_is(const char *p, size_t n, const char *word)
{
    return n == strlen(word) && strncasecmp(p, word, n) == 0;
}

/* Takes "<…>" from the front of *p; quotes hide an angle bracket. The view is what stands between. */
static enum smtp_fault take_path(const char **p, const char *end, const char **ret, size_t *ret_n)
{
    const char *q = *p;
    bool quoted = false;
    if (q == end || *q++ != '<')
        return SMTP_FAULT_SYNTAX;
    const char *start = q;
    for (; q < end && (quoted || *q != '>'); q++) {
        if (*q == '"')
            quoted = !quoted;
        else if (quoted && *q == '\\' && q + 1 < end)
            q++;
    }
    if (q == end)
        return SMTP_FAULT_SYNTAX;
    *ret = start;
    *ret_n = (size_t)(q - start);
    *p = q + 1;
    /* only a blank or the end may follow */
    return q + 1 == end || blank(q[1]) ? SMTP_FAULT_NONE : SMTP_FAULT_SYNTAX;
}

/* "@one,@two:mailbox" is read as "mailbox" (RFC 5321, appendix F.2: accepted and ignored). */
static enum smtp_fault skip_route(const char **p, size_t *n)
{
    if (!*n || **p != '@')
        return SMTP_FAULT_NONE;
    const char *colon = memchr(*p, ':', *n);
    if (!colon)
        return SMTP_FAULT_ADDRESS;
    for (const char *q = *p; q < colon; q++)
        if (blank(*q) || *q == '"' || *q == '<' || (q > *p && *q == '@' && q[-1] != ','))
            return SMTP_FAULT_ADDRESS;
    *n -= (size_t)(colon + 1 - *p);
    *p = colon + 1;
    return SMTP_FAULT_NONE;
}

/* Copies the address; "\"care\"@x" and "care@x" are the same mailbox (RFC 5321 4.1.2), so that the first is
 * written as the second wherever the quotes hold nothing but letters, digits and the few signs that need
 * none. */
static void copy_address(const char *p, size_t n, char out[SMTP_ADDRESS_SIZE])
{
    const char *close = n > 2 && p[0] == '"' ? memchr(p + 1, '"', n - 1) : NULL;
    if (close && close > p + 1 && close + 1 < p + n && close[1] == '@') {
        size_t inner = (size_t)(close - p) - 1;
        memcpy(out, p + 1, inner);
        memcpy(out + inner, close + 1, n - inner - 2);
        out[n - 2] = '\0';
        if (mail_address_valid(out, n - 2, true))
            return;
    }
    memcpy(out, p, n);
    out[n] = '\0';
}

static enum smtp_fault take_address(const char *p, size_t n, bool utf8, struct smtp_path *ret)
{
    if (!utf8 && high_bytes(p, n))
        return SMTP_FAULT_UTF8;
    if (n >= SMTP_ADDRESS_SIZE || !mail_address_valid(p, n, utf8))
        return SMTP_FAULT_ADDRESS;
    copy_address(p, n, ret->address);
    return SMTP_FAULT_NONE;
}

/* Matches "FROM:" or "TO:", tolerating blanks behind the colon, which many small senders write. */
static bool take_keyword(const char **p, const char *end, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(end - *p) < n || strncasecmp(*p, word, n) != 0)
        return false;
    for (*p += n; *p < end && blank(**p);)
        (*p)++;
    return true;
}

static enum smtp_fault param_size(const char *v, size_t n, struct smtp_path *ret)
{
    if (ret->has_size || n == 0 || n > 20)
        return SMTP_FAULT_PARAM;
    for (size_t i = 0; i < n; i++) {
        if (v[i] < '0' || v[i] > '9')
            return SMTP_FAULT_PARAM;
        uint64_t digit = (uint64_t)(v[i] - '0');
        ret->size = ret->size > (UINT64_MAX - digit) / 10 ? UINT64_MAX : ret->size * 10 + digit;
    }
    ret->has_size = true;
    return SMTP_FAULT_NONE;
}

static enum smtp_fault mail_param(const char *p, size_t n, bool *body_seen, struct smtp_path *ret)
{
    const char *eq = memchr(p, '=', n);
    size_t nkey = eq ? (size_t)(eq - p) : n, nvalue = eq ? n - nkey - 1 : 0;
    const char *value = eq ? eq + 1 : NULL;
    if (word_is(p, nkey, "SIZE"))
        return eq ? param_size(value, nvalue, ret) : SMTP_FAULT_PARAM;
    if (word_is(p, nkey, "SMTPUTF8")) {
        if (eq || ret->utf8)
            return SMTP_FAULT_PARAM;
        ret->utf8 = true;
        return SMTP_FAULT_NONE;
    }
    if (word_is(p, nkey, "BODY")) {
        ret->body_8bit = eq && word_is(value, nvalue, "8BITMIME");
        if (*body_seen || !eq || (!ret->body_8bit && !word_is(value, nvalue, "7BIT")))
            return SMTP_FAULT_PARAM;
        *body_seen = true;
        return SMTP_FAULT_NONE;
    }
    return SMTP_FAULT_PARAM_UNKNOWN;
}

enum smtp_fault smtp_parse_mail(const char *arg, size_t n, struct smtp_path *ret)
{
    const char *p = arg, *end = arg + n, *path;
    size_t npath;
    bool body_seen = false;
    memset(ret, 0, sizeof *ret);
    if (!take_keyword(&p, end, "FROM:"))
        return SMTP_FAULT_SYNTAX;
    enum smtp_fault f = take_path(&p, end, &path, &npath);
    /* the parameters first: SMTPUTF8 among them decides what an address may hold */
    while (!f && p < end) {
        while (p < end && blank(*p))
            p++;
        const char *word = p;
        while (p < end && !blank(*p))
            p++;
        if (p > word)
            f = mail_param(word, (size_t)(p - word), &body_seen, ret);
    }
    if (f || npath == 0)
        return f;
    f = skip_route(&path, &npath);
    return f ? f : take_address(path, npath, ret->utf8, ret);
}

enum smtp_fault smtp_parse_rcpt(const char *arg, size_t n, bool utf8, struct smtp_path *ret)
{
    const char *p = arg, *end = arg + n, *path;
    size_t npath;
    memset(ret, 0, sizeof *ret);
    if (!take_keyword(&p, end, "TO:"))
        return SMTP_FAULT_SYNTAX;
    enum smtp_fault f = take_path(&p, end, &path, &npath);
    if (!f && p < end) /* DSN is not offered, and nothing else has parameters here */
        f = SMTP_FAULT_PARAM_UNKNOWN;
    if (!f)
        f = skip_route(&path, &npath);
    if (f)
        return f;
    if (word_is(path, npath, "postmaster") || word_is(path, npath, "abuse")) {
        memcpy(ret->address, path, npath);
        return SMTP_FAULT_NONE;
    }
    return take_address(path, npath, utf8, ret);
}
