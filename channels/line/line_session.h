#pragma once
/* Sessions of the line protocol. A session owns its connection and a queue of reply slots, one a request, in request order; an answer
 * leaves when all before it have left. While the queue is full, the client is over its rate, or the peer does not read, nothing more is
 * read. Inside channels/line only. */
#include <sys/queue.h>

#include "channels/channel.h"
#include "channels/line/line_conn.h"
#include "channels/line/line_proto.h"
#include "channels/line/line_rate.h"
#include "daemon/core/crypto.h"

#define LINE_MAX_AUTH_FAILURES 5
#define LINE_MAX_UNSENT CD_MIB(1) /* answers not yet read by the peer, before its requests are left unread */
#define LINE_MAX_READS 8          /* requests that only read, until their answers leave: those may be large */
#define LINE_MIN_RATE 500         /* bytes a second: who reads answers more slowly is no longer waited for */

TAILQ_HEAD(line_session_list, line_session);
TAILQ_HEAD(line_slot_list, line_slot);

/* What the sessions of one channel share. */
struct line_server {
    const struct channel_host *host;
    struct slots *slots;
    struct line_session_list sessions; /* who has completed something last stands last */
    struct line_session_list woken;    /* an outcome has come: to be looked at in the next turn of the loop */
    struct line_session_list shaking;  /* in a TLS handshake; who began first stands first */
    struct line_rates *rates;
    struct event *wake;
    struct event *tick; /* ends who is overdue; while the gate is not normal, there is less time */
    size_t nsessions, nsubscriptions;
    uint64_t last_id; /* that a session was given */
    bool draining;
};
int line_server_init(struct line_server *s, const struct channel_host *host) CD_MUSTUSE;
void line_server_done(struct line_server *s);  /* closes every session */
void line_server_drain(struct line_server *s); /* sessions end after the answers that they wait for */
/* The configuration holds other values: sessions whose client is gone or has another token end, the others get what it may do now. */
void line_server_reloaded(struct line_server *s);

struct line_subscription;
struct line_session {
    TAILQ_ENTRY(line_session) link, woken_link, shaking_link;
    struct line_server *server;
    uint64_t id; /* from 1 on, none twice */
    struct line_conn conn;
    struct line_splitter split;
    struct line_slot_list queue;
    size_t nqueue, nreads; /* nreads: slots with what may be large, or for it */
    enum role role;        /* ROLE_NONE until AUTH */
    bool may_see_vulnerable; /* by its client's option; an admin may anyway */
    char *client;          /* NULL until AUTH */
    char *desk;            /* the client's default, or NULL */
    struct strlist desks;  /* the only ones it has to do with; none: all */
    uint8_t token[SHA256_SIZE]; /* of the AUTH, to be recognized after a reload */
    bool by_token;
    char peer[64];
    bool local;            /* a unix socket, or from this host */
    bool unix_socket;
    struct line_rate own_rate, *rate; /* what its requests are counted against: its own until AUTH, then its client's */
    TAILQ_ENTRY(line_session) throttled_link;
    bool throttled;
    unsigned auth_failures;
    int64_t since_us;   /* when it last completed a request or got an answer */
    int64_t shaking_us; /* when its handshake began */
    uint64_t sent;      /* bytes that had left then */
    bool starttls;      /* STARTTLS was said: the last line in the clear */
    bool closing;       /* nothing more is read; ends when everything is answered and sent */
    bool eof;           /* the peer has sent its last line */
    bool woken;         /* is in server->woken */
    struct line_subscription *subscription; /* under way, or NULL; its slot is the last of the queue that was not asked for later */
    const char *reason;
};

/* One request that has no answer yet, or whose answer waits for those before it. */
struct line_slot {
    TAILQ_ENTRY(line_slot) link;
    struct line_session *session;
    struct ack ack;
    bool waiting; /* `ack` is taken: an outcome will come from outside */
    bool open;    /* the session itself will finish it: STARTTLS, SUBSCRIBE */
    bool done;
    bool submit; /* the outcome is an ack_result, else a reply */
    bool read;   /* … and may be large */
    struct buf text;
};

struct line_peer {
    const char *text;
    long uid;   /* of the peer of a unix socket: root and our own user are admins there; -1 for TCP */
    bool local; /* on this host */
    bool tls;   /* begins with a handshake */
};
/* Takes over the connected socket. Refuses over line.max_connections (answers ERR busy and closes). */
int line_session_open(struct line_server *s, int fd, const struct line_peer *peer);
/* Looks at the session again in the next turn of the loop. */
void line_session_wake(struct line_session *s);
/* Something was completed, so its time begins anew. */
void line_session_touch(struct line_session *s);
/* Ends it now, whatever it is owed. Not from inside a handler. */
void line_session_end(struct line_session *s, const char *reason);
/* May hold no more for now: requests under way, answers unread, rate. */
bool line_session_full(const struct line_session *s);
/* Nothing that was said before counts any more: who it is, and what has come of a line. */
void line_session_forget(struct line_session *s);

/* For handlers (line_slot.c): the answer of a slot. */
void line_answer_ok(struct line_slot *slot, json_t *body); /* takes body */
void line_answer_err(struct line_slot *slot, const char *code, const char *message, const char *field,
                     bool retry);
/* Gives the slot an ack for a request that is answered later. CD_ELIMIT: too many in flight. */
int line_slot_wait(struct line_slot *slot) CD_MUSTUSE;
void line_slot_cancel(struct line_slot *slot); /* the request was not taken after all */
struct line_slot *line_slot_new(struct line_session *s);
void line_slot_free(struct line_slot *slot);
/* Answers that have nothing before them leave, rows of a subscription too. */
void line_session_flush(struct line_session *s);

/* Outcomes from outside; stale ones are ignored (counted in M_ACK_STALE). */
void line_on_ack(void *server, struct ack a, const struct ack_result *r);
void line_on_reply(struct line_server *server, struct ack a, const struct reply *r);

/* TLS (line_tls.c) */
void line_tls_expect(struct line_session *s);  /* the peer begins a handshake */
void line_tls_secured(struct line_session *s);
void line_tls_begin(struct line_session *s);   /* everything before STARTTLS is answered */
void line_tls_overdue(struct line_server *srv); /* ends handshakes that take too long */
void line_tls_gone(struct line_session *s);    /* before it is freed */
