#pragma once
/* Private to channels/web and daemon/scan, which has one of its own: outgoing HTTP by libcurl on the loop, one multi handle. */
#include "channels/channel.h"

struct web_client;
#define WEB_CLIENT_MAX 64            /* requests in flight */
#define WEB_CLIENT_ANSWER CD_KIB(64) /* of an answer's body, the rest is not read */

/* 0 or CD_EIO (logged). `max` is WEB_CLIENT_MAX but in tests. */
int web_client_start(struct event_base *base, unsigned max, struct web_client **ret) CD_MUSTUSE;
/* 0, and then `done` exactly once and never from inside this call. CD_EAGAIN: too many in flight. CD_EINVAL:
 * a URL that is not https (http only to a loopback address), or a header with a line break. Nothing of `f` is
 * kept. */
int web_client_fetch(struct web_client *c, const struct http_fetch *f, http_fetch_done done,
                     void *arg) CD_MUSTUSE;
/* The request that was made with this `arg` ends now, without `done`; nothing when there is none. Not from inside another's `done`. */
void web_client_cancel(struct web_client *c, const void *arg);
bool web_client_idle(const struct web_client *c);
/* What is in flight ends as FETCH_UNKNOWN, or FETCH_NOT_SENT when nothing of it had left. */
void web_client_stop(struct web_client **c);
