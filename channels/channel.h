#pragma once
/* The one interface between channels and the front. A channel sees core, config, worker, intake and this file, never the
 * store and never another channel; what it needs of those it gets through struct channel_host. */
#include <event2/event.h>
#include <jansson.h>
#include <sys/queue.h>

#include "config/config.h"
#include "daemon/intake/ack.h"
#include "daemon/intake/envelope.h"
#include "daemon/intake/gate.h"
#include "daemon/intake/record.h"

/* ---- requests: verbs of the line protocol and of complaintctl ---- */

enum role { ROLE_NONE, ROLE_INTAKE, ROLE_AGENT, ROLE_ADMIN };

struct reply {
    bool ok;
    json_t *rows; /* array or NULL */
    json_t *body; /* the object of OK, or {"code","message","retry"} of ERR */
};

struct request {
    const char *verb; /* "SHOW", "LIST", "ACK", … */
    json_t *args;     /* an object; borrowed during the call */
    enum role role;
    const char *actor; /* client or user name, for the event log */
    bool may_see_vulnerable; /* an admin, or a client with that option */
    const char *via;   /* static: how the request came, for the event log: "line", "unix", "web" */
    struct ack slot;
    uint64_t session; /* those of one session take effect in their order; 0: of none */
    const struct strlist *desks; /* the only ones it may have to do with; NULL or empty: all. Borrowed during the call */
};

/* ---- events of complaints, as they are committed ---- */

/* A place in the order in which they are given: of the transaction and, within it, of the event. */
struct feed_place {
    uint64_t xid;
    struct uuid id;
};
struct feed_event {
    struct feed_place at;
    const char *kind;
    const char *desks; /* of the complaint, a line each */
    const char *row;   /* a JSON object on one line; its "cursor" is `at` */
    size_t nrow;
};
/* Who wants them. Embedded in what wants them; the feed never frees it, and holds it from feed_add() to feed_remove(). The three
 * functions are called by the feed and must not call feed_remove(). */
struct feed_reader {
    struct feed_place at; /* where it begins, all zero: with the first; then how far it has come */
    bool from_now;        /* it begins with what is committed from now on */
    uint64_t until;       /* the transaction that had not begun then; 0: the next look sets it */
    bool paused;          /* is given nothing, and misses nothing, until feed_resume() */
    /* The next event; false: no room, the reader is paused and will be given it again. */
    bool (*give)(struct feed_reader *r, const struct feed_event *e);
    /* All that was committed when `until` was set was given; called at each look that finds it so. */
    void (*caught_up)(struct feed_reader *r);
    void (*refused)(struct feed_reader *r, const char *why); /* its place is none of this database's; paused */
    TAILQ_ENTRY(feed_reader) link; /* the feed's, like what follows */
    bool behind, known;
};

/* ---- HTTP ---- */

struct http_exchange {
    const char *method, *path, *uri; /* uri as received, with the query */
    const char *peer;
    const void *body;
    size_t nbody;
    const char *(*header)(const struct http_exchange *x, const char *name); /* NULL when absent */
    struct ack token; /* for http_answer; stale tokens are ignored */
};
/* A handler answers each exchange once, at once or later, through host->http_answer. */
typedef void (*http_handler)(void *arg, const struct http_exchange *x);

struct http_fetch {
    const char *url;
    const char *content_type; /* of the body */
    const char *username, *password; /* Basic, or NULL */
    struct strlist headers;   /* "Name: value", validated: no CR or LF */
    const void *body;
    size_t nbody;
    bool body_stays;          /* until `done`: it is not copied */
    int64_t timeout_us;
};
enum http_fetch_outcome {
    FETCH_ANSWERED,   /* `status` holds the HTTP status */
    FETCH_NOT_SENT,   /* never left this host: name, connect or TLS failed */
    FETCH_UNKNOWN,    /* sent, no whole answer */
};
struct http_fetch_result {
    enum http_fetch_outcome outcome;
    int status;
    bool timed_out;         /* `timeout_us` ended it */
    int64_t retry_after_us; /* 0 when not said */
    const char *body;       /* at most 64 kB, NUL-terminated */
    size_t nbody;
    const char *error;      /* of the library; "" */
};
typedef void (*http_fetch_done)(void *arg, const struct http_fetch_result *r);

/* ---- sending ---- */

enum transport { TR_MAIL, TR_SMS, TR_WEBHOOK, TR_COUNT };
const char *transport_name(enum transport t);
int transport_from_name(const char *s);

/* A rendered message on its way out. Strings are borrowed during send(). */
struct outgoing {
    struct uuid id;              /* notifications.id */
    enum transport transport;
    const char *recipient;       /* address, E.164 number, or the name of a webhook in the configuration */
    const char *subject;         /* mail */
    const char *text;            /* mail, sms; UTF-8, LF line ends */
    const char *json;            /* webhook body */
    const char *idempotency_key; /* becomes Message-ID, Idempotency-Key or the provider's own */
    const char *from;            /* mail: header From address; NULL: mail.from */
    const char *reply_to;        /* mail or NULL */
    const char *message_id;      /* mail: without <>; NULL: made of idempotency_key */
    const char *in_reply_to;     /* mail: Message-ID without <>, or NULL */
    const struct strlist *references; /* mail: Message-IDs without <>, oldest first; NULL: in_reply_to alone */
    const char *envelope_from;   /* mail: reverse-path, "" is null; NULL: null when `automatic`, else `from` */
    const char *language;        /* mail: of subject and text, or NULL */
    const char *desk;
    unsigned hops;               /* mail: X-Complaintd-Hops, one more than what it answers had; 0: none is said */
    bool automatic;              /* Auto-Submitted: auto-replied */
    bool personal;               /* somebody wrote it: no Auto-Submitted */
    bool sandbox;
};
enum send_outcome {
    SEND_SENT,
    SEND_RETRY,    /* refused for now, or never left: the same again later */
    SEND_UNKNOWN,  /* may or may not have arrived: again with the same key */
    SEND_REJECTED, /* will never work */
};
struct send_result {
    enum send_outcome outcome;
    int64_t retry_after_us;
    char detail[256]; /* status and text for last_error, UTF-8 */
};
const char *send_outcome_name(enum send_outcome o);

/* ---- host and channel ---- */

struct tls;
struct channel_host {
    struct event_base *base;
    const struct config *cfg; /* stays where it is; its values change with a reload, never within a callback */
    const struct tls *tls; /* our certificates (daemon/net/tls.h); NULL is none */
    void *front;
    /* Takes ownership when it returns 0: exactly one ack_resolve() follows, never from inside this call.
     * CD_EAGAIN: over budget or no durable place, the caller answers "try again" and keeps the envelope. */
    int (*submit)(void *front, struct envelope *e);
    /* true when a submit of about `bytes` has a chance now; asked before reading a body. A channel that says no to its peer for
     * it, or for a submit that was not taken, counts that in its row of M_INTAKE_BUSY. */
    bool (*ready)(void *front, size_t bytes);
    /* How full the intake is. Tight: shorten deadlines. Shed: turn new peers away. For nobody an exception: memory is memory. */
    enum gate_mode (*gate)(void *front);
    /* Exactly one on_reply() of the channel in slot.channel follows, never from inside this call. */
    void (*request)(void *front, const struct request *rq);
    /* The feed of events (daemon/feed.h). Nothing is given from inside these calls. */
    void (*feed_add)(void *front, struct feed_reader *r);
    void (*feed_resume)(void *front, struct feed_reader *r);
    void (*feed_remove)(void *front, struct feed_reader *r);
    /* An outcome of send(); exactly once for each send that returned 0. */
    void (*send_done)(void *front, const struct uuid *id, const struct send_result *r);
    /* Outgoing HTTP on the loop (channels/web); `done` exactly once, never from inside, when 0 is returned. */
    int (*fetch)(void *front, const struct http_fetch *f, http_fetch_done done, void *arg);
    void (*http_answer)(void *front, struct ack token, int status, const char *content_type, const void *body, size_t n);
};

struct channel {
    const char *name;
    enum channel_id id;
    /* Opens listeners and workers. On failure logs what is wrong and what to do. */
    int (*start)(const struct channel_host *host, void **ret_state);
    void (*drain)(void *state); /* stop taking in; sessions in progress may finish */
    bool (*idle)(void *state);  /* nothing in progress */
    void (*stop)(void **state); /* closes everything */
    /* host->cfg holds other values now: takes over what it copied. Cannot fail: what cannot be taken over stays, with a log line.
     * NULL: it copied nothing. */
    void (*reloaded)(void *state);
    /* In the worker: fills the record from the envelope; CD_* on failure (the caller makes it degraded). NULL: none. */
    int (*decode)(const struct envelope *e, struct record *r);
    /* Outgoing; CD_EAGAIN when its queue is full (the pump tries again). NULL: cannot send. */
    int (*send)(void *state, const struct outgoing *o);
    enum transport transport; /* what send() carries */
    void (*on_reply)(void *state, struct ack slot, const struct reply *r); /* NULL: makes no requests */
    /* HTTP requests whose path begins with this prefix are given to `http`; NULL: none. */
    const char *http_prefix;
    http_handler http; /* arg is the state */
};

extern const struct channel channel_mail, channel_sms, channel_line, channel_web;
