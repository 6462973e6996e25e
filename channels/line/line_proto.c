/* Line protocol grammar: splitter, request parser, answer formatting. Pure functions; the only memory kept is
 * the beginning of an unfinished line (at most the line limit). Faults come back as a code and a sentence for
 * the ERR answer. */
#include "channels/line/line_proto.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/err.h"
#include "daemon/core/str.h"

/* ---- bytes to lines ---- */

void line_splitter_init(struct line_splitter *s, size_t max)
{
    memset(s, 0, sizeof *s);
    s->max = max;
    buf_init(&s->pending, max + 2); /* room for the CR of a line of exactly `max` bytes */
}

void line_splitter_free(struct line_splitter *s)
{
    buf_free(&s->pending);
}

static size_t without_cr(const char *p, size_t n)
{
    return n > 0 && p[n - 1] == '\r' ? n - 1 : n;
}

/* Whether `have` bytes, the last of them `last`, already make a line over the limit whatever follows. */
static bool over(const struct line_splitter *s, size_t have, char last)
{
    return have > s->max + (last == '\r' ? 1 : 0);
}

enum line_split line_split(struct line_splitter *s, const char *p, size_t n, size_t *ret_used,
                           const char **ret_line, size_t *ret_n)
{
    const char *lf = n ? memchr(p, '\n', n) : NULL;
    size_t part = lf ? (size_t)(lf - p) : n;

    if (s->handed_out) {
        buf_reset(&s->pending);
        s->handed_out = false;
    }
    *ret_used = part + (lf ? 1 : 0);
    if (s->skipping) {
        s->skipping = !lf;
        if (!lf)
            return LINE_NEED_MORE;
        size_t more = 0;
        enum line_split r = line_split(s, lf + 1, n - *ret_used, &more, ret_line, ret_n);
        *ret_used += more;
        return r;
    }
    if (part > 0 && over(s, s->pending.len + part, p[part - 1])) {
        buf_reset(&s->pending);
        s->skipping = !lf;
        return LINE_TOO_LONG;
    }
    if (lf && s->pending.len == 0) {
        *ret_line = p;
        *ret_n = without_cr(p, part);
        return LINE_READY;
    }
    if (part > 0)
        (void)buf_append(&s->pending, p, part); /* fits: the cap is over the limit checked above */
    if (!lf)
        return LINE_NEED_MORE;
    *ret_line = buf_str(&s->pending);
    *ret_n = without_cr(*ret_line, s->pending.len);
    s->handed_out = true;
    return LINE_READY;
}

/* ---- a line to a request ---- */

static int fault(struct line_error *err, const char *code, const char *message)
{
    err->code = code;
    snprintf(err->message, sizeof err->message, "%s", message);
    return CD_EINVAL;
}

static int parse_json(const char *p, size_t n, struct line_request *ret, struct line_error *err)
{
    if (json_read_object(p, n, &ret->args, err->message) < 0) {
        err->code = "bad-json";
        return CD_EINVAL;
    }
    ret->json = p;
    ret->njson = n;
    return 0;
}

static bool is_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

int line_parse(const char *p, size_t n, struct line_request *ret, struct line_error *err)
{
    size_t i = 0;

    memset(ret, 0, sizeof *ret);
    if (memchr(p, '\0', n) || !utf8_valid(p, n))
        return fault(err, "bad-utf8", "the line is not valid UTF-8 without NUL");
    while (i < n && i < LINE_VERB_MAX && is_letter(p[i])) {
        ret->verb[i] = (char)(p[i] & ~0x20); /* upper case */
        i++;
    }
    if (i == 0 || (i < n && p[i] != ' '))
        return fault(err, "bad-line", "a line is a verb of letters, a space and one JSON object");
    while (i < n && p[i] == ' ')
        i++;
    while (n > i && p[n - 1] == ' ')
        n--;
    if (i < n)
        return parse_json(p + i, n - i, ret, err);
    ret->args = json_object();
    if (!ret->args)
        return fault(err, "internal", "out of memory");
    ret->json = "{}";
    ret->njson = 2;
    return 0;
}

void line_request_done(struct line_request *rq)
{
    json_decref(rq->args);
    rq->args = NULL;
}

/* ---- answers ---- */

static int to_buf(const char *p, size_t n, void *arg)
{
    return buf_append(arg, p, n) == 0 ? 0 : -1;
}

static void put(struct buf *out, const char *word, const json_t *body)
{
    buf_append_str(out, word);
    /* Control characters are escaped by the library, so that one answer stays one line. */
    if (!body || json_dump_callback(body, to_buf, out, JSON_COMPACT) != 0)
        buf_append_str(out, "{}");
    buf_append_char(out, '\n');
}

void line_put_ok(struct buf *out, const json_t *body)
{
    put(out, "OK ", body);
}

void line_put_row(struct buf *out, const json_t *row)
{
    put(out, "ROW ", row);
}

void line_put_err(struct buf *out, const json_t *body)
{
    put(out, "ERR ", body);
}

json_t *line_error_body(const char *code, const char *message, const char *field, bool retry)
{
    json_t *o = json_object();
    json_object_set_new(o, "code", json_string(code));
    json_object_set_new(o, "message", json_string(message));
    if (field)
        json_object_set_new(o, "field", json_string(field));
    json_object_set_new(o, "retry", json_boolean(retry));
    return o;
}
