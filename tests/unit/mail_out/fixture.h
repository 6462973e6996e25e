#pragma once
/* The mail workers against a real relay (sink.py), of the test's own. The workers are the test program itself, started with
 * --worker=mail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channels/mail/mail.h"
#include "channels/mail/out_wire.h"
#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/metrics.h"

#define SENDS_MAX 64

static struct {
    struct event_base *base;
    struct config cfg;
    struct channel_host host;
    struct mail_out *out;
    char dir[64], home[80], ca[80];
    pid_t sink;
    int sink_stdin;
    unsigned sent, reported;
    struct send_result results[SENDS_MAX]; /* by the first byte of the id */
    bool known[SENDS_MAX];
    bool resend; /* send another one from inside the outcome */
} t;

static inline void send_to(const char *recipient);

static inline void on_send_done(void *front, const struct uuid *id, const struct send_result *r)
{
    (void)front;
    assert_true(id->b[0] < SENDS_MAX);
    assert_false(t.known[id->b[0]]); /* once each */
    t.known[id->b[0]] = true;
    t.results[id->b[0]] = *r;
    t.reported++;
    if (t.resend) {
        t.resend = false;
        send_to("again@x.example");
    }
}

/* ---- the sink ---- */

static inline void sink_start(const char *mode)
{
    int in[2], out[2];
    char port[16] = "";

    assert_int_equal(pipe(in) | pipe(out), 0);
    t.sink = fork();
    if (t.sink == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        for (int fd = 3; fd < 64; fd++)
            close(fd);
        execl("/usr/bin/python3", "python3", CD_SOURCE_DIR "/tests/unit/mail_out/sink.py", mode, t.dir, NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    t.sink_stdin = in[1];
    for (size_t n = 0; n < sizeof port - 1 && !strchr(port, '\n'); n++)
        assert_int_equal(read(out[0], port + n, 1), 1);
    close(out[0]);
    t.cfg.mail_relay_port = strtoul(port, NULL, 10);
}

static inline void sink_stop(void)
{
    if (t.sink <= 0)
        return;
    close(t.sink_stdin);
    kill(t.sink, SIGKILL);
    waitpid(t.sink, NULL, 0);
    t.sink = 0;
}

/* The message that the sink kept as number `n`, its envelope in the first line; free it. */
static inline char *sink_mail(int n)
{
    CD_CLEANUP_FREE char *path = cd_asprintf("%s/%d.eml", t.dir, n);
    FILE *f = fopen(path, "r");
    char *text = cd_alloc(CD_KIB(64));

    if (f) {
        text[fread(text, 1, CD_KIB(64) - 1, f)] = '\0';
        fclose(f);
    }
    return text;
}

/* ---- fixture ---- */

static inline int set_up(void **state)
{
    (void)state;
    memset(&t, 0, sizeof t);
    signal(SIGPIPE, SIG_IGN);
    snprintf(t.dir, sizeof t.dir, "/tmp/cd-test-esmtp-XXXXXX");
    assert_non_null(mkdtemp(t.dir));
    snprintf(t.ca, sizeof t.ca, "%s/cert.pem", t.dir);
    t.base = event_base_new();
    t.cfg = (struct config){.hostname = (char *)"complaints.example.com",
                            .instance = (char *)"main",
                            .state_dir = t.dir,
                            .mail_from = (char *)"complaints@example.com",
                            .mail_from_name = (char *)"Customer care",
                            .mail_relay_host = (char *)"127.0.0.1",
                            .mail_relay_tls = (char *)"none",
                            .mail_relay_user = (char *)"",
                            .mail_relay_password = (char *)"",
                            .mail_relay_ca_file = (char *)"",
                            .mail_relay_batch = OUT_BATCH_MAX,
                            .mail_relay_down_after = 100,
                            .mail_relay_retry_us = CD_SEC(30),
                            .mail_workers = 1,
                            .mail_send_timeout_us = CD_SEC(12)};
    t.host = (struct channel_host){.base = t.base, .cfg = &t.cfg, .send_done = on_send_done};
    return 0;
}

static inline int tear_down(void **state)
{
    DIR *d = opendir(t.dir);
    struct dirent *e;

    (void)state;
    mail_out_stop(&t.out);
    sink_stop();
    while (d && (e = readdir(d))) {
        CD_CLEANUP_FREE char *path = cd_asprintf("%s/%s", t.dir, e->d_name);
        unlink(path);
    }
    closedir(d);
    rmdir(t.dir);
    event_base_free(t.base);
    return 0;
}

static inline void start(const char *mode)
{
    sink_start(mode);
    assert_int_equal(mail_out_start(&t.host, &t.out), 0);
}

static inline int try_send(const char *recipient, bool automatic)
{
    char key[32];
    struct outgoing m = {.id = {.b = {(uint8_t)t.sent}},
                         .recipient = recipient,
                         .subject = "已受理",
                         .text = "Dear Ann,\n.\nQUIT\n",
                         .idempotency_key = key,
                         .automatic = automatic};

    snprintf(key, sizeof key, "key-%u", t.sent);
    int r = mail_out_send(t.out, &m);
    if (r == 0)
        t.sent++;
    return r;
}

static inline void send_to(const char *recipient)
{
    assert_int_equal(try_send(recipient, false), 0);
}

static inline void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

static inline void run(int64_t for_us)
{
    const struct timeval tick = {.tv_usec = 10000};
    struct event *ev = event_new(t.base, -1, EV_PERSIST, on_tick, NULL);
    int64_t until = clock_mono_us() + for_us;

    event_add(ev, &tick);
    while (t.reported < t.sent && clock_mono_us() < until)
        event_base_loop(t.base, EVLOOP_ONCE);
    event_free(ev);
}

static inline void expect(unsigned i, enum send_outcome o, const char *detail)
{
    assert_true(t.known[i]);
    if (t.results[i].outcome != o || !strstr(t.results[i].detail, detail))
        print_message("%u: %s (%s)\n", i, send_outcome_name(t.results[i].outcome), t.results[i].detail);
    assert_int_equal(t.results[i].outcome, o);
    assert_non_null(strstr(t.results[i].detail, detail));
}
