#pragma once
/* Private to channels/web: the answer to a request that its head alone condemns, written without evhttp, and the header fields that
 * go with a status. */
#include "channels/web/head.h"

/* The name and *ret_value of the field that RFC 9110 asks for beside this status, NULL when none. Static. `path` is the request's. */
const char *refusal_header(int status, const char *path, const char **ret_value);
/* The whole answer. Free it. */
CD_MUSTUSE char *refusal_text(const struct web_verdict *v, const struct web_head *h);
