/* The client side of the line protocol. Reads through a buffer with a cap, so that a faulty server cannot
 * take all memory. Faults are told on standard error, once. */
#include "ctl/client.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/str.h"

#define ANSWER_CAP CD_MIB(80)

struct client {
    struct transport *transport;
    struct buf in;
    size_t taken; /* bytes of `in` that are done with */
};

/* The next line without its LF, valid until the next call; NULL at the end. */
static char *next_line(struct client *c)
{
    buf_consume(&c->in, c->taken);
    c->taken = 0;
    size_t looked = 0;
    for (;;) {
        uint8_t *lf = c->in.len > looked ? memchr(c->in.data + looked, '\n', c->in.len - looked) : NULL;
        if (lf) {
            *lf = '\0';
            c->taken = (size_t)(lf - c->in.data) + 1;
            return (char *)c->in.data;
        }
        looked = c->in.len;
        if (buf_reserve(&c->in, CD_KIB(64)) < 0)
            return NULL;
        ssize_t r = transport_recv(c->transport, c->in.data + c->in.len, CD_KIB(64));
        if (r <= 0)
            return NULL;
        c->in.len += (size_t)r;
        c->in.data[c->in.len] = '\0';
    }
}

static int no_answer(void)
{
    fprintf(stderr, "complaintctl: no whole answer came from the daemon: whether it was done is not known, "
                    "look before repeating\n");
    return EXIT_AGAIN;
}

int client_stream(struct client *c, const char *verb, const json_t *args, client_row on_row, void *arg, struct answer *ret)
{
    char *json CD_CLEANUP_FREE = json_dumps(args, JSON_COMPACT);
    char *line CD_CLEANUP_FREE = cd_asprintf("%s %s\n", verb, json ? json : "{}");

    *ret = (struct answer){.rows = json_array()};
    /* A daemon that refuses the connection answers before it reads, so a failed send may still have an
     * answer. */
    (void)transport_send(c->transport, line, strlen(line));
    for (char *p; (p = next_line(c));) {
        bool ok = str_starts(p, "OK "), row = str_starts(p, "ROW "), err = str_starts(p, "ERR ");
        json_t *v = ok || row || err ? json_loads(strchr(p, ' ') + 1, 0, NULL) : NULL;
        if (!v)
            break;
        if (row) {
            bool go_on = on_row(arg, v);
            json_decref(v);
            if (go_on)
                continue;
            answer_free(ret);
            return EXIT_REFUSED;
        }
        ret->ok = ok;
        ret->body = v;
        return EXIT_DONE;
    }
    answer_free(ret);
    return no_answer();
}

static bool keep_row(void *arg, const json_t *row)
{
    struct answer *a = arg;
    json_array_append(a->rows, (json_t *)row);
    return true;
}

int client_call(struct client *c, const char *verb, const json_t *args, struct answer *ret)
{
    return client_stream(c, verb, args, keep_row, ret, ret);
}

/* ---- life ---- */

/* STARTTLS: until the server's OK nothing else is said, and what it says behind it is not believed. */
static bool start_tls(struct client *c, const struct address *a)
{
    json_t *none = json_object();
    struct answer answer = {.ok = false};
    bool ok = client_call(c, "STARTTLS", none, &answer) == EXIT_DONE && answer.ok;
    json_decref(none);
    answer_free(&answer);
    if (!ok)
        fprintf(stderr, "complaintctl: the server offers no TLS here\n");
    else if (c->in.len > c->taken)
        fprintf(stderr, "complaintctl: something stood behind the answer to STARTTLS: somebody is between the server and here\n");
    return ok && c->in.len == c->taken && transport_secure(c->transport, a);
}

struct client *client_open(const struct address *a, int timeout_s)
{
    struct transport *t = transport_open(a, timeout_s);
    if (!t)
        return NULL;
    struct client *c = cd_alloc(sizeof *c);
    c->transport = t;
    buf_init(&c->in, ANSWER_CAP);
    if (a->tls == ADDRESS_STARTTLS && !start_tls(c, a))
        client_close(&c);
    return c;
}

void client_close(struct client **cp)
{
    struct client *c = *cp;
    if (!c)
        return;
    transport_close(&c->transport);
    buf_free(&c->in);
    free(c);
    *cp = NULL;
}

void answer_free(struct answer *a)
{
    json_decref(a->rows);
    json_decref(a->body);
    *a = (struct answer){.ok = false};
}
