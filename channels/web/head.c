/* What two readers could take differently is refused here (RFC 9112 sections 3, 5 and 6): more than one length, a length with anything
 * but digits, a transfer coding (nobody who sends complaints needs one), more than one Host, a target that is no path. The strings
 * are the head's. Memory is bounded by that of the head itself. */
#include "channels/web/head.h"

#include <string.h>

#include "daemon/core/err.h"
#include "daemon/core/str.h"
#include "daemon/intake/headers.h"

static const char *const methods[WEB_METHOD_COUNT] = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"};

const char *web_method_name(enum web_method m)
{
    return methods[m];
}

void web_head_free(struct web_head *h)
{
    free(h->path);
    free(h->authorization);
    free(h->content_type);
    free(h->key);
    *h = (struct web_head){0};
}

static struct web_verdict fault(enum api_problem problem, const char *detail)
{
    return (struct web_verdict){.problem = problem, .detail = detail};
}

/* METHOD SP path SP HTTP/1.x. The fence has seen to the number of spaces. */
static struct web_verdict read_request_line(const char *p, size_t n, struct web_head *ret)
{
    const char *target = memchr(p, ' ', n);
    const char *version = target ? memchr(target + 1, ' ', n - (size_t)(target + 1 - p)) : NULL;
    int m = -1;

    if (!version)
        return fault(API_BAD_REQUEST, "request line");
    for (int i = 0; i < WEB_METHOD_COUNT; i++)
        if (strlen(methods[i]) == (size_t)(target - p) && memcmp(methods[i], p, strlen(methods[i])) == 0)
            m = i;
    if (m < 0)
        return fault(API_NOT_IMPLEMENTED, "no such method");
    ret->method = (enum web_method)m;
    size_t nversion = n - (size_t)(version + 1 - p);
    if (nversion != 8 || memcmp(version + 1, "HTTP/1.", 7) != 0 || (version[8] != '0' && version[8] != '1'))
        return fault(API_BAD_REQUEST, "not HTTP/1.1");
    if (target[1] != '/')
        return fault(API_BAD_REQUEST, "the target is not a path");
    size_t npath = (size_t)(version - (target + 1));
    const char *query = memchr(target + 1, '?', npath);
    ret->path = cd_strndup(target + 1, query ? (size_t)(query - (target + 1)) : npath);
    return fault(API_OK, NULL);
}

static bool is_printable(const char *s)
{
    while (*s >= ' ' && *s < 0x7f)
        s++;
    return !*s;
}

struct seen {
    unsigned lengths, codings, hosts, kept[3];
};

static struct web_verdict read_field(const struct headers_field *f, struct web_head *ret, struct seen *seen)
{
    static const char *const names[] = {"Authorization", "Content-Type", "Idempotency-Key"};
    char **const kept[] = {&ret->authorization, &ret->content_type, &ret->key};
    struct buf value;
    struct web_verdict v = {0};

    buf_init(&value, CD_KIB(64));
    headers_value(f, &value);
    const char *s = buf_str(&value);
    if (headers_is(f, "Content-Length")) {
        if (seen->lengths++ || str_parse_u64(s, INT64_MAX, &ret->length) < 0)
            v = fault(API_BAD_REQUEST, "Content-Length");
    } else if (headers_is(f, "Transfer-Encoding")) {
        seen->codings++;
        ret->chunked = str_ieq(s, "chunked");
    } else if (headers_is(f, "Host")) {
        if (seen->hosts++)
            v = fault(API_BAD_REQUEST, "more than one Host");
    }
    for (size_t i = 0; i < ARRAY_LEN(names) && !v.problem; i++) {
        if (!headers_is(f, names[i]))
            continue;
        if (seen->kept[i]++)
            v = fault(API_BAD_REQUEST, "a field twice that may be there once");
        else
            *kept[i] = cd_strdup(is_printable(s) ? s : "");
    }
    buf_free(&value);
    return v;
}

struct web_verdict web_head_read(const void *p, size_t n, struct web_head *ret)
{
    const char *text = p, *end = memmem(p, n, "\r\n", 2);
    struct headers_scan scan;
    struct headers_field f;
    struct seen seen = {0};

    *ret = (struct web_head){.method = WEB_GET};
    if (!end)
        return fault(API_BAD_REQUEST, "request line");
    struct web_verdict v = read_request_line(text, (size_t)(end - text), ret);
    headers_scan_init(&scan, end + 2, n - (size_t)(end + 2 - text));
    while (!v.problem && headers_next(&scan, &f))
        v = read_field(&f, ret, &seen);
    if (v.problem)
        return v;
    if (seen.codings && (seen.lengths || seen.codings > 1 || !ret->chunked))
        return fault(API_BAD_REQUEST, seen.lengths ? "both Content-Length and Transfer-Encoding" : "Transfer-Encoding");
    if (seen.codings) /* nothing more is wrong with it; nobody who sends complaints needs it */
        return fault(API_LENGTH_REQUIRED, "no transfer coding here: send Content-Length");
    bool with_body = ret->method == WEB_POST || ret->method == WEB_PUT || ret->method == WEB_PATCH;
    return with_body && !seen.lengths ? fault(API_LENGTH_REQUIRED, "a body needs Content-Length") : v;
}

bool web_head_chunk_sound(const void *p, size_t n)
{
    const char *s = p;
    size_t i = 0;

    while (i < n && strchr("0123456789abcdefABCDEF", s[i]) && s[i])
        i++;
    return i == n || (i > 0 && s[i] == '\r' && (i + 1 == n || s[i + 1] == '\n'));
}

/* ---- values with parameters ---- */

static bool is_token(char c)
{
    return c > ' ' && c < 0x7f && !strchr("()<>@,;:\\\"/[]?={}", c);
}

/* One "; name=value" at *p; false when nothing well formed follows. `ret_name` is a view. */
static bool next_parameter(const char **p, const char **ret_name, size_t *ret_nname, char **ret_value)
{
    struct buf value;
    const char *s = *p + strspn(*p, " \t");

    if (*s != ';')
        return false;
    s += 1 + strspn(s + 1, " \t");
    *ret_name = s;
    while (is_token(*s))
        s++;
    *ret_nname = (size_t)(s - *ret_name);
    if (!*ret_nname || *s != '=')
        return false;
    buf_init(&value, CD_KIB(64));
    bool quoted = *++s == '"', closed = !quoted;
    if (quoted)
        s++;
    for (; *s && !(quoted && *s == '"'); s++) {
        if (!quoted && !is_token(*s))
            break;
        if (quoted && *s == '\\' && (s[1] == '"' || s[1] == '\\')) /* a path of Windows comes with its backslashes as they are */
            s++;
        buf_append_char(&value, *s);
    }
    if (quoted && *s == '"') {
        closed = true;
        s++;
    }
    *ret_value = cd_strdup(buf_str(&value));
    buf_free(&value);
    *p = s;
    if (closed)
        return true;
    free(*ret_value);
    return false;
}

char *web_head_parameter(const char *value, const char *name)
{
    const char *p = value + strcspn(value, ";"), *found_name;
    char *text, *found = NULL;
    size_t n;

    while (next_parameter(&p, &found_name, &n, &text)) {
        bool wanted = n == strlen(name) && strncasecmp(found_name, name, n) == 0;
        if (wanted && !found) {
            found = text;
            continue;
        }
        free(text);
        if (wanted) {
            free(found);
            return NULL;
        }
    }
    if (p[strspn(p, " \t;")]) { /* what follows is no parameter: two readers may take it differently */
        free(found);
        return NULL;
    }
    return found;
}

bool web_head_type_is(const char *value, const char *type)
{
    size_t n = strlen(type);

    if (!value || strncasecmp(value, type, n) != 0)
        return false;
    char after = value[n + strspn(value + n, " \t")];
    return !after || after == ';';
}
