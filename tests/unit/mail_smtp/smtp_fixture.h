#pragma once
/* What the SMTP tests share: a front that keeps what it is given and answers when the test says so, a server
 * with small limits, and clients over socket pairs. For one test program each; everything is static. */
#include "channels/mail/smtp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

#include <cmocka.h>

/* ---- a front that keeps what it is given ---- */

#define MAX_GOT 64
static struct {
    struct envelope *got[MAX_GOT];
    size_t n;
    int submit_result;
    bool not_ready;
    enum gate_mode mode;
    size_t asked_bytes;
} front;

CD_UNUSED static int fake_submit(void *f, struct envelope *e)
{
    (void)f;
    if (front.submit_result < 0)
        return front.submit_result;
    assert_true(front.n < MAX_GOT);
    front.got[front.n++] = e;
    return 0;
}

CD_UNUSED static bool fake_ready(void *f, size_t bytes)
{
    (void)f;
    front.asked_bytes = bytes;
    return !front.not_ready;
}

CD_UNUSED static enum gate_mode fake_gate(void *f)
{
    (void)f;
    return front.mode;
}

CD_UNUSED static void resolve(size_t i, enum ack_verdict v)
{
    struct ack_result r = {
        .verdict = v, .envelope_id = front.got[i]->id, .reason = v == ACK_STORED ? NULL : "busy"};
    ack_resolve(front.got[i]->ack, &r);
}

/* ---- a server ---- */

static struct event_base *base;
static struct config cfg;
static struct channel_host host;
static struct smtp_server *srv;
static char heard[1 << 20];

static char *addresses_care[] = {(char *)"care@example.com"};
static char *addresses_shop[] = {(char *)"shop@example.com", (char *)"laden@shop.example"};
static struct cfg_desk desks[] = {
    {.name = (char *)"care", .addresses = {addresses_care, 1}},
    {.name = (char *)"shop", .addresses = {addresses_shop, 2}},
};

CD_UNUSED static int setup(void **state)
{
    (void)state;
    log_set_level(LOG_L_ERROR);
    cfg = (struct config){
        .hostname = (char *)"mx.example.com",
        .intake_max_bytes = CD_MIB(64),
        .intake_large_bytes = 50000,
        .intake_tight_timeout_us = CD_SEC(10),
        .mail_max_message_bytes = 100000,
        .mail_max_recipients = 3,
        .mail_max_connections = 50,
        .mail_max_connections_per_address = 50,
        .mail_max_errors = 10,
        .mail_max_junk_commands = 5,
        .mail_max_command_bytes = 512,
        .mail_max_pipelined = 4,
        .mail_proxy_timeout_us = CD_SEC(60),
        .mail_lmtp_group = (char *)"",
        .mail_lmtp_access = 0600,
        .mail_tag_separator = (char *)"+",
        .mail_postmaster_desk = (char *)"",
        .mail_max_unknown_recipients = 20,
        .mail_errors_before_delay = 5,
        .mail_max_header_bytes = 50000,
        .mail_max_header_fields = 100,
        .mail_max_line_bytes = 80000,
        .mail_max_hops = 50,
        .mail_ipv6_prefix = 64,
        .mail_stress_timeout_us = CD_SEC(10),
        .mail_stress_max_errors = 10,
        .mail_stress_max_junk_commands = 5,
        .mail_command_timeout_us = CD_SEC(60),
        .mail_data_timeout_us = CD_SEC(60),
        .mail_tls_handshake_timeout_us = CD_SEC(60),
        .desks = desks,
        .ndesks = ARRAY_LEN(desks),
    };
    memset(&front, 0, sizeof front);
    base = event_base_new();
    host = (struct channel_host){.base = base, .cfg = &cfg, .submit = fake_submit, .ready = fake_ready, .gate = fake_gate};
    return 0;
}

CD_UNUSED static void start(void)
{
    gate_init(&(struct gate_limits){.max_items = SIZE_MAX, .max_bytes = cfg.intake_max_bytes, .large_bytes = SIZE_MAX});
    assert_int_equal(smtp_server_new(&host, &srv), 0);
}

CD_UNUSED static void stop(void)
{
    smtp_server_free(&srv);
    for (size_t i = 0; i < front.n; i++)
        envelope_free(&front.got[i]);
    front.n = 0;
}

CD_UNUSED static int teardown(void **state)
{
    (void)state;
    stop();
    event_base_free(base);
    return 0;
}

CD_UNUSED static void turn(void)
{
    for (int i = 0; i < 4; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
}

CD_UNUSED static void run_ms(int ms)
{
    int64_t end = clock_mono_us() + CD_MSEC(ms);
    while (clock_mono_us() < end) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
}

CD_UNUSED static int session_of(int type, const struct smtp_client *client)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    smtp_session_new(srv, fd[0], client);
    return fd[1];
}

CD_UNUSED static int session(bool trusted)
{
    return session_of(SOCK_STREAM, &(struct smtp_client){.text = "192.0.2.7", .trusted = trusted});
}

CD_UNUSED static int lmtp_session(void)
{
    return session_of(SOCK_STREAM, &(struct smtp_client){.text = "192.0.2.7", .trusted = true, .lmtp = true});
}

CD_UNUSED static struct smtp_session *last_session(void)
{
    return TAILQ_LAST(&srv->sessions, smtp_sessions);
}

CD_UNUSED static void say_bytes(int fd, const char *p, size_t n)
{
    assert_int_equal(send(fd, p, n, MSG_NOSIGNAL), (ssize_t)n);
    turn();
}

CD_UNUSED static void say(int fd, const char *text)
{
    say_bytes(fd, text, strlen(text));
}

/* All that has come since; "" when nothing. *ret_closed (may be NULL): the server closed the connection. */
CD_UNUSED static const char *hear_close(int fd, bool *ret_closed)
{
    size_t n = 0;
    ssize_t r;
    turn();
    while ((r = recv(fd, heard + n, sizeof heard - 1 - n, MSG_DONTWAIT)) > 0) {
        n += (size_t)r;
        turn();
    }
    heard[n] = '\0';
    if (ret_closed)
        *ret_closed = r == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
    return heard;
}

CD_UNUSED static const char *hear(int fd)
{
    return hear_close(fd, NULL);
}

CD_UNUSED static bool closed(int fd)
{
    bool yes;
    hear_close(fd, &yes);
    return yes;
}

CD_UNUSED static void expect(int fd, const char *text, const char *answer)
{
    say(fd, text);
    assert_string_equal(hear(fd), answer);
}

CD_UNUSED static void expect_start(int fd, const char *text, const char *answer)
{
    say(fd, text);
    if (strncmp(hear(fd), answer, strlen(answer)) != 0)
        fail_msg("said %s, wanted %s, heard %s", text, answer, heard);
}

CD_UNUSED static int greeted(bool trusted)
{
    int fd = session(trusted);
    assert_string_equal(hear(fd), "220 mx.example.com ESMTP complaintd\r\n");
    expect_start(fd, "EHLO client.example\r\n", "250-mx.example.com\r\n");
    return fd;
}

#define MESSAGE "From: <c@x.example>\r\nMessage-ID: <m1@x.example>\r\nSubject: Hi\r\n\r\nText\r\n"
#define TO_RCPT "MAIL FROM:<c@x.example>\r\nRCPT TO:<care@example.com>\r\n"

/* A client whose mail waits for its outcome; the session is in READY. */
CD_UNUSED static int in_wait(void)
{
    int fd = greeted(false);
    say(fd, TO_RCPT "DATA\r\n");
    hear(fd);
    say(fd, MESSAGE ".\r\n");
    return fd;
}

CD_UNUSED static void go_to(int fd, enum smtp_state state, const char *hello)
{
    const char *const way[] = {"", hello, "MAIL FROM:<c@x.example>\r\n", "RCPT TO:<care@example.com>\r\n", "DATA\r\n"};
    for (unsigned i = 0; i <= (unsigned)state; i++)
        say(fd, way[i]);
    hear(fd);
    assert_int_equal(last_session()->state, state);
}

/* A client whose session is in this state. */
CD_UNUSED static int session_in(enum smtp_state state)
{
    int fd = session(false);
    go_to(fd, state, "EHLO c\r\n");
    return fd;
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
