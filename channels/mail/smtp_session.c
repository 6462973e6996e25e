/* A session: bytes in, lines and content out to the parsers, one write a turn. Reads go into the server's
 * shared buffer and are parsed there; only what cannot be used yet (part of a line, commands behind a message
 * that waits for its outcome) is copied to the session, up to a cap at which reading stops. Owned by the
 * server; see smtp.h for how a session ends. */
#include "channels/mail/smtp.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "daemon/core/err.h"
#include "daemon/core/metrics.h"
#include "daemon/net/tls_conn.h"

const char *smtp_state_name(enum smtp_state s)
{
    static const char *const names[] = {"START", "READY", "MAIL", "RCPT", "DATA", "CLOSED"};
    _Static_assert(ARRAY_LEN(names) == SMTP_STATE_COUNT, "a name for each state");
    return names[s];
}

static size_t input_cap(const struct smtp_session *s)
{
    return s->in.cap; /* what a reload makes of mail.max_command is for lines, not for the buffer */
}

static bool may_consume(const struct smtp_session *s)
{
    return s->state != SMTP_CLOSED && !s->ending && !s->starttls && !s->held && s->out.len == 0 && !smtp_answers_full(s);
}

static size_t take_line(struct smtp_session *s, const uint8_t *p, size_t n)
{
    struct smtp_line l;
    size_t max = s->srv->cfg->mail_max_command_bytes;
    size_t took = smtp_line_take(p, n, &l);
    if (!took) {
        if (!s->skip_line && n <= max)
            return 0; /* the rest is on its way */
        s->skip_line = true;
        return n;
    }
    s->progress = true;
    s->group_over = !s->esmtp; /* who has not said EHLO was not told that it may go on */
    if (s->skip_line || took > max) {
        s->skip_line = false;
        metrics_inc(M_SMTP_LIMIT_COMMAND);
        smtp_reply(s, "500 5.5.2 Line too long");
    } else {
        smtp_dispatch(s, &l);
    }
    if (took < n)
        smtp_check_turn(s);
    return took;
}

/* Handles as much of the input as the state allows; returns how much that was. */
static size_t consume(struct smtp_session *s, const uint8_t *p, size_t n)
{
    size_t used = 0;
    while (used < n && may_consume(s)) {
        size_t took =
            s->state == SMTP_DATA ? smtp_data_feed(s, p + used, n - used) : take_line(s, p + used, n - used);
        if (!took)
            break;
        used += took;
    }
    if (used < n && !s->full && smtp_answers_full(s)) {
        s->full = true;
        metrics_inc(M_SMTP_LIMIT_PIPELINED);
    }
    return s->ending || s->state == SMTP_CLOSED ? n : used;
}

void smtp_session_resume(struct smtp_session *s)
{
    if (s->in.len)
        buf_consume(&s->in, consume(s, s->in.data, s->in.len));
    if (s->in.len == 0)
        buf_free(&s->in);
    smtp_session_settle(s);
}

void smtp_session_resume_later(struct smtp_session *s)
{
    if (s->resuming || s->state == SMTP_CLOSED || (s->in.len == 0 && !s->eof))
        return;
    s->resuming = true;
    TAILQ_INSERT_TAIL(&s->srv->resume, s, resume);
    event_active(s->srv->resume_ev, EV_TIMEOUT, 0);
}

static void input(struct smtp_session *s, const uint8_t *p, size_t n)
{
    if (s->ungreeted) {
        smtp_cut_off(s, M_SMTP_EARLY, "early-talker");
        smtp_session_settle(s);
        return;
    }
    if (s->in.len) {
        buf_append(&s->in, p, n); /* read no more than fits */
        smtp_session_resume(s);
        return;
    }
    size_t used = consume(s, p, n);
    buf_append(&s->in, p + used, n - used);
    smtp_session_settle(s);
}

static void on_eof(struct smtp_session *s)
{
    event_del(&s->read_ev);
    s->eof = true;
    smtp_session_settle(s);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct smtp_session *s = arg;
    struct smtp_server *srv = s->srv;
    (void)fd;
    (void)what;
    if (smtp_tls_readable(s))
        return;
    size_t room = input_cap(s) - s->in.len;
    cd_assert(room > 0); /* full: adjust_reading() took the event away */
    ssize_t n = smtp_recv(s, srv->rbuf, CD_MIN(sizeof srv->rbuf, room));
    if (n > 0)
        input(s, srv->rbuf, (size_t)n);
    else if (n == 0)
        on_eof(s);
    else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
        smtp_close(s);
    smtp_tls_more(s);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct smtp_session *s = arg;
    (void)fd;
    (void)what;
    if (smtp_tls_writable(s))
        return;
    if (s->held) { /* it was TLS that wanted to write: with the rest, later */
        event_del(&s->write_ev);
        return;
    }
    smtp_flush_out(s);
    if (s->state != SMTP_CLOSED && s->out.len == 0)
        smtp_session_resume(s);
    smtp_tls_more(s);
}

void smtp_session_new(struct smtp_server *srv, int fd, const struct smtp_client *client)
{
    struct smtp_session *s = cd_alloc(sizeof *s);
    s->srv = srv;
    s->fd = fd;
    s->trusted = client->trusted;
    s->lmtp = client->lmtp;
    s->peer = client->peer;
    memcpy(s->peer_text, client->text, sizeof s->peer_text);
    buf_init(&s->in, SMTP_READ_BYTES + srv->cfg->mail_max_command_bytes); /* more than any line may have */
    buf_init(&s->out, srv->replies.cap);
    TAILQ_INIT(&s->pending);
    event_assign(&s->read_ev, srv->host->base, fd, EV_READ | EV_PERSIST, on_readable, s);
    event_assign(&s->write_ev, srv->host->base, fd, EV_WRITE | EV_PERSIST, on_writable, s);
    TAILQ_INSERT_TAIL(&srv->sessions, s, all);
    s->deadline = DEADLINE_COMMAND;
    TAILQ_INSERT_TAIL(&srv->timed[s->deadline], s, timed);
    srv->nsessions++;
    metrics_inc(M_SMTP_CONNECTIONS);
    metrics_set(M_SMTP_OPEN, (int64_t)srv->nsessions);
    smtp_stress_update(srv);
    event_add(&s->read_ev, NULL);
    if (client->tls) {
        smtp_tls_expect(s);
    } else {
        s->progress = true;
        smtp_greet(s);
    }
    smtp_session_settle(s);
}

/* Input that waits is bounded: at the cap reading stops until most of it is gone. */
static void adjust_reading(struct smtp_session *s)
{
    bool full = s->in.len >= input_cap(s);
    if (s->eof || full == s->paused || (s->paused && s->in.len > input_cap(s) / 2))
        return;
    s->paused = full;
    if (full)
        event_del(&s->read_ev);
    else
        event_add(&s->read_ev, NULL);
    smtp_tls_more(s);
}

/* Nothing more can come of it: all replies are written, no mail waits for its answer, and it has ended or its peer has. A peer
 * that closed while its mail waits may only be done writing: it is told the outcome if it still listens. */
static bool finished(const struct smtp_session *s)
{
    if (s->held)
        return s->eof && !s->npending;
    if (s->out.len || s->npending)
        return false;
    return s->ending || (s->eof && !s->resuming);
}

static enum smtp_deadline deadline_of(const struct smtp_session *s)
{
    if (s->npending) /* 354 too waits behind the answers: until then it is we who are waited for */
        return DEADLINE_OUTCOME;
    return s->state == SMTP_DATA && !s->ending ? DEADLINE_DATA : DEADLINE_COMMAND;
}

void smtp_session_settle(struct smtp_session *s)
{
    if (s->srv->draining && s->state != SMTP_DATA)
        smtp_reply_end(s, "421 4.3.2 Shutting down, try again later", "drain");
    if (s->starttls && !s->npending && !s->held && !s->out.len) /* what is owed in the clear is said in the clear */
        smtp_tls_begin(s);
    smtp_flush(s);
    if (s->state == SMTP_CLOSED)
        return;
    if (finished(s)) {
        smtp_close(s);
        return;
    }
    if (s->progress)
        smtp_deadline_set(s, deadline_of(s));
    s->progress = false;
    adjust_reading(s);
}

/* Mails that wait for their outcome are answered all the same, and before the 421. */
void smtp_session_expired(struct smtp_session *s)
{
    metrics_inc(M_SMTP_TIMEOUT);
    if (s->shaking) {
        metrics_inc(M_SMTP_TLS_TIMEOUT);
        smtp_tls_failed(s, "timeout");
        return;
    }
    smtp_reply_end(s, "421 4.4.2 Timeout", "timeout");
    smtp_message_drop(s);
    smtp_flush(s);
    if (s->npending && s->state != SMTP_CLOSED) {
        smtp_deadline_set(s, DEADLINE_OUTCOME);
        return;
    }
    if (s->state != SMTP_CLOSED && s->out.len) /* held until now */
        smtp_flush_out(s);
    smtp_close(s);
}

/* Bytes left unread make the kernel reset the connection, and the reset can overtake our last reply. */
static void drop_unread(struct smtp_session *s)
{
    shutdown(s->fd, SHUT_WR);
    for (unsigned i = 0; i < 8; i++)
        if (recv(s->fd, s->srv->rbuf, sizeof s->srv->rbuf, MSG_DONTWAIT) <= 0)
            return;
}

void smtp_close(struct smtp_session *s)
{
    struct smtp_server *srv = s->srv;
    if (s->state == SMTP_CLOSED)
        return;
    if (s->state == SMTP_DATA && !s->ending)
        smtp_told_refusal(s, "connection lost");
    smtp_message_drop(s);
    smtp_answers_drop(s);
    smtp_release(s);
    event_del(&s->read_ev);
    event_del(&s->write_ev);
    tls_conn_free(&s->tls);
    if (s->cut && !s->eof)
        drop_unread(s);
    close(s->fd);
    if (s->peer)
        smtp_peer_leave(srv, s->peer);
    if (s->resuming)
        TAILQ_REMOVE(&srv->resume, s, resume);
    TAILQ_REMOVE(&srv->timed[s->deadline], s, timed);
    TAILQ_REMOVE(&srv->sessions, s, all);
    TAILQ_INSERT_TAIL(&srv->dead, s, all);
    s->state = SMTP_CLOSED;
    srv->nsessions--;
    metrics_set(M_SMTP_OPEN, (int64_t)srv->nsessions);
    smtp_stress_update(srv);
    event_active(srv->sweep_ev, EV_TIMEOUT, 0);
}

void smtp_session_free(struct smtp_session *s)
{
    buf_free(&s->in);
    buf_free(&s->out);
    free(s);
}
