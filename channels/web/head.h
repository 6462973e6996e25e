#pragma once
/* Private to channels/web: the head of a request as one answer to "what is asked, and how long is its body". Read from the raw bytes
 * after the fence (fence.h) found no fault in them, and before any of the body is. Pure. */
#include "channels/web/api.h"

enum web_method { WEB_GET, WEB_HEAD, WEB_POST, WEB_PUT, WEB_DELETE, WEB_PATCH, WEB_OPTIONS, WEB_TRACE, WEB_METHOD_COUNT };
const char *web_method_name(enum web_method m);

struct web_head {
    enum web_method method;
    char *path;               /* without the query */
    uint64_t length;          /* of the body */
    bool chunked;             /* Transfer-Encoding is "chunked" and no more */
    char *authorization, *content_type, *key; /* Authorization, Content-Type, Idempotency-Key; NULL when absent, "" when not printable ASCII */
};

/* Why a request goes no further. `detail` and `field` are static or outlive it; status 0: it may. */
struct web_verdict {
    enum api_problem problem; /* API_OK: none */
    const char *detail, *field;
};

/* The verdict on the framing; `ret` is set, and freed by web_head_free(), whatever it is. */
struct web_verdict web_head_read(const void *p, size_t n, struct web_head *ret);
void web_head_free(struct web_head *h);
/* Whether the bytes behind such a head begin as a chunk does: hexadecimal digits and CRLF, no extension; so far as they are there. */
bool web_head_chunk_sound(const void *p, size_t n);
/* The value of a parameter ("boundary") of a header value, unquoted; NULL when it is absent, there twice, or not well formed. */
CD_MUSTUSE char *web_head_parameter(const char *value, const char *name);
/* "application/json" of "Application/JSON; charset=utf-8": compared without case, parameters left aside. */
bool web_head_type_is(const char *value, const char *type);
