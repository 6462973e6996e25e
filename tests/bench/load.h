#pragma once
/* The load generator: one thread, one event loop. The driver (load.c) says which number is to be sent when; a
 * mode (SMTP, HTTP, web, line) sends it and reports the answer. Connections belong to their mode and live as long
 * as the process. */
#include <event2/event.h>
#include <netinet/in.h>
#include <sys/queue.h>

#include "tests/bench/report.h"
#include "tests/bench/text.h"

struct load;
struct load_options;

/* One mail, SMS or SUBMIT on its way. */
struct load_job {
    uint64_t i;
    int64_t since_us; /* when it was due (open loop) or begun (closed loop), monotonic */
};

/* First member of every mode's connection. */
struct load_conn {
    TAILQ_ENTRY(load_conn) entry;
    struct load *load;
    bool idle; /* in the list of those that wait for an arrival */
};
TAILQ_HEAD(load_conns, load_conn);

struct load_mode {
    const char *name, *channel;
    struct load_conn *(*start)(struct load *l); /* makes a connection that takes jobs by itself */
    void (*wake)(struct load_conn *c);          /* a job is due: take it */
    void (*key)(const struct load_options *o, uint64_t i,
                struct text_item *ret); /* what identifies number `i` */
};
extern const struct load_mode load_smtp, load_http, load_web, load_line;

struct load_options {
    const struct load_mode *mode;
    struct sockaddr_in peer;
    unsigned connections, window;
    uint64_t count;
    double rate; /* 0: closed loop */
    bool new_each, pipelining;
    const char *rcpt, *token, *url, *account, *number;
    double stall_s, limit_s;
    struct text text;
};

struct load {
    struct load_options o;
    struct event_base *base;
    struct event *arrival, *watch;
    struct load_conns idle;
    struct report report;
    uint64_t taken, reported_at_watch;
    int64_t due_us, quiet_since_us;
    uint64_t gaps; /* state of the arrivals' random numbers */
};

/* The next job, when there is one now; otherwise the connection is woken when one is due, if ever. */
bool load_take(struct load_conn *c, struct load_job *ret);
/* The answer to a job; the text of the first refusal is kept. */
void load_answered(struct load_conn *c, const struct load_job *job, enum report_result r, const char *text);
/* Calls `wake` in a moment: after a connection could not be made. */
void load_later(struct load_conn *c);
