/* Several relays: the breaker by itself, then mail_out with relays that are away, hang, refuse, come back or
 * cannot carry an address. The relays are fault_relay.py's; the workers are this program itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channels/mail/mail.h"
#include "channels/mail/out_relays.h"
#include "daemon/core/clock.h"
#include "daemon/core/metrics.h"

#define SENDS_MAX 255

static struct {
    struct event_base *base;
    struct config cfg;
    struct cfg_relay relays[3];
    struct channel_host host;
    struct mail_out *out;
    char dir[64];
    pid_t relay[2];
    int relay_stdin[2], full[8];
    unsigned sent, reported;
    struct send_result results[SENDS_MAX];
    bool known[SENDS_MAX];
} t;

/* ---- the breaker ---- */

static void breaker(void **state)
{
    struct config cfg = {.mail_relays = (struct cfg_relay[2]){{.host = (char *)"one", .port = 25}, {.host = (char *)"two", .port = 26}},
                         .nmail_relays = 2,
                         .mail_relay_down_after = 3,
                         .mail_relay_retry_us = 1000};
    struct relays r;
    size_t i = 9;

    (void)state;
    relays_init(&r, &cfg);
    assert_int_equal(relays_choose(&r, 0, 0, &i), RELAY_TAKE);
    assert_int_equal(i, 0);
    assert_int_equal(relays_choose(&r, 1, 0, &i), RELAY_TAKE);
    assert_int_equal(i, 1);
    assert_int_equal(relays_choose(&r, 3, 0, &i), RELAY_NONE);
    /* an answer in between, whatever it was, begins the count anew */
    relays_unreached(&r, &cfg, 0, "refused", 0);
    relays_unreached(&r, &cfg, 0, "refused", 0);
    relays_turned_away(&r, &cfg, 0, 0);
    relays_unreached(&r, &cfg, 0, "refused", 0);
    relays_unreached(&r, &cfg, 0, "refused", 0);
    assert_int_equal(relays_choose(&r, 0, 0, &i), RELAY_TAKE);
    assert_int_equal(i, 0);
    relays_unreached(&r, &cfg, 0, "refused", 0);
    assert_int_equal(relays_choose(&r, 0, 999, &i), RELAY_TAKE);
    assert_int_equal(i, 1);
    assert_int_equal(relays_choose(&r, 2, 999, &i), RELAY_NONE);
    assert_int_equal(relays_pause_us(&r, 400), 600);
    /* half open: one mail, the others do not follow it */
    assert_int_equal(relays_choose(&r, 0, 1000, &i), RELAY_PROBE);
    assert_int_equal(i, 0);
    relays_probe(&r, 0);
    assert_int_equal(relays_choose(&r, 0, 1000, &i), RELAY_TAKE);
    assert_int_equal(i, 1);
    assert_int_equal(relays_choose(&r, 2, 1000, &i), RELAY_WAIT);
    relays_unreached(&r, &cfg, 0, "refused", 1500);
    assert_int_equal(relays_choose(&r, 2, 2499, &i), RELAY_NONE);
    assert_int_equal(relays_choose(&r, 2, 2500, &i), RELAY_PROBE);
    relays_probe(&r, 0);
    relays_turned_away(&r, &cfg, 0, 2600); /* 421: there, but no use */
    assert_int_equal(relays_choose(&r, 2, 2700, &i), RELAY_NONE);
    relays_probe(&r, 0);
    relays_undecided(&r, &cfg, 0, 3000); /* the worker died */
    assert_int_equal(relays_choose(&r, 2, 4000, &i), RELAY_PROBE);
    relays_probe(&r, 0);
    relays_reached(&r, 0);
    assert_int_equal(relays_choose(&r, 0, 4000, &i), RELAY_TAKE);
    assert_int_equal(i, 0);
    struct buf b;
    buf_init(&b, CD_MIB(1));
    metrics_render(&b);
    assert_non_null(strstr(buf_str(&b), "\ncomplaintd_mail_relay_up{relay=\"one:25\"} 1\n"));
    assert_non_null(strstr(buf_str(&b), "\ncomplaintd_mail_relay_failures_total{relay=\"one:25\"} 6\n"));
    assert_non_null(strstr(buf_str(&b), "\ncomplaintd_mail_relay_sessions_total{relay=\"two:26\"} 0\n"));
    buf_free(&b);
}

/* ---- fixture ---- */

static void on_send_done(void *front, const struct uuid *id, const struct send_result *r)
{
    (void)front;
    assert_false(t.known[id->b[0]]);
    t.known[id->b[0]] = true;
    t.results[id->b[0]] = *r;
    t.reported++;
}

static int set_up(void **state)
{
    (void)state;
    memset(&t, 0, sizeof t);
    signal(SIGPIPE, SIG_IGN);
    snprintf(t.dir, sizeof t.dir, "/tmp/cd-test-relays-XXXXXX");
    assert_non_null(mkdtemp(t.dir));
    t.base = event_base_new();
    t.cfg = (struct config){.hostname = (char *)"complaints.example.com",
                            .instance = (char *)"main",
                            .state_dir = t.dir,
                            .mail_from = (char *)"complaints@example.com",
                            .mail_from_name = (char *)"Customer care",
                            .mail_relays = t.relays,
                            .mail_relay_batch = 50,
                            .mail_relay_down_after = 2,
                            .mail_relay_retry_us = CD_MSEC(300),
                            .mail_workers = 1,
                            .mail_send_timeout_us = CD_SEC(6)};
    t.host = (struct channel_host){.base = t.base, .cfg = &t.cfg, .send_done = on_send_done};
    return 0;
}

static int tear_down(void **state)
{
    DIR *d = opendir(t.dir);
    struct dirent *e;

    (void)state;
    mail_out_stop(&t.out);
    for (size_t i = 0; i < ARRAY_LEN(t.relay); i++)
        if (t.relay[i] > 0) {
            close(t.relay_stdin[i]);
            kill(t.relay[i], SIGKILL);
            waitpid(t.relay[i], NULL, 0);
        }
    for (size_t i = 0; i < ARRAY_LEN(t.full); i++)
        if (t.full[i] > 0)
            close(t.full[i]);
    while (d && (e = readdir(d))) {
        CD_CLEANUP_FREE char *path = cd_asprintf("%s/%s", t.dir, e->d_name);
        unlink(path);
    }
    closedir(d);
    rmdir(t.dir);
    event_base_free(t.base);
    return 0;
}

/* Starts fault_relay.py; the port of its relay for that step. */
static unsigned relay_start(size_t k, const char *fault, const char *step, const char *extension)
{
    int in[2], out[2];
    char name[32];
    unsigned port, found = 0;

    assert_int_equal(pipe(in) | pipe(out), 0);
    t.relay[k] = fork();
    if (t.relay[k] == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        for (int fd = 3; fd < 64; fd++)
            close(fd);
        execl("/usr/bin/python3", "python3", CD_SOURCE_DIR "/tests/unit/mail_out/fault_relay.py", fault, t.dir, extension, NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    t.relay_stdin[k] = in[1];
    FILE *f = fdopen(out[0], "r");
    while (fscanf(f, "%31s %u", name, &port) == 2) {
        if (str_eq(name, step))
            found = port;
        if (str_eq(name, "none"))
            break;
    }
    fclose(f);
    assert_int_not_equal(found, 0);
    return found;
}

static unsigned bound_port(int fd)
{
    struct sockaddr_in a;
    socklen_t n = sizeof a;

    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    return ntohs(a.sin_port);
}

/* A port at which nobody listens: bound, so that nobody else takes it. */
static unsigned dead_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    t.full[7] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(t.full[7], (struct sockaddr *)&a, sizeof a), 0);
    return bound_port(t.full[7]);
}

/* A port that answers no SYN: its queue is full. */
static unsigned hanging_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    t.full[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(t.full[0], (struct sockaddr *)&a, sizeof a) | listen(t.full[0], 0), 0);
    unsigned port = bound_port(t.full[0]);
    a.sin_port = htons((uint16_t)port);
    for (size_t i = 1; i < 5; i++) {
        t.full[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(t.full[i], (struct sockaddr *)&a, sizeof a);
    }
    return port;
}

static void add_relay(unsigned port)
{
    t.relays[t.cfg.nmail_relays++] = (struct cfg_relay){.host = (char *)"127.0.0.1",
                                                        .port = port,
                                                        .tls = (char *)"none",
                                                        .user = (char *)"",
                                                        .password = (char *)"",
                                                        .ca_file = (char *)""};
}

static void start(void)
{
    assert_int_equal(mail_out_start(&t.host, &t.out), 0);
}

static void send_to(const char *recipient)
{
    struct outgoing m = {.id = {.b = {(uint8_t)t.sent}}, .recipient = recipient, .subject = "s", .text = "t\n", .idempotency_key = "k"};

    assert_int_equal(mail_out_send(t.out, &m), 0);
    t.sent++;
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
    while ((t.reported < t.sent || !mail_out_idle(t.out)) && clock_mono_us() < until)
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

/* The value of a row of /metrics. */
static long figure(const char *name, unsigned port)
{
    CD_CLEANUP_FREE char *row = cd_asprintf("\n%s{relay=\"127.0.0.1:%u\"} ", name, port);
    struct buf b;

    buf_init(&b, CD_MIB(1));
    metrics_render(&b);
    const char *at = strstr(buf_str(&b), row);
    assert_non_null(at);
    long n = strtol(at + strlen(row), NULL, 10);
    buf_free(&b);
    return n;
}

#define UP "complaintd_mail_relay_up"
#define MAILS "complaintd_mail_relay_mails_total"
#define FAILURES "complaintd_mail_relay_failures_total"

/* ---- tests ---- */

/* What the first does not take goes to the second at once, and costs no attempt. */
static void the_next_one_takes_it(void **state)
{
    unsigned dead = dead_port(), good = relay_start(0, "drop", "none", "8BITMIME");
    int64_t before = metrics_get(M_MAIL_OUT_ELSEWHERE);

    (void)state;
    add_relay(dead);
    add_relay(good);
    start();
    for (int i = 0; i < 60; i++)
        send_to("ok@x.example");
    run(CD_SEC(30));
    for (unsigned i = 0; i < 60; i++)
        expect(i, SEND_SENT, "250");
    assert_int_equal(figure(MAILS, good), 60);
    assert_int_equal(figure(UP, dead), 0);
    assert_int_equal(figure(UP, good), 1);
    assert_true(metrics_get(M_MAIL_OUT_ELSEWHERE) - before >= 50);
    assert_true(figure(FAILURES, dead) >= 2);
}

/* Neither a refusal for now nor one for ever is a reason to ask another relay; 421 before the text is. */
static void an_answer_is_an_answer(void **state)
{
    static const char *const faults[] = {"451", "554"};
    unsigned good = relay_start(0, "drop", "none", "8BITMIME");

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(faults); i++) {
        unsigned bad = relay_start(1, faults[i], "rcpt", "8BITMIME");
        t.cfg.nmail_relays = 0;
        add_relay(bad);
        add_relay(good);
        start();
        for (int k = 0; k < 3; k++) {
            send_to("ann@x.example");
            run(CD_SEC(20));
            expect(3 * i + (unsigned)k, i ? SEND_REJECTED : SEND_RETRY, faults[i]);
        }
        assert_int_equal(figure(UP, bad), 1);
        assert_int_equal(figure(FAILURES, bad), 0);
        mail_out_stop(&t.out);
        close(t.relay_stdin[1]);
        kill(t.relay[1], SIGKILL);
        waitpid(t.relay[1], NULL, 0);
    }
    unsigned closing = relay_start(1, "421", "mail", "8BITMIME");
    t.cfg.nmail_relays = 0;
    add_relay(closing);
    add_relay(good);
    start();
    send_to("ann@x.example");
    send_to("bob@x.example");
    run(CD_SEC(20));
    expect(6, SEND_SENT, "250");
    expect(7, SEND_SENT, "250");
}

/* connect() without an answer is given up long before the worker's deadline. */
static void a_relay_that_hangs(void **state)
{
    unsigned hanging = hanging_port(), good = relay_start(0, "drop", "none", "8BITMIME");
    int64_t start_us = clock_mono_us(), deaths = metrics_get(M_WORKER_DEATHS);

    (void)state;
    add_relay(hanging);
    add_relay(good);
    start();
    send_to("ann@x.example");
    run(CD_SEC(20));
    expect(0, SEND_SENT, "250");
    assert_true(clock_mono_us() - start_us < CD_SEC(5));
    assert_int_equal(metrics_get(M_WORKER_DEATHS), deaths);
    assert_int_equal(figure(FAILURES, hanging), 1);
}

/* Down: answered at once, with a time to come back. Then one mail tries, and the others follow. */
static void down_and_back(void **state)
{
    unsigned port = dead_port();

    (void)state;
    add_relay(port);
    t.cfg.mail_relay_retry_us = CD_SEC(1);
    start();
    for (int i = 0; i < 2; i++) {
        send_to("ann@x.example");
        run(CD_SEC(20));
        expect((unsigned)i, SEND_RETRY, "refused");
        assert_int_equal(t.results[i].retry_after_us, 0);
    }
    assert_int_equal(figure(UP, port), 0);
    int64_t start_us = clock_mono_us();
    send_to("ann@x.example");
    run(CD_SEC(20));
    expect(2, SEND_RETRY, "no relay can be reached");
    assert_true(t.results[2].retry_after_us > 0 && t.results[2].retry_after_us <= CD_SEC(1));
    assert_true(clock_mono_us() - start_us < CD_MSEC(500));
    assert_int_equal(figure(FAILURES, port), 2);
    /* still away when it is tried: one more failure, not one for each mail */
    usleep(1100000);
    for (int i = 0; i < 10; i++)
        send_to("ann@x.example");
    run(CD_SEC(20));
    for (unsigned i = 3; i < 13; i++)
        expect(i, SEND_RETRY, "");
    assert_int_equal(figure(FAILURES, port), 3);
    /* back: the first mail closes the breaker, and nothing waits for the others' time */
    assert_int_equal(listen(t.full[7], 5), 0); /* something answers there now, though it is no relay */
    pid_t child = fork();
    if (child == 0) {
        for (int n = 0; n < 2; n++) {
            int s = accept(t.full[7], NULL, NULL);
            char line[4096];
            bool text = false;
            dprintf(s, "220 x\r\n");
            FILE *f = fdopen(s, "r");
            while (fgets(line, sizeof line, f)) {
                if (text ? strcmp(line, ".\r\n") == 0 : strncmp(line, "DATA", 4) != 0)
                    dprintf(s, "250 ok\r\n");
                else if (!text)
                    dprintf(s, "354 go\r\n");
                text = text ? strcmp(line, ".\r\n") != 0 : strncmp(line, "DATA", 4) == 0;
                if (!text && strncmp(line, "QUIT", 4) == 0)
                    break;
            }
            fclose(f);
        }
        _exit(0);
    }
    usleep(1100000);
    for (int i = 0; i < 10; i++)
        send_to("ann@x.example");
    run(CD_SEC(20));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    for (unsigned i = 13; i < 23; i++)
        expect(i, SEND_SENT, "250");
    assert_int_equal(figure(UP, port), 1);
    assert_int_equal(figure(MAILS, port), 10);
}

/* An address outside ASCII goes to the relay that offers SMTPUTF8; when none does, never. */
static void utf8_where_it_is_offered(void **state)
{
    unsigned plain = relay_start(0, "drop", "none", "8BITMIME"), utf8 = relay_start(1, "drop", "none", "SMTPUTF8");

    (void)state;
    add_relay(plain);
    start();
    send_to("客户@例子.中国");
    send_to("ann@例子.中国"); /* needs none */
    run(CD_SEC(20));
    expect(0, SEND_REJECTED, "SMTPUTF8");
    expect(1, SEND_SENT, "250");
    assert_int_equal(figure(FAILURES, plain), 0);
    add_relay(utf8);
    mail_out_reloaded(t.out);
    send_to("客户@例子.中国");
    send_to("用户@x.example");
    send_to("ann@x.example");
    run(CD_SEC(20));
    expect(2, SEND_SENT, "250");
    expect(3, SEND_SENT, "250");
    expect(4, SEND_SENT, "250");
    assert_int_equal(figure(MAILS, utf8), 2);
    assert_int_equal(figure(MAILS, plain), 2);
    /* the one that could is away: not never, but later */
    kill(t.relay[1], SIGKILL);
    waitpid(t.relay[1], NULL, 0);
    t.relay[1] = 0;
    send_to("客户@例子.中国");
    run(CD_SEC(20));
    expect(5, SEND_RETRY, "");
}

/* What waits when the relays change goes to those of now. */
static void changed_by_a_reload(void **state)
{
    unsigned hanging = hanging_port(), good = relay_start(0, "drop", "none", "8BITMIME");

    (void)state;
    add_relay(hanging);
    start();
    send_to("ann@x.example");
    send_to("bob@x.example");
    t.cfg.nmail_relays = 0;
    add_relay(good);
    mail_out_reloaded(t.out);
    send_to("eve@x.example");
    run(CD_SEC(20));
    for (unsigned i = 0; i < 3; i++)
        expect(i, SEND_SENT, "250");
    assert_int_equal(figure(MAILS, good), 3);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        cmocka_unit_test(breaker), T(the_next_one_takes_it), T(an_answer_is_an_answer),   T(a_relay_that_hangs),
        T(down_and_back),          T(changed_by_a_reload),   T(utf8_where_it_is_offered),
    };
    if (argc > 1 && str_eq(argv[1], "--worker=mail"))
        return mail_worker_main();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
