/* A relay that fails at each step of the dialogue in each way (fault_relay.py), with libesmtp and with libcurl:
 * which outcome that is, that no status comes from anything but the relay's answer to the step, and that none
 * takes longer than its deadline. The workers are this program itself. */
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
#include "daemon/core/clock.h"

#define DEADLINE CD_SEC(4)
#define STEPS_MAX 16

/* R retry, J rejected, U unknown, S sent; a step's faults in the order of `faults`; ' ' is no case. */
static const char *const faults[] = {"421", "451", "554", "drop", "silence", "garbage", "endless", "trickle"};
static const struct {
    const char *step, *outcomes;
} table[] = {
    {"greeting", "RRRRRRRR"}, {"ehlo", "RRRRRRRR"}, {"starttls", "RRRRRRRR"}, {"handshake", "RRRRRRRR"}, {"tls-ehlo", "RRRRRRRR"},
    {"auth", "RRRRRRRR"},     {"mail", "RRJRRRRR"}, {"rcpt", "RRJRRRRR"},     {"data", "RRJRRRRR"},      {"text", "   UU   "},
    {"dot", "RRJUUUUU"},      {"quit", "SSSSSSSS"}, {"none", "SSSSSSSS"},
};

struct one {
    struct config cfg;
    struct channel_host host;
    struct mail_out *out;
    const char *step;
    bool done;
    int64_t took_us;
    struct send_result result;
};

static struct {
    struct event_base *base;
    char dir[64], ca[80];
    pid_t relay;
    int relay_stdin;
    struct one v[STEPS_MAX];
    size_t n, ndone;
    int64_t start_us;
} t;

static void on_send_done(void *front, const struct uuid *id, const struct send_result *r)
{
    struct one *x = front;

    (void)id;
    assert_false(x->done);
    x->done = true;
    x->result = *r;
    x->took_us = clock_mono_us() - t.start_us;
    t.ndone++;
}

static int set_up(void **state)
{
    (void)state;
    memset(&t, 0, sizeof t);
    signal(SIGPIPE, SIG_IGN);
    snprintf(t.dir, sizeof t.dir, "/tmp/cd-test-faults-XXXXXX");
    assert_non_null(mkdtemp(t.dir));
    snprintf(t.ca, sizeof t.ca, "%s/cert.pem", t.dir);
    t.base = event_base_new();
    return 0;
}

static void relays_stop(void)
{
    for (size_t i = 0; i < t.n; i++)
        mail_out_stop(&t.v[i].out);
    t.n = t.ndone = 0;
    if (t.relay > 0) {
        close(t.relay_stdin);
        kill(t.relay, SIGKILL);
        waitpid(t.relay, NULL, 0);
    }
    t.relay = 0;
}

static int tear_down(void **state)
{
    DIR *d = opendir(t.dir);
    struct dirent *e;

    (void)state;
    relays_stop();
    while (d && (e = readdir(d))) {
        CD_CLEANUP_FREE char *path = cd_asprintf("%s/%s", t.dir, e->d_name);
        unlink(path);
    }
    closedir(d);
    rmdir(t.dir);
    event_base_free(t.base);
    return 0;
}

/* The ports of the relays, in the order of the table. */
static void relays_start(const char *fault, const char *const extensions[4], unsigned ports[ARRAY_LEN(table)])
{
    int in[2], out[2];
    char step[32];

    assert_int_equal(pipe(in) | pipe(out), 0);
    t.relay = fork();
    if (t.relay == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        for (int fd = 3; fd < 64; fd++)
            close(fd);
        execl("/usr/bin/python3", "python3", CD_SOURCE_DIR "/tests/unit/mail_out/fault_relay.py", fault, t.dir, extensions[0],
              extensions[1], extensions[2], extensions[3], NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    t.relay_stdin = in[1];
    FILE *f = fdopen(out[0], "r");
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        assert_int_equal(fscanf(f, "%31s %u", step, &ports[i]), 2);
        assert_string_equal(step, table[i].step);
    }
    fclose(f);
}

static void start_one(struct one *x, const char *step, unsigned port, const char *recipient)
{
    bool tls = str_eq(step, "starttls") || str_eq(step, "handshake") || str_eq(step, "tls-ehlo");
    bool auth = str_eq(step, "auth");
    struct outgoing m = {
        .recipient = recipient, .subject = "s", .text = "Dear Ann,\n.\nQUIT\n", .idempotency_key = "k", .language = "en"};

    *x = (struct one){.step = step,
                      .cfg = {.hostname = (char *)"complaints.example.com",
                              .instance = (char *)"main",
                              .state_dir = t.dir,
                              .mail_from = (char *)"complaints@example.com",
                              .mail_from_name = (char *)"Customer care",
                              .mail_relay_host = (char *)"localhost",
                              .mail_relay_port = port,
                              .mail_relay_tls = (char *)(tls ? "starttls" : "none"),
                              .mail_relay_user = (char *)(auth ? "u" : ""),
                              .mail_relay_password = (char *)(auth ? "p" : ""),
                              .mail_relay_ca_file = t.ca,
                              .mail_relay_batch = 50,
                              .mail_relay_down_after = 3,
                              .mail_relay_retry_us = CD_SEC(30),
                              .mail_workers = 1,
                              .mail_send_timeout_us = DEADLINE}};
    x->host = (struct channel_host){.base = t.base, .cfg = &x->cfg, .front = x, .send_done = on_send_done};
    assert_int_equal(mail_out_start(&x->host, &x->out), 0);
    assert_int_equal(mail_out_send(x->out, &m), 0);
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
    while (t.ndone < t.n && clock_mono_us() < until)
        event_base_loop(t.base, EVLOOP_ONCE);
    event_free(ev);
}

static enum send_outcome outcome_of(char c)
{
    return c == 'R' ? SEND_RETRY : c == 'J' ? SEND_REJECTED : c == 'U' ? SEND_UNKNOWN : SEND_SENT;
}

/* How often the relay of this step took a mail. */
static int taken_by(const char *step)
{
    CD_CLEANUP_FREE char *path = cd_asprintf("%s/taken", t.dir);
    FILE *f = fopen(path, "r");
    char line[32];
    int n = 0;

    while (f && fscanf(f, "%31s", line) == 1)
        n += str_eq(line, step);
    if (f)
        fclose(f);
    return n;
}

/* All steps with one fault, side by side; returns how many were not as they should be. */
static int try_fault(size_t fault, const char *recipient, const char *const extensions[4], const char *skip)
{
    unsigned ports[ARRAY_LEN(table)];
    CD_CLEANUP_FREE char *path = cd_asprintf("%s/taken", t.dir);
    int wrong = 0;

    unlink(path);
    relays_start(faults[fault], extensions, ports);
    t.start_us = clock_mono_us();
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].outcomes[fault] != ' ' && !strstr(skip, table[i].step))
            start_one(&t.v[t.n++], table[i].step, ports[i], recipient);
    run(4 * DEADLINE);
    for (size_t i = 0, k = 0; i < ARRAY_LEN(table); i++) {
        char want = table[i].outcomes[fault];
        if (want == ' ' || strstr(skip, table[i].step))
            continue;
        const struct one *x = &t.v[k++];
        /* one that was not sent was not taken, and the other way round; what is unknown may have been either */
        int taken = taken_by(x->step);
        bool ok = x->done && x->result.outcome == outcome_of(want) && (want == 'U' || taken == (want == 'S')) &&
                  x->took_us < 2 * DEADLINE + CD_SEC(2);
        if (!ok)
            print_message("%s at %s: %s (%s) after %lld ms, taken %d times; expected %c\n", faults[fault], x->step,
                          x->done ? send_outcome_name(x->result.outcome) : "nothing", x->result.detail,
                          (long long)(x->took_us / 1000), taken, want);
        wrong += !ok;
    }
    relays_stop();
    return wrong;
}

static void test_36_every_step_and_fault(void **state)
{
    static const char *const extensions[4] = {"8BITMIME"};
    int wrong = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        wrong += try_fault(i, "ann@x.example", extensions, "");
    assert_int_equal(wrong, 0);
}

static void test_36_every_step_and_fault_pipelined(void **state)
{
    static const char *const extensions[4] = {"PIPELINING", "ENHANCEDSTATUSCODES", "DSN"};
    int wrong = 0;

    (void)state;
    for (size_t i = 0; i < 5; i++)
        wrong += try_fault(i, "ann@x.example", extensions, "");
    assert_int_equal(wrong, 0);
}

/* BDAT instead of DATA: there is no 354 to wait for. */
static void test_36_every_step_and_fault_chunking(void **state)
{
    static const char *const extensions[4] = {"CHUNKING", "BINARYMIME"};
    int wrong = 0;

    (void)state;
    for (size_t i = 0; i < 5; i++)
        wrong += try_fault(i, "ann@x.example", extensions, "data text");
    assert_int_equal(wrong, 0);
}

static void test_36_every_step_and_fault_utf8(void **state)
{
    static const char *const extensions[4] = {"8BITMIME", "SMTPUTF8"};
    int wrong = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        wrong += try_fault(i, "客户@x.example", extensions, "");
    assert_int_equal(wrong, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        T(test_36_every_step_and_fault),
        T(test_36_every_step_and_fault_pipelined),
        T(test_36_every_step_and_fault_chunking),
        T(test_36_every_step_and_fault_utf8),
    };
    if (argc > 1 && str_eq(argv[1], "--worker=mail"))
        return mail_worker_main();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
