/* The mail workers against a real relay (sink.py): which outcome each answer becomes. The workers are this
 * program itself, started with --worker=mail. */
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

static void send_to(const char *recipient);

static void on_send_done(void *front, const struct uuid *id, const struct send_result *r)
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

static void sink_start(const char *mode)
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

static void sink_stop(void)
{
    if (t.sink <= 0)
        return;
    close(t.sink_stdin);
    kill(t.sink, SIGKILL);
    waitpid(t.sink, NULL, 0);
    t.sink = 0;
}

/* The message that the sink kept as number `n`, its envelope in the first line; free it. */
static char *sink_mail(int n)
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

static int set_up(void **state)
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

static int tear_down(void **state)
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

static void start(const char *mode)
{
    sink_start(mode);
    assert_int_equal(mail_out_start(&t.host, &t.out), 0);
}

static int try_send(const char *recipient, bool automatic)
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

static void send_to(const char *recipient)
{
    assert_int_equal(try_send(recipient, false), 0);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

static void run(int64_t for_us)
{
    const struct timeval tick = {.tv_usec = 10000};
    struct event *ev = event_new(t.base, -1, EV_PERSIST, on_tick, NULL);
    int64_t until = clock_mono_us() + for_us;

    event_add(ev, &tick);
    while (t.reported < t.sent && clock_mono_us() < until)
        event_base_loop(t.base, EVLOOP_ONCE);
    event_free(ev);
}

static void expect(unsigned i, enum send_outcome o, const char *detail)
{
    assert_true(t.known[i]);
    if (t.results[i].outcome != o || !strstr(t.results[i].detail, detail))
        print_message("%u: %s (%s)\n", i, send_outcome_name(t.results[i].outcome), t.results[i].detail);
    assert_int_equal(t.results[i].outcome, o);
    assert_non_null(strstr(t.results[i].detail, detail));
}

/* ---- tests ---- */

/* One session, one outcome each; a refusal costs its neighbours nothing. */
static void statuses_of_a_batch(void **state)
{
    (void)state;
    start("plain");
    send_to("ok1@x.example");
    send_to("unknown@x.example");
    send_to("greylisted@x.example");
    send_to("spam@x.example");
    send_to("full@x.example");
    assert_int_equal(try_send("ok2@x.example", true), 0);
    send_to("not an address");
    assert_int_equal(t.reported, 0);
    assert_false(mail_out_idle(t.out));
    run(CD_SEC(20));
    assert_int_equal(t.reported, 7);
    for (int i = 0; i < 200 && !mail_out_idle(t.out);
         i++) { /* the end of the job comes behind its outcomes */
        usleep(5000);
        event_base_loop(t.base, EVLOOP_NONBLOCK);
    }
    assert_true(mail_out_idle(t.out));
    expect(0, SEND_SENT, "250 2.0.0 kept");
    expect(1, SEND_REJECTED, "RCPT: 550");
    expect(2, SEND_RETRY, "RCPT: 451");
    expect(3, SEND_REJECTED, "DATA: 554");
    expect(4, SEND_RETRY, "DATA: 452");
    expect(5, SEND_SENT, "250");
    expect(6, SEND_REJECTED, "address");
    CD_CLEANUP_FREE char *first = sink_mail(1), *second = sink_mail(2), *third = sink_mail(3);
    assert_non_null(strstr(first, "\"from\": \"complaints@example.com\", \"to\": [\"ok1@x.example\"]"));
    assert_non_null(strstr(first, "\"helo\": \"complaints.example.com\""));
    assert_non_null(strstr(first, "\r\nMessage-ID: <key-0@complaints.example.com>\r\n"));
    assert_non_null(strstr(first, "\r\nSubject: =?UTF-8?B?5bey5Y+X55CG?=\r\n"));
    assert_non_null(strstr(first, "\r\n\r\nDear Ann,\r\n=2E\r\nQUIT\r\n"));
    /* the null reverse-path */
    assert_non_null(strstr(second, "\"from\": \"<>\", \"to\": [\"ok2@x.example\"]"));
    assert_non_null(strstr(second, "\r\nAuto-Submitted: auto-replied\r\n"));
    assert_string_equal(third, "");
}

/* What the relay had in hand when the connection broke may have arrived; what came after it never left. */
static void lost_after_the_dot(void **state)
{
    (void)state;
    start("plain");
    send_to("ok@x.example");
    send_to("dropafterdot@x.example");
    send_to("behind@x.example");
    run(CD_SEC(20));
    expect(0, SEND_SENT, "250");
    expect(1, SEND_UNKNOWN, "");
    expect(2, SEND_RETRY, "");
}

static void lost_at_rcpt(void **state)
{
    (void)state;
    start("plain");
    send_to("dropatrcpt@x.example");
    run(CD_SEC(20));
    expect(0, SEND_RETRY, "");
}

static void relay_away(void **state)
{
    (void)state;
    start("away");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(0, SEND_RETRY, "421");
    sink_stop();
    send_to("ok@x.example"); /* refused by the system now */
    run(CD_SEC(20));
    expect(1, SEND_RETRY, "");
}

/* A relay that says nothing ends by our own timeouts, not by the death of the worker. */
static void mute_relay(void **state)
{
    int64_t start_us = clock_mono_us(), deaths = metrics_get(M_WORKER_DEATHS);

    (void)state;
    t.cfg.mail_send_timeout_us = CD_SEC(4);
    start("mute");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(0, SEND_RETRY, "");
    assert_true(clock_mono_us() - start_us < CD_SEC(10));
    assert_int_equal(metrics_get(M_WORKER_DEATHS), deaths);
}

/* The deadline of the job kills the worker: unknown is only what was under way. */
static void killed_at_the_deadline(void **state)
{
    (void)state;
    t.cfg.mail_send_timeout_us = CD_MSEC(900); /* below libesmtp's least timeout */
    start("plain");
    send_to("slow@x.example");
    send_to("behind@x.example");
    run(CD_SEC(20));
    expect(0, SEND_UNKNOWN, "deadline");
    expect(1, SEND_RETRY, "deadline");
    t.resend = false;
    send_to("ok@x.example"); /* a new worker takes over */
    run(CD_SEC(20));
    assert_true(t.known[2]);
}

static void starttls(void **state)
{
    (void)state;
    t.cfg.mail_relay_tls = (char *)"starttls";
    t.cfg.mail_relay_host = (char *)"localhost";
    t.cfg.mail_relay_ca_file = t.ca;
    start("tls");
    for (int i = 0; i < 4;
         i++) { /* a session each: the second one is where the library's own context crashes */
        send_to("ok@x.example");
        run(CD_SEC(20));
        expect((unsigned)i, SEND_SENT, "250");
    }
    CD_CLEANUP_FREE char *mail = sink_mail(4);
    assert_non_null(strstr(mail, "\"tls\": true"));
    assert_non_null(strstr(mail, "\"version\": \"TLSv1.2\""));
}

static void certificate_of_another(void **state)
{
    (void)state;
    t.cfg.mail_relay_tls = (char *)"starttls";
    t.cfg.mail_relay_host = (char *)"127.0.0.1"; /* not in the certificate */
    t.cfg.mail_relay_ca_file = t.ca;
    start("tls");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(0, SEND_RETRY, "");
    CD_CLEANUP_FREE char *mail = sink_mail(1);
    assert_string_equal(mail, "");
}

static void certificate_of_nobody(void **state)
{
    (void)state;
    t.cfg.mail_relay_tls = (char *)"starttls";
    t.cfg.mail_relay_host = (char *)"localhost"; /* no CA given: the system's do not know it */
    start("tls");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(0, SEND_RETRY, "");
}

static void tls_required_but_not_offered(void **state)
{
    (void)state;
    t.cfg.mail_relay_tls = (char *)"starttls";
    start("plain");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(0, SEND_RETRY, "");
    CD_CLEANUP_FREE char *mail = sink_mail(1);
    assert_string_equal(mail, "");
}

/* Text in front of TLS must never count as an answer inside it. */
static void reply_injection(void **state)
{
    (void)state;
    t.cfg.mail_relay_tls = (char *)"starttls";
    t.cfg.mail_relay_host = (char *)"localhost";
    t.cfg.mail_relay_ca_file = t.ca;
    start("inject");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(0, SEND_RETRY, "injection");
}

static void authentication(void **state)
{
    (void)state;
    t.cfg.mail_relay_user = (char *)"u";
    t.cfg.mail_relay_password = (char *)"p";
    start("auth");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(0, SEND_SENT, "250");
    mail_out_stop(&t.out);
    t.cfg.mail_relay_password = (char *)"wrong";
    assert_int_equal(mail_out_start(&t.host, &t.out), 0);
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(1, SEND_RETRY, ""); /* ours to mend: no message is lost for a wrong password */
}

static void sender_refused(void **state)
{
    (void)state;
    t.cfg.mail_from = (char *)"badsender@example.com";
    start("plain");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(0, SEND_REJECTED, "MAIL: 550");
}

static void more_than_a_batch(void **state)
{
    (void)state;
    start("plain");
    t.resend = true;
    for (int i = 0; i < 45; i++)
        send_to("ok@x.example");
    run(CD_SEC(30));
    assert_int_equal(t.reported, 46);
    for (unsigned i = 0; i < 46; i++)
        expect(i, SEND_SENT, "250");
}

static void worker_killed(void **state)
{
    (void)state;
    start("plain");
    send_to("slow@x.example");
    run(CD_MSEC(1500));
    assert_int_equal(t.reported, 0);
    /* the only child but the sink is the worker */
    CD_CLEANUP_FREE char *path = cd_asprintf("/proc/self/task/%d/children", getpid());
    FILE *f = fopen(path, "r");
    int pid;
    assert_non_null(f);
    while (fscanf(f, "%d", &pid) == 1)
        if (pid != t.sink)
            kill(pid, SIGKILL);
    fclose(f);
    run(CD_SEC(10));
    expect(0, SEND_UNKNOWN, "died");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(1, SEND_SENT, "250");
}

static void queue_limit(void **state)
{
    int r = 0;
    int64_t before = metrics_get(M_MAIL_OUT_BUSY);
    struct outgoing m = {
        .id = {.b = {1}}, .recipient = "ok@x.example", .subject = "s", .text = "t", .idempotency_key = "k"};

    (void)state;
    t.cfg.mail_relay_port = 1; /* nobody there; the loop does not run anyway */
    assert_int_equal(mail_out_start(&t.host, &t.out), 0);
    unsigned taken = 0;
    while (taken < 5000 && (r = mail_out_send(t.out, &m)) == 0)
        taken++;
    assert_int_equal(r, CD_EAGAIN);
    assert_int_equal(taken, 1000);
    assert_int_equal(metrics_get(M_MAIL_OUT_BUSY), before + 1);
    /* stopping reports each of them */
    t.host.send_done = NULL;
}

static unsigned stopped;

static void count_stopped(void *front, const struct uuid *id, const struct send_result *r)
{
    (void)front;
    (void)id;
    assert_int_equal(r->outcome, SEND_RETRY);
    stopped++;
}

static void stop_reports_all(void **state)
{
    queue_limit(state);
    t.host.send_done = count_stopped;
    mail_out_stop(&t.out);
    assert_int_equal(stopped, 1000);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        T(statuses_of_a_batch),
        T(lost_after_the_dot),
        T(lost_at_rcpt),
        T(relay_away),
        T(mute_relay),
        T(killed_at_the_deadline),
        T(starttls),
        T(certificate_of_another),
        T(certificate_of_nobody),
        T(tls_required_but_not_offered),
        T(reply_injection),
        T(authentication),
        T(sender_refused),
        T(more_than_a_batch),
        T(worker_killed),
        T(stop_reports_all),
    };
    if (argc > 1 && str_eq(argv[1], "--worker=mail"))
        return mail_worker_main();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
