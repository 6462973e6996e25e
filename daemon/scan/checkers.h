#pragma once
/* The two protocols, private to daemon/scan. Readers of answers are pure; what they read was sent by a service of this host or
 * network, and is bounded and checked all the same. */
#include <sys/queue.h>

#include "channels/web/client.h"
#include "daemon/scan/scan.h"

/* ---- rspamd: POST /checkv2 ---- */

int rspamd_ask(struct web_client *web, const struct config *c, const struct scan_mail *m, http_fetch_done done, void *arg) CD_MUSTUSE;
/* Fills answer, score, symbols and, unless a server in front was believed, auth. */
void rspamd_read(const struct http_fetch_result *f, struct scan_result *r);

/* ---- clamd: zINSTREAM ---- */

#define CLAMD_ANSWER CD_KIB(4) /* most of an answer */
struct clamd;
typedef void (*clamd_done)(void *arg, const struct scan_answer *a);
/* 0, and then `done` once and never from inside; `text` lives until then. Otherwise *ret_answer says why not. */
int clamd_ask(struct event_base *base, const struct listen_addr *at, const char *text, size_t n, int64_t timeout_us, clamd_done done, void *arg,
              struct clamd **ret, struct scan_answer *ret_answer) CD_MUSTUSE;
void clamd_cancel(struct clamd **c);
/* One answer, without the NUL behind it. */
void clamd_read(const char *s, size_t n, struct scan_answer *ret);

/* ---- whom to leave alone ---- */

#define BREAKER_FAILURES 5
#define BREAKER_PAUSE_MIN CD_SEC(1)
#define BREAKER_PAUSE_MAX CD_MIN_US(1)
struct breaker {
    unsigned failures; /* in a row */
    bool open;
    bool probing; /* one is asked to see whether it is back */
    int64_t pause_us, until_us; /* monotonic */
};
bool breaker_due(const struct breaker *b, int64_t now_us); /* breaker_take() would say yes */
/* It may be asked. Open and its pause over: once, which is the probe. */
bool breaker_take(struct breaker *b, int64_t now_us);
/* What came of asking. 1: it opened, -1: it closed, 0 otherwise. */
int breaker_told(struct breaker *b, bool ok, int64_t now_us);
void breaker_untake(struct breaker *b); /* it was not asked after all: if that was the probe, the next one is */

/* Puts a text from outside into an answer: one line, UTF-8, cut. */
void scan_answer_set(struct scan_answer *a, enum scan_outcome o, enum scan_verdict v, const char *text, size_t n);
