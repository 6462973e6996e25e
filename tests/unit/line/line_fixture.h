#pragma once
/* What the tests of the line channel share: a host that keeps what it is given and answers when the test says so, and clients over
 * socket pairs. For one test program each; everything is static, and a program need not use all of it. */
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "channels/line/line_session.h"
#include "channels/line/line_verbs.h"
#include "daemon/core/err.h"
#include "daemon/core/metrics.h"

#pragma GCC diagnostic ignored "-Wunused-function"

/* ---- a fake host ---- */

#define T_(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#define MAX_KEPT 400

static struct {
    struct event_base *base;
    struct config cfg;
    struct channel_host host;
    struct line_server server;
    struct envelope *envelopes[MAX_KEPT];
    size_t nenvelopes;
    struct kept {
        char verb[20], actor[40], desks[40];
        json_t *args;
        enum role role;
        struct ack slot;
    } requests[MAX_KEPT];
    size_t nrequests;
    bool full, local, tls; /* submits are not taken; what new clients are */
    struct feed_reader *readers[10];
    size_t nreaders, nresumed;
} T;

static int fake_submit(void *front CD_UNUSED, struct envelope *e)
{
    if (T.full)
        return CD_EAGAIN;
    assert_true(T.nenvelopes < MAX_KEPT);
    T.envelopes[T.nenvelopes++] = e;
    return 0;
}

static bool fake_ready(void *front CD_UNUSED, size_t bytes)
{
    return bytes < 1000000;
}

static void fake_request(void *front CD_UNUSED, const struct request *rq)
{
    assert_true(T.nrequests < MAX_KEPT);
    struct kept *k = &T.requests[T.nrequests++];
    snprintf(k->verb, sizeof k->verb, "%s", rq->verb);
    snprintf(k->actor, sizeof k->actor, "%s", rq->actor);
    snprintf(k->desks, sizeof k->desks, "%s", rq->desks && rq->desks->n ? rq->desks->v[0] : "");
    k->args = json_incref(rq->args);
    k->role = rq->role;
    k->slot = rq->slot;
}

static void fake_feed_add(void *front CD_UNUSED, struct feed_reader *r)
{
    assert_true(T.nreaders < ARRAY_LEN(T.readers));
    T.readers[T.nreaders++] = r;
}

static void fake_feed_resume(void *front CD_UNUSED, struct feed_reader *r)
{
    assert_true(r->paused);
    r->paused = false;
    T.nresumed++;
}

static void fake_feed_remove(void *front CD_UNUSED, struct feed_reader *r)
{
    size_t i = 0;
    while (i < T.nreaders && T.readers[i] != r)
        i++;
    assert_true(i < T.nreaders);
    T.readers[i] = T.readers[--T.nreaders];
}

static char care[] = "care", shop[] = "shop", country[] = "86", none[] = "", billing[] = "billing";
static char n1[] = "callcentre", n2[] = "wei", n3[] = "boss", t1[] = "secret-one", t2[] = "secret-two",
            t3[] = "secret-three";
static struct cfg_desk desks[] = {{.name = care, .phone_country = country},
                                  {.name = shop, .phone_country = none}};
static struct cfg_category categories[] = {{.name = billing, .team = none}};
static struct cfg_client clients[] = {{.name = n1, .token = t1, .role = CFG_ROLE_INTAKE, .desk = shop},
                                      {.name = n2, .token = t2, .role = CFG_ROLE_AGENT, .desk = none},
                                      {.name = n3, .token = t3, .role = CFG_ROLE_ADMIN, .desk = none}};

static enum gate_mode gate_is;

static enum gate_mode fake_gate(void *front CD_UNUSED)
{
    return gate_is;
}

static int setup(void **state CD_UNUSED)
{
    memset(&T, 0, sizeof T);
    T.base = event_base_new();
    T.cfg = (struct config){.desks = desks,
                            .ndesks = 2,
                            .categories = categories,
                            .ncategories = 1,
                            .clients = clients,
                            .nclients = 3,
                            .line_max_line_bytes = 65536,
                            .line_max_connections = 4,
                            .line_max_in_flight = 8,
                            .line_max_subscriptions = 2,
                            .line_tls_handshake_timeout_us = CD_MSEC(400),
                            .line_subscribe_heartbeat_us = CD_SEC(60),
                            .intake_tight_timeout_us = CD_MSEC(30),
                            .line_idle_timeout_us = CD_SEC(60)};
    for (size_t i = 0; i < ARRAY_LEN(clients); i++)
        sha256(clients[i].token, strlen(clients[i].token), clients[i].token_sha256);
    gate_is = GATE_NORMAL;
    T.host = (struct channel_host){
        .base = T.base, .cfg = &T.cfg, .submit = fake_submit, .ready = fake_ready, .request = fake_request, .gate = fake_gate,
        .feed_add = fake_feed_add, .feed_resume = fake_feed_resume, .feed_remove = fake_feed_remove};
    assert_int_equal(line_server_init(&T.server, &T.host), 0);
    return 0;
}

static int teardown(void **state CD_UNUSED)
{
    line_server_done(&T.server);
    for (size_t i = 0; i < T.nenvelopes; i++)
        envelope_free(&T.envelopes[i]);
    for (size_t i = 0; i < T.nrequests; i++)
        json_decref(T.requests[i].args);
    event_base_free(T.base);
    return 0;
}

static void turn(void)
{
    for (int i = 0; i < 20; i++)
        event_base_loop(T.base, EVLOOP_NONBLOCK);
}

/* ---- a client ---- */

static int client_open(long uid)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    (void)line_session_open(&T.server, fd[0], &(struct line_peer){.text = "test", .uid = uid, .local = T.local, .tls = T.tls});
    return fd[1];
}

static void say(int fd, const char *text)
{
    size_t n = strlen(text);
    for (size_t at = 0; at < n;) {
        ssize_t r = send(fd, text + at, n - at, MSG_NOSIGNAL);
        if (r > 0)
            at += (size_t)r;
        turn();
    }
}

/* All that has been answered; "!" at its end when the connection was closed. */
static const char *heard(int fd)
{
    static char text[4 << 20];
    size_t n = 0;
    for (;;) {
        turn();
        ssize_t r = recv(fd, text + n, sizeof text - 2 - n, 0);
        if (r <= 0) {
            if (r == 0)
                text[n++] = '!';
            break;
        }
        n += (size_t)r;
    }
    text[n] = '\0';
    return text;
}

static void expect(int fd, const char *send_this, const char *answer)
{
    say(fd, send_this);
    assert_string_equal(heard(fd), answer);
}

static void expect_code(int fd, const char *send_this, const char *code, const char *field)
{
    char begin[100], part[100];
    say(fd, send_this);
    const char *a = heard(fd);
    snprintf(begin, sizeof begin, "ERR {\"code\":\"%s\",", code);
    snprintf(part, sizeof part, "\"field\":\"%s\"", field ? field : "");
    if (strncmp(a, begin, strlen(begin)) != 0 || (field && !strstr(a, part)))
        fail_msg("sent %s wanted %s %s got %s", send_this, code, field ? field : "", a);
}

static void stored(size_t i, const char *ref)
{
    struct ack_result r = {
        .verdict = ACK_STORED, .outcome = OUT_NEW, .category = "billing", .priority = "high"};
    snprintf(r.ref, sizeof r.ref, "%s", ref);
    line_on_ack(&T.server, T.envelopes[i]->ack, &r);
}

#define AUTH_INTAKE "AUTH {\"token\":\"secret-one\"}\n"
#define AUTH_AGENT "AUTH {\"token\":\"secret-two\"}\n"
#define AUTHED_INTAKE "OK {\"client\":\"callcentre\",\"role\":\"intake\"}\n"
