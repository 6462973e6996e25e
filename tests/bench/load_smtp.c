/* SMTP: one command at a time (or MAIL, RCPT and DATA in one go with --pipelining), over kept connections or
 * a new one for each mail. A mail answered with other than 2xx counts as refused, one whose connection broke
 * as an error; neither is sent again. */
#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "tests/bench/load.h"
#include "tests/bench/sock.h"

enum phase { GREETING, HELLO, READY, MAIL, RCPT, DATA, BODY, RESET, BYE };

struct smtp_conn {
    struct load_conn c; /* first */
    struct sock s;
    enum phase phase;
    bool busy; /* `job` is under way */
    struct load_job job;
    struct text_item item;
    struct buf out;
};

static void say(struct smtp_conn *k, enum phase next, const char *line)
{
    k->phase = next;
    sock_send(&k->s, line, strlen(line));
}

static void answered(struct smtp_conn *k, enum report_result r, const char *text)
{
    if (!k->busy)
        return;
    k->busy = false;
    load_answered(&k->c, &k->job, r, text);
}

static void key(const struct load_options *o, uint64_t i, struct text_item *ret)
{
    text_item(&o->text, "load.", i, ret);
    snprintf(ret->key + strlen(ret->key), sizeof ret->key - strlen(ret->key), "@load.example");
}

static void begin_mail(struct smtp_conn *k)
{
    const struct load_options *o = &k->c.load->o;
    key(o, k->job.i, &k->item);
    buf_reset(&k->out);
    buf_printf(&k->out, "MAIL FROM:<%s>\r\n", k->item.sender);
    if (o->pipelining)
        buf_printf(&k->out, "RCPT TO:<%s>\r\nDATA\r\n", o->rcpt);
    say(k, MAIL, buf_str(&k->out));
}

static void send_body(struct smtp_conn *k)
{
    buf_reset(&k->out);
    text_mail(&k->c.load->o.text, k->job.i, &k->item, &k->out);
    buf_append_str(&k->out, ".\r\n");
    k->phase = BODY;
    sock_send(&k->s, k->out.data, k->out.len);
}

static void next(struct smtp_conn *k)
{
    k->phase = READY;
    if (!k->busy && load_take(&k->c, &k->job))
        k->busy = true;
    if (k->busy)
        begin_mail(k);
}

static void open_conn(struct smtp_conn *k)
{
    k->phase = GREETING;
    if (sock_open(&k->s, &k->c.load->o.peer) < 0) {
        answered(k, REPORT_ERROR, "connect");
        load_later(&k->c);
    }
}

/* Also the start of a connection, and its next try. */
static void wake(struct load_conn *c)
{
    struct smtp_conn *k = (struct smtp_conn *)c;
    if (k->s.fd >= 0) {
        if (k->phase == READY)
            next(k);
        return;
    }
    if (c->load->o.new_each && !k->busy && !load_take(c, &k->job))
        return;
    k->busy = k->busy || c->load->o.new_each;
    open_conn(k);
}

static void refused(struct smtp_conn *k, const char *line)
{
    bool shut = strncmp(line, "421", 3) == 0;
    answered(k, REPORT_REFUSED, line);
    if (shut) {
        sock_close(&k->s);
        load_later(&k->c);
    } else if (k->c.load->o.new_each || k->phase < READY) {
        say(k, BYE, "QUIT\r\n");
    } else {
        say(k, RESET, "RSET\r\n");
    }
}

static void done(struct smtp_conn *k)
{
    answered(k, REPORT_ACCEPTED, NULL);
    if (k->c.load->o.new_each)
        say(k, BYE, "QUIT\r\n");
    else
        next(k);
}

static void step(struct smtp_conn *k)
{
    const struct load_options *o = &k->c.load->o;
    char line[300];
    switch (k->phase) {
    case GREETING:
        say(k, HELLO, "EHLO load.example\r\n");
        return;
    case HELLO:
    case RESET:
        next(k);
        return;
    case MAIL:
        k->phase = RCPT;
        if (!o->pipelining) {
            snprintf(line, sizeof line, "RCPT TO:<%s>\r\n", o->rcpt);
            say(k, RCPT, line);
        }
        return;
    case RCPT:
        k->phase = DATA;
        if (!o->pipelining)
            say(k, DATA, "DATA\r\n");
        return;
    case DATA:
        send_body(k);
        return;
    case BODY:
        done(k);
        return;
    case BYE:
        sock_close(&k->s);
        wake(&k->c);
        return;
    case READY: /* nothing was asked: 421 comes here */
        return;
    }
}

static void on_line(struct sock *s, const char *line, size_t n)
{
    struct smtp_conn *k = (struct smtp_conn *)((char *)s - offsetof(struct smtp_conn, s));
    if (n < 3 || line[3] == '-')
        return;
    if (line[0] == '2' || (line[0] == '3' && k->phase == DATA))
        step(k);
    else
        refused(k, line);
}

static void on_close(struct sock *s, const char *why)
{
    struct smtp_conn *k = (struct smtp_conn *)((char *)s - offsetof(struct smtp_conn, s));
    bool expected = k->phase == BYE;
    answered(k, REPORT_ERROR, why);
    if (expected)
        wake(&k->c);
    else
        load_later(&k->c);
}

static struct load_conn *start(struct load *l)
{
    struct smtp_conn *k = cd_alloc(sizeof *k);
    k->c.load = l;
    k->s = (struct sock){.base = l->base, .fd = -1, .on_line = on_line, .on_close = on_close};
    buf_init(&k->out, CD_MIB(64));
    wake(&k->c);
    return &k->c;
}

const struct load_mode load_smtp = {"smtp", "mail", start, wake, key};
