#pragma once
/* The line protocol's grammar, without sockets or clocks: bytes to lines, a line to verb and JSON object,
 * answers to lines. docs/protocol.md holds the grammar. Nothing here trusts its input; what it returns is
 * bounded by the limits given. */
#include "channels/json_read.h"
#include "daemon/core/buf.h"

#define LINE_VERB_MAX 16
#define LINE_MAX_ANSWER CD_MIB(64)

/* ---- bytes to lines ---- */

enum line_split {
    LINE_NEED_MORE, /* all bytes taken, no line yet */
    LINE_READY,     /* one line, without its LF or CRLF */
    LINE_TOO_LONG,  /* said once for a line over the limit; its rest is skipped by the calls that follow */
};
struct line_splitter {
    struct buf pending; /* the beginning of a line whose end has not come */
    size_t max;
    bool skipping, handed_out;
};
void line_splitter_init(struct line_splitter *s, size_t max);
void line_splitter_free(struct line_splitter *s);
/* Looks at n bytes, says in *ret_used how many are done with. The line is a view into `p` or into the
 * splitter, valid until either changes. */
enum line_split line_split(struct line_splitter *s, const char *p, size_t n, size_t *ret_used,
                           const char **ret_line, size_t *ret_n);

/* ---- a line to a request ---- */

struct line_request {
    char verb[LINE_VERB_MAX + 1]; /* upper case */
    json_t *args;                 /* an object, owned; empty when the line had none */
    const char *json;             /* the object as received, a view into the line; "{}" when there was none */
    size_t njson;
};
struct line_error {
    const char *code; /* static */
    char message[JSON_READ_MESSAGE];
};
/* 0, or CD_EINVAL with *err filled. On success the caller frees with line_request_done(). */
int line_parse(const char *p, size_t n, struct line_request *ret, struct line_error *err) CD_MUSTUSE;
void line_request_done(struct line_request *rq);

/* ---- answers ---- */

/* Each appends one line; `body` is borrowed. A failed buffer (over its cap) is for the caller to see. */
void line_put_ok(struct buf *out, const json_t *body);
void line_put_row(struct buf *out, const json_t *row);
void line_put_err(struct buf *out, const json_t *body);
/* The object of an ERR: {"code","message","field"?,"retry"}. `field` may be NULL. New reference. */
CD_MUSTUSE json_t *line_error_body(const char *code, const char *message, const char *field, bool retry);
