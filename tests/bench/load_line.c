/* The line protocol: AUTH once a connection, then SUBMITs with up to `window` of them unanswered. Answers
 * come in the order of the requests. OK is accepted, ERR is refused. */
#include <stdio.h>
#include <string.h>

#include "tests/bench/load.h"
#include "tests/bench/sock.h"

struct line_conn {
    struct load_conn c; /* first */
    struct sock s;
    bool ready;            /* AUTH was answered */
    struct load_job *jobs; /* a ring of `window` */
    unsigned first, open;
    struct buf text, out;
};

static void key(const struct load_options *o, uint64_t i, struct text_item *ret)
{
    text_item(&o->text, "load-", i, ret);
}

static void add_submit(struct line_conn *k, const struct load_job *job)
{
    const struct text *t = &k->c.load->o.text;
    struct text_item item;
    key(&k->c.load->o, job->i, &item);
    buf_reset(&k->text);
    text_plain(t, job->i, &item, t->size, &k->text);
    buf_printf(&k->out, "SUBMIT {\"key\":\"%s\",\"channel\":\"phone\",", item.key);
    text_json_members(&item, buf_str(&k->text), &k->out);
    buf_append_str(&k->out, "}\n");
}

static void fill(struct line_conn *k)
{
    unsigned window = k->c.load->o.window;
    buf_reset(&k->out);
    while (k->ready && k->open < window) {
        struct load_job *job = &k->jobs[(k->first + k->open) % window];
        if (!load_take(&k->c, job))
            break;
        k->open++;
        add_submit(k, job);
    }
    if (k->out.len)
        sock_send(&k->s, k->out.data, k->out.len);
}

static void wake(struct load_conn *c)
{
    struct line_conn *k = (struct line_conn *)c;
    if (k->s.fd >= 0) {
        fill(k);
        return;
    }
    if (sock_open(&k->s, &c->load->o.peer) < 0) {
        load_later(c);
        return;
    }
    buf_reset(&k->out);
    buf_printf(&k->out, "AUTH {\"token\":\"%s\"}\n", c->load->o.token);
    sock_send(&k->s, k->out.data, k->out.len);
}

static void on_line(struct sock *s, const char *line, size_t n)
{
    struct line_conn *k = (struct line_conn *)((char *)s - offsetof(struct line_conn, s));
    bool ok = n >= 2 && strncmp(line, "OK", 2) == 0;
    if (!k->ready) {
        if (!ok) {
            fprintf(stderr, "complaint-load: AUTH: %s\n", line);
            exit(2);
        }
        k->ready = true;
        return;
    }
    if (!k->open)
        return;
    struct load_job job = k->jobs[k->first];
    k->first = (k->first + 1) % k->c.load->o.window;
    k->open--;
    load_answered(&k->c, &job, ok ? REPORT_ACCEPTED : REPORT_REFUSED, line);
}

static void on_pause(struct sock *s)
{
    fill((struct line_conn *)((char *)s - offsetof(struct line_conn, s)));
}

static void on_close(struct sock *s, const char *why)
{
    struct line_conn *k = (struct line_conn *)((char *)s - offsetof(struct line_conn, s));
    k->ready = false;
    while (k->open) {
        load_answered(&k->c, &k->jobs[k->first], REPORT_ERROR, why);
        k->first = (k->first + 1) % k->c.load->o.window;
        k->open--;
    }
    load_later(&k->c);
}

static struct load_conn *start(struct load *l)
{
    struct line_conn *k = cd_alloc(sizeof *k);
    k->c.load = l;
    k->s = (struct sock){
        .base = l->base, .fd = -1, .on_line = on_line, .on_pause = on_pause, .on_close = on_close};
    k->jobs = cd_alloc(l->o.window * sizeof *k->jobs);
    buf_init(&k->text, CD_MIB(1));
    buf_init(&k->out, CD_MIB(64));
    wake(&k->c);
    return &k->c;
}

const struct load_mode load_line = {"line", "line", start, wake, key};
