#pragma once
/* What the front's wiring uses of channels/web beside `channel_web`: it owns the HTTP server and client of
 * the process. */
#include "channels/channel.h"

/* Requests whose path begins with `prefix` go to `fn`. Before channel_web.start; both strings and arg stay
 * the caller's and must live until channel_web.stop. */
void web_add_route(const char *prefix, http_handler fn, void *arg);
/* For channel_host.http_answer and .fetch. Before start and after stop: ignored, and CD_EAGAIN. */
void web_answer(struct ack token, int status, const char *content_type, const void *body, size_t n);
int web_fetch(const struct http_fetch *f, http_fetch_done done, void *arg);
