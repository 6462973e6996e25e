#pragma once
/* Private to channels/web: a strict look at the raw bytes of a request's head, before evhttp forgives what it
 * should not. Pure: takes bytes in any slices, holds no memory. */
#include "daemon/core/base.h"

enum fence_state { FENCE_REQUEST_LINE, FENCE_LINE_START, FENCE_NAME, FENCE_VALUE, FENCE_DONE };

#define FENCE_MAX_HEADERS 64

struct fence {
    enum fence_state state;
    bool cr;         /* the byte before was CR */
    unsigned spaces; /* of the request line */
    unsigned headers;
    size_t bytes; /* of the head so far */
    const char *fault; /* the first one found; NULL: none. Static text. */
};
void fence_feed(struct fence *f, const void *p, size_t n);
