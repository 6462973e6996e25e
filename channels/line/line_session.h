#pragma once
/* Sessions of the line protocol. A session owns its bufferevent and a queue of reply slots, one a request, in
 * request order; an answer leaves when all before it have left. While the queue is full, or the peer does not
 * read, nothing more is read. Inside channels/line only. */
#include <event2/bufferevent.h>
#include <sys/queue.h>

#include "channels/channel.h"
#include "channels/line/line_proto.h"

#define LINE_MAX_AUTH_FAILURES 5
#define LINE_MAX_UNSENT CD_MIB(1) /* answers not yet read by the peer, before its requests are left unread */
#define LINE_MIN_RATE 500         /* bytes a second: who reads answers more slowly is no longer waited for */

TAILQ_HEAD(line_session_list, line_session);
TAILQ_HEAD(line_slot_list, line_slot);

/* What the sessions of one channel share. */
struct line_server {
    const struct channel_host *host;
    struct slots *slots;
    struct line_session_list sessions; /* who has completed something last stands last */
    struct line_session_list woken;    /* an outcome has come: to be looked at in the next turn of the loop */
    struct event *wake;
    struct event *tick; /* ends who is overdue; while the gate is not normal, there is less time */
    size_t nsessions;
    bool draining;
};
int line_server_init(struct line_server *s, const struct channel_host *host) CD_MUSTUSE;
void line_server_done(struct line_server *s);  /* closes every session */
void line_server_drain(struct line_server *s); /* sessions end after the answers that they wait for */

struct line_session {
    TAILQ_ENTRY(line_session) link, woken_link;
    struct line_server *server;
    struct bufferevent *bev;
    struct line_splitter split;
    struct line_slot_list queue;
    size_t nqueue;
    enum role role; /* ROLE_NONE until AUTH */
    bool may_see_vulnerable; /* by its client's option; an admin may anyway */
    char *client;   /* NULL until AUTH */
    char *desk;     /* the client's default, or NULL */
    char peer[64];
    unsigned auth_failures;
    int64_t since_us; /* when it last completed a request or got an answer */
    size_t unsent;    /* answers that it had not read then */
    bool closing;     /* nothing more is read; ends when everything is answered and sent */
    bool eof;         /* the peer has sent its last line */
    bool woken;       /* is in server->woken */
    const char *reason;
};

/* One request that has no answer yet, or whose answer waits for those before it. */
struct line_slot {
    TAILQ_ENTRY(line_slot) link;
    struct line_session *session;
    struct ack ack;
    bool waiting; /* `ack` is taken: an outcome will come from outside */
    bool done;
    bool submit; /* the outcome is an ack_result, else a reply */
    struct buf text;
};

/* Takes over the connected socket. `uid` is that of the peer of a unix socket: root and our own user are
 * admins there; -1 for TCP. Refuses over line.max_connections (answers ERR busy and closes). */
int line_session_open(struct line_server *s, int fd, const char *peer, long uid);

/* For handlers: the answer of a slot. */
void line_answer_ok(struct line_slot *slot, json_t *body); /* takes body */
void line_answer_err(struct line_slot *slot, const char *code, const char *message, const char *field,
                     bool retry);
/* Gives the slot an ack for a request that is answered later. CD_ELIMIT: too many in flight. */
int line_slot_wait(struct line_slot *slot) CD_MUSTUSE;
void line_slot_cancel(struct line_slot *slot); /* the request was not taken after all */

/* Outcomes from outside; stale ones are ignored (counted in M_ACK_STALE). */
void line_on_ack(void *server, struct ack a, const struct ack_result *r);
void line_on_reply(struct line_server *server, struct ack a, const struct reply *r);
