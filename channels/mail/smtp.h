#pragma once
/* Private to channels/mail/smtp_*.c and their tests: the receiving SMTP server. One thread, one loop.
 *
 * Ownership: the server owns every session; a session ends by smtp_close(), which gives back its descriptor,
 * slot, message and place in the counts at once, while its memory is freed by the server's sweep from the
 * loop, never under a caller's feet. A message belongs to its session until host->submit() took it; what
 * comes back is a slot, which may have gone stale. */
#include "channels/channel.h"
#include "channels/mail/smtp_parse.h"
#include "daemon/core/metrics.h"

#include <event2/event_struct.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define SMTP_READ_BYTES CD_KIB(64)       /* one read */
#define SMTP_REPLY_FLUSH_BYTES CD_KIB(8) /* replies gathered before a write is tried */
#define SMTP_REPLY_CAP CD_KIB(64)
#define SMTP_TRACE_BYTES CD_KIB(4) /* room for Return-Path and Received */
#define SMTP_HELO_SIZE 256
#define SMTP_PEER_UNIX "unix" /* the peer's address behind a unix socket */
#define SMTP_TIGHT_RATE CD_KIB(64) /* bytes of a message that buy a second more while the gate is tight */
#define SMTP_MAX_SLOTS (1u << 24)  /* more than mail.max_connections and mail.max_pipelined together come to in practice */

enum smtp_state {
    SMTP_START, /* greeted by us, no EHLO or HELO yet */
    SMTP_READY,
    SMTP_MAIL, /* MAIL accepted, no recipient yet */
    SMTP_RCPT,
    SMTP_DATA,   /* reading the content */
    SMTP_CLOSED, /* given up; freed by the sweep */
    SMTP_STATE_COUNT
};
const char *smtp_state_name(enum smtp_state s);

/* Each kind has one duration at a time, so that a list in order of setting is in order of expiry too. Under stress and while the gate
 * is tight the first three are short. OUTCOME is ours to keep: a session in it waits for us, and its mails have a deadline of their
 * own (smtp_answer.c). */
enum smtp_deadline { DEADLINE_COMMAND, DEADLINE_DATA, DEADLINE_HANDSHAKE, DEADLINE_OUTCOME, DEADLINE_COUNT };

struct smtp_server;
struct smtp_peer; /* the count of sessions from one address */

#define SMTP_HELD_BYTES CD_KIB(8) /* replies kept behind answers not given yet; over it no command is looked at */
#define SMTP_ANSWER_BYTES 128     /* the longest answer to a mail */
/* Two mails of as many recipients as mail.max_recipients may ever allow: it can change while answers wait. */
#define SMTP_REPLIES_CAP (SMTP_REPLY_CAP + 2 * 10000 * SMTP_ANSWER_BYTES)

/* What the log line of a transaction says that is not known any more when it is written. */
struct smtp_told {
    int64_t begun_us; /* monotonic, MAIL */
    unsigned nrcpt;   /* RCPT commands accepted */
    unsigned refused; /* commands of the transaction answered with 4xx or 5xx */
    size_t bytes;
    bool utf8;
    char tls[64], from[96], desks[96], reply[96]; /* reply: the last refusal */
};

/* An answer slot: a mail handed over whose answer has not been given. Answers go out in the order of the mails; what is said
 * after one is kept in `held` until it is given. The session's first is part of it, more are allocated. */
struct smtp_pending {
    struct smtp_session *session;
    bool used, waiting; /* waiting: it has a slot in srv->slots, its outcome is not known */
    struct ack ack;
    struct uuid id;
    int64_t since_us; /* monotonic, the hand-over */
    enum ack_verdict verdict;
    enum outcome outcome;
    char reason[40];
    struct smtp_told told;
    struct buf held;
    TAILQ_ENTRY(smtp_pending) queue, late;
};
TAILQ_HEAD(smtp_pendings, smtp_pending);

struct smtp_session {
    struct smtp_server *srv;
    int fd;
    enum smtp_state state;
    bool lmtp;      /* RFC 2033 */
    bool esmtp;     /* EHLO, not HELO */
    bool trusted;   /* per-address, per-session and junk caps do not apply */
    bool ending;    /* the last reply is given: close once it is written */
    bool cut;       /* ended by us, not by QUIT: the peer may be sending still */
    bool eof;       /* the peer sends nothing more */
    bool paused;    /* read_ev is off: input is at its cap */
    bool skip_line; /* inside a command line that was too long */
    bool progress;  /* something was completed: the deadline starts anew */
    bool resuming;  /* in the server's resume list */
    bool starttls;  /* asked for and granted: nothing more is looked at in the clear */
    bool shaking;   /* in the TLS handshake: nothing is read or written but by it */
    bool utf8;      /* SMTPUTF8 of this transaction */
    bool held;      /* what is to be said waits for hold_ev, and so does the input (smtp_limits.c) */
    bool ungreeted; /* held since the connect: whoever talks now talks early */
    bool group_over; /* the command just handled ends a group: what stands behind it came too early */
    unsigned errors, junk, busy, mails, unknown_recipients;
    struct event *hold_ev; /* while held */
    struct tls_conn *tls;  /* NULL in the clear, and until the first byte of a handshake */
    struct event read_ev, write_ev;
    bool full;      /* at mail.max_pipelined: counted once */
    struct buf in;        /* bytes not consumed yet: part of a line, or what waits behind mails not answered */
    struct buf out;       /* replies that the socket did not take */
    struct envelope *env; /* from MAIL until it is submitted or dropped */
    size_t trace_bytes;   /* of env->raw in front of the message */
    bool small_only;      /* begun while the gate was tight: a large one is refused at its end */
    size_t reading_bytes; /* counted in srv->reading_bytes and at the gate */
    uint64_t declared;    /* SIZE= */
    struct smtp_dots dots;
    struct smtp_content content;
    enum smtp_content_fault content_fault;
    struct smtp_pending first; /* slots of mails not answered yet */
    struct smtp_pendings pending;
    unsigned npending, nanswers; /* nanswers: lines that they will take */
    size_t held_bytes;
    struct smtp_told told; /* of the transaction in progress */
    char peer_text[INET6_ADDRSTRLEN];
    struct smtp_peer *peer; /* NULL when trusted */
    char helo[SMTP_HELO_SIZE];
    int64_t since_us; /* monotonic; when the deadline began */
    enum smtp_deadline deadline;
    TAILQ_ENTRY(smtp_session) all, timed, resume;
};
TAILQ_HEAD(smtp_sessions, smtp_session);

#define SMTP_MAX_LISTENERS 16
struct smtp_listener {
    struct smtp_server *srv;
    int fd;
    bool tls; /* from the first byte */
    bool lmtp;
    char *unix_path; /* to be removed at the end */
    struct event ev;
};

struct smtp_door; /* a proxy's connection before its header is whole */
TAILQ_HEAD(smtp_doors, smtp_door);

struct smtp_server {
    const struct channel_host *host;
    const struct config *cfg;
    struct slots *slots;
    struct smtp_listener listeners[SMTP_MAX_LISTENERS];
    size_t nlisteners;
    struct event *tick, *resume_ev, *sweep_ev, *accept_again;
    struct smtp_sessions sessions, dead, resume, timed[DEADLINE_COUNT];
    struct smtp_pendings waiting; /* of all sessions, in order of since_us */
    struct smtp_doors doors;
    size_t nsessions, ndoors;
    bool stress;
    struct smtp_peer **peers; /* hash table of chains */
    size_t npeers_mask;
    size_t reading_bytes; /* of messages being read, all sessions */
    bool draining;
    char *greeting, *lmtp_greeting; /* made once */
    struct buf replies;    /* of the session that is running; empty whenever none is */
    uint8_t rbuf[SMTP_READ_BYTES];
};

/* ---- smtp_server.c ---- */

/* Without mail.listen it has no listener. 0, or CD_ECONFIG / CD_EIO (logged, with what to do). */
int smtp_server_new(const struct channel_host *host, struct smtp_server **ret) CD_MUSTUSE;
/* Stops listening; idle sessions get 421 now, those in DATA or waiting for an outcome after its reply. */
void smtp_server_drain(struct smtp_server *srv);
/* srv->cfg holds other values. */
void smtp_server_reloaded(struct smtp_server *srv);
bool smtp_server_idle(const struct smtp_server *srv); /* no session is left */
void smtp_server_free(struct smtp_server **srv);
/* Sets the session's deadline: `kind` from now on. */
void smtp_deadline_set(struct smtp_session *s, enum smtp_deadline kind);

/* ---- smtp_stress.c: deadlines, and stress, which shortens them ---- */

void smtp_stress_update(struct smtp_server *srv); /* the number of sessions or the gate has changed */
void smtp_expire(struct smtp_server *srv, int64_t now_us); /* ends the sessions whose deadline has passed */
int64_t smtp_tick_us(const struct smtp_server *srv);       /* how often that is worth while */
/* Every connection is in use: ends the one that has been idle longest, if it does nothing. false: nobody is. */
bool smtp_make_room(struct smtp_server *srv);

/* ---- smtp_limits.c: what a session may do ---- */

/* The greeting, at once or after mail.greeting_delay; a client that has talked already is cut off. */
void smtp_greet(struct smtp_session *s);
/* Ends the session with 554 5.5.0 because bytes came before their turn. */
void smtp_cut_off(struct smtp_session *s, enum metric counter, const char *why);
/* Bytes stand behind a command: cut off if they had to wait for its answer (RFC 2920 3.1). */
void smtp_check_turn(struct smtp_session *s);
bool smtp_junk_allowed(struct smtp_session *s); /* counts one; false: the session was ended */
/* A refusal was said: delays it, or ends the session at the limit. */
void smtp_count_error(struct smtp_session *s);
void smtp_count_busy(struct smtp_session *s); /* the same of a 4xx for want of room */
void smtp_unknown_recipient(struct smtp_session *s, const char *line); /* replies, later and later */
void smtp_release(struct smtp_session *s);       /* not held any longer; nothing is written by it */
void smtp_content_check(struct smtp_session *s); /* of what was read by now */
const char *smtp_content_refusal(const struct smtp_session *s); /* NULL: none */

/* ---- smtp_listen.c, smtp_socket.c, smtp_peers.c ---- */

int smtp_listen_open(struct smtp_server *srv) CD_MUSTUSE;
void smtp_listen_close(struct smtp_server *srv);
/* Makes a session of a connection, or refuses it. `addr` is the client's, IPv4 mapped. Takes the descriptor. */
void smtp_admit(struct smtp_listener *l, int fd, const struct in6_addr *addr);
void smtp_address_text(const struct in6_addr *addr, char text[INET6_ADDRSTRLEN]);
/* A bound, listening socket; or CD_ECONFIG, CD_EIO with errno, and *ret_hint says what to do (static text). */
int smtp_socket_open(const struct listen_addr *a, const struct config *cfg, const char **ret_hint) CD_MUSTUSE;
uint16_t smtp_listen_port(const struct smtp_server *srv, size_t i); /* the bound port, 0 when there is none */
/* The count of sessions of one address (IPv6: of one /64). NULL when the address is at its cap. */
struct smtp_peer *smtp_peer_enter(struct smtp_server *srv, const struct in6_addr *addr) CD_MUSTUSE;
void smtp_peer_leave(struct smtp_server *srv, struct smtp_peer *p);
/* Counts a message that is being read: so many bytes of it before, so many now. */
void smtp_peer_read(struct smtp_peer *p, size_t before, size_t now);
/* Under its share of the intake's memory (mail.max_reading_share); one message of any size is. */
bool smtp_peer_within(const struct smtp_server *srv, const struct smtp_peer *p) CD_MUSTUSE;
void smtp_peers_new(struct smtp_server *srv);
void smtp_peers_free(struct smtp_server *srv);

/* ---- smtp_proxy.c ---- */

/* Waits for the PROXY header of a connection that `proxy` made. Takes the descriptor. */
void smtp_door_new(struct smtp_listener *l, int fd, const struct in6_addr *proxy);
void smtp_doors_expire(struct smtp_server *srv, int64_t now);
void smtp_doors_close(struct smtp_server *srv);

/* ---- smtp_session.c ---- */

/* Who is at the other end. */
struct smtp_client {
    char text[INET6_ADDRSTRLEN]; /* "unix" behind a unix socket */
    struct smtp_peer *peer;      /* counted already; NULL for trusted clients */
    bool trusted, lmtp, tls;     /* tls: from the first byte */
};
/* Takes the connected, non-blocking socket, greets, with TLS after the handshake. */
void smtp_session_new(struct smtp_server *srv, int fd, const struct smtp_client *client);
/* Writes what was gathered; then closes, resumes or waits as the state asks. The last thing each callback
 * does. */
void smtp_session_settle(struct smtp_session *s);
/* Goes on with buffered input from the loop. */
void smtp_session_resume_later(struct smtp_session *s);
void smtp_session_resume(struct smtp_session *s);
/* Gives everything back now; the memory goes with the next sweep. Twice is harmless. */
void smtp_close(struct smtp_session *s);
void smtp_session_expired(struct smtp_session *s); /* its deadline has passed */
void smtp_session_free(struct smtp_session *s);    /* the sweep, only */

/* ---- smtp_reply.c ---- */

/* Gathers one reply line, given without CR LF. 5xx counts as an error of the session, at the limit it ends
 * with 421. */
void smtp_reply(struct smtp_session *s, const char *line);
void smtp_replyf(struct smtp_session *s, const char *fmt, ...) CD_PRINTF(2, 3);
/* The answer to a mail: `times` times the same line, counted once. */
void smtp_reply_times(struct smtp_session *s, const char *line, unsigned times);
void smtp_count_error(struct smtp_session *s); /* one more 5xx */
/* Complete lines with their ends; not counted. */
void smtp_reply_raw(struct smtp_session *s, const char *text);
/* The last reply of the session: "421 4.x.x …"; `why` goes to the log. */
void smtp_reply_end(struct smtp_session *s, const char *line, const char *why);
void smtp_flush(struct smtp_session *s);
void smtp_flush_out(struct smtp_session *s); /* the socket can be written again */

/* ---- smtp_tls.c: what the bytes go through, and how TLS begins ---- */

/* As recv(2) and send(2) with a non-blocking socket. */
ssize_t smtp_recv(struct smtp_session *s, void *p, size_t n) CD_MUSTUSE;
ssize_t smtp_send(struct smtp_session *s, const void *p, size_t n) CD_MUSTUSE;
/* Sees to it that what TLS has read already is not forgotten, and that it may write what reading asks for. */
void smtp_tls_more(struct smtp_session *s);
/* The socket can be read or written: true when TLS itself needed that, and nothing else is to be done. */
bool smtp_tls_readable(struct smtp_session *s);
bool smtp_tls_writable(struct smtp_session *s);
bool smtp_tls_offered(const struct smtp_session *s); /* STARTTLS is worth a line in the answer to EHLO */
void smtp_tls_command(struct smtp_session *s);       /* STARTTLS */
/* After STARTTLS was granted, and once per turn: 220 and the handshake, or 554 when something stood behind it. */
void smtp_tls_begin(struct smtp_session *s);
void smtp_tls_expect(struct smtp_session *s); /* the next byte belongs to a handshake */
void smtp_tls_failed(struct smtp_session *s, const char *why); char *smtp_tls_text(const struct smtp_session *s); /* for the envelope; NULL without TLS */

/* ---- smtp_verbs.c: the only dispatch ---- */

void smtp_dispatch(struct smtp_session *s, const struct smtp_line *l);
size_t smtp_verb_count(void);
const char *smtp_verb_name(size_t i);

/* ---- smtp_offer.c ---- */

void smtp_offer(struct smtp_session *s); /* the answer to EHLO and LHLO */
const char *smtp_protocol(const struct smtp_session *s, bool utf8); /* the word behind "with" in Received, RFC 3848, 6531 */

/* ---- smtp_data.c ---- */

/* The gate is tight and the message large. Counted. */
bool smtp_too_large_now(const struct smtp_session *s, uint64_t bytes);
/* "4xx …" for want of room or of a durable place: counted as that. */
void smtp_reply_busy(struct smtp_session *s, const char *line);
void smtp_data_begin(struct smtp_session *s); /* after DATA: gate, trace fields, 354 */
/* Content; returns how much of p was taken, all of it unless the message ended. */
size_t smtp_data_feed(struct smtp_session *s, const uint8_t *p, size_t n);
/* Forgets the transaction's message; when something of it was refused the log says so. */
void smtp_message_drop(struct smtp_session *s);

/* ---- smtp_answer.c: answers to mails, in order ---- */

/* Lines that answer a mail: one, or in LMTP one for each RCPT that was accepted. */
unsigned smtp_answer_lines(const struct smtp_session *s, const struct smtp_told *t);
/* As many mails wait for their outcome as one session may have: nothing more is looked at. */
bool smtp_answers_full(const struct smtp_session *s);
/* Takes an answer slot and gives the session's message to the front. 0, or CD_ELIMIT, CD_EAGAIN: the message is still the
 * session's. */
int smtp_hand_over(struct smtp_session *s) CD_MUSTUSE;
void smtp_on_ack(void *server, struct ack a, const struct ack_result *r);
void smtp_answers_expire(struct smtp_server *srv, int64_t now);
/* Gives all slots back without an answer. */
void smtp_answers_drop(struct smtp_session *s);

/* ---- smtp_log.c: one line for each transaction ---- */

void smtp_told_begin(struct smtp_session *s);
void smtp_told_refusal(struct smtp_session *s, const char *line); /* a 4xx or 5xx inside it */
/* A transaction that was begun and brought nothing, or one that was refused at MAIL (`from`: what was said there). */
void smtp_log_refused(struct smtp_session *s, const char *from);
void smtp_log_answered(const struct smtp_pending *p, const char *line);
void smtp_log_unanswered(const struct smtp_pending *p); /* its session ends before the answer */
