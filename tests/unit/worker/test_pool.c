/* The worker pool against workers that answer, stall, die, lie and never start. */
#include "tests/unit/worker/driver.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "daemon/worker/frame.h"

/* ---- the worker ---- */

static bool begins(const uint8_t *data, size_t n, const char *word)
{
    return n >= strlen(word) && memcmp(data, word, strlen(word)) == 0;
}

static void write_raw(const void *p, size_t n)
{
    if (write(WORKER_SOCKET_FD, p, n) != (ssize_t)n)
        _exit(9);
}

/* Frames that no worker may send. */
static void lie(const uint8_t *data, size_t n, uint64_t job)
{
    uint8_t frame[FRAME_HEADER_SIZE];
    struct frame_header h = {.job = job};

    if (begins(data, n, "lie length"))
        h.length = FRAME_MAX + 1;
    else if (begins(data, n, "lie job"))
        h.job = job + 1000;
    else if (begins(data, n, "lie ready"))
        h.flags = FRAME_READY;
    else if (begins(data, n, "lie flags"))
        h.flags = 0x80;
    frame_header_write(&h, frame);
    write_raw(frame, begins(data, n, "lie short") ? 5 : sizeof(frame));
    if (begins(data, n, "lie short"))
        _exit(0);
    sleep_ms(20000);
}

/* What a worker finds around it, as text. */
static void describe(struct buf *out)
{
    struct buf config;

    buf_printf(out, "name=%s fds=", worker_child_name());
    for (int fd = 0; fd < 200; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            buf_printf(out, "%d,", fd);
    buf_init(&config, 100000);
    buf_printf(out, " config=%s", worker_child_config(&config) == 0 ? buf_str(&config) : "none");
    buf_printf(out, " secret=%s kept=%s", getenv("PGPASSWORD") ? "yes" : "no", getenv("CD_TEST_KEPT"));
    char c;
    buf_printf(out, " stdin=%zd", read(0, &c, 1));
    buf_free(&config);
}

static void obey(void *arg, struct worker_child *c, uint64_t job, const uint8_t *data, size_t n)
{
    struct buf out;

    (void)arg;
    buf_init(&out, CD_MIB(65));
    if (begins(data, n, "echo")) {
        worker_child_answer(c, job, false, data, n);
    } else if (begins(data, n, "pid")) {
        buf_printf(&out, "%d", (int)getpid());
        worker_child_answer(c, job, false, out.data, out.len);
    } else if (begins(data, n, "slow")) {
        sleep_ms(60);
        worker_child_answer(c, job, false, data, n);
    } else if (begins(data, n, "hang")) {
        sleep_ms(60000);
    } else if (begins(data, n, "crash")) {
        signal(SIGSEGV, SIG_DFL); /* past the sanitizer's handler */
        raise(SIGSEGV);
    } else if (begins(data, n, "exit")) {
        _exit(3);
    } else if (begins(data, n, "close")) {
        close(WORKER_SOCKET_FD);
        sleep_ms(60000);
    } else if (begins(data, n, "lie")) {
        lie(data, n, job);
    } else if (begins(data, n, "parts")) {
        worker_child_answer(c, job, true, "1", 1);
        worker_child_answer(c, job, true, "", 0);
        worker_child_answer(c, job, true, "3", 1);
        worker_child_answer(c, job, false, "end", 3);
    } else if (begins(data, n, "big")) {
        assert_int_equal(buf_reserve(&out, CD_MIB(64)), 0);
        memset(out.data, 'b', CD_MIB(64));
        if (worker_child_answer(c, job, false, out.data, CD_MIB(64) + 1) == CD_ELIMIT)
            worker_child_answer(c, job, false, out.data, CD_MIB(5));
    } else if (begins(data, n, "describe")) {
        describe(&out);
        worker_child_answer(c, job, false, out.data, out.len);
    } /* else: no answer at all */
    buf_free(&out);
}

static int worker_main(const char *mode)
{
    log_set_level(LOG_L_ERROR);
    if (strcmp(mode, "--child=obey") == 0)
        return worker_child_run(obey, NULL);
    if (strcmp(mode, "--child=never-ready") == 0)
        sleep_ms(60000);
    return 4; /* --child=crash */
}

/* ---- tests ---- */

static const char *const obeying[] = {"test-worker", "--child=obey", NULL};
static const char *const crashing[] = {"test-worker", "--child=crash", NULL};
static const char *const sleeping[] = {"test-worker", "--child=never-ready", NULL};

static struct front *start(unsigned workers, unsigned in_flight, unsigned max_queued, int64_t deadline_us)
{
    struct front *f = front_new();
    struct worker_pool_options o = front_options(f, obeying, workers);

    o.in_flight = in_flight;
    o.max_queued = max_queued;
    o.deadline_us = deadline_us;
    assert_int_equal(worker_pool_new(f->base, &o, &f->pool), 0);
    assert_int_equal(worker_pool_alive(f->pool), 0); /* not before they say so */
    front_run(f, CD_SEC(30), -1, (int)workers);
    assert_int_equal(worker_pool_alive(f->pool), workers);
    return f;
}

static void echoes_of_every_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {4, 5, 1500, 65535, 65536, 65537, 200000, 1 << 20, 5 << 20};
    struct front *f = start(1, 4, 100, 0);

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char *data = malloc(sizes[i]);

        assert_non_null(data);
        for (size_t k = 0; k < sizes[i]; k++)
            data[k] = (char)(k * 7 + i);
        memcpy(data, "echo", 4);
        assert_int_equal(front_send(f, i + 1, data, sizes[i]), 0);
        free(data);
    }
    assert_int_equal(worker_pool_pending(f->pool), ARRAY_LEN(sizes));
    front_run(f, CD_SEC(30), ARRAY_LEN(sizes), -1);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        const struct answer *a = front_final(f, i + 1);

        assert_int_equal(a->outcome, WORKER_DONE);
        assert_int_equal(a->n, sizes[i]);
        for (size_t k = 4; k < a->n; k++)
            if (a->data[k] != (char)(k * 7 + i))
                fail_msg("size %zu differs at %zu", sizes[i], k);
    }
    assert_int_equal(worker_pool_pending(f->pool), 0);
    front_free(f);
}

static void many_jobs_over_two_workers(void **state)
{
    (void)state;
    struct front *f = start(2, 8, 10000, CD_SEC(30));
    char first[32] = "";
    size_t other = 0;

    for (uint64_t i = 1; i <= 4000; i++)
        front_say(f, i, "pid");
    front_run(f, CD_SEC(60), 4000, -1);
    assert_int_equal(f->nfinal, 4000);
    for (size_t i = 0; i < f->nanswers; i++) {
        assert_int_equal(f->answers[i].outcome, WORKER_DONE);
        if (!*first)
            snprintf(first, sizeof(first), "%s", f->answers[i].data);
        other += strcmp(first, f->answers[i].data) != 0;
    }
    assert_true(other > 400 && other < 3600); /* both had their share */
    front_free(f);
}

static void fewest_jobs_first(void **state)
{
    (void)state;
    struct front *f = start(2, 10, 100, 0);

    /* One is stuck: it keeps what it was given, the other does nearly all. */
    front_say(f, 1, "hang");
    for (uint64_t i = 2; i <= 5; i++)
        front_say(f, i, "echo");
    front_run(f, CD_SEC(2), 3, -1);
    for (uint64_t i = 10; i < 60; i++) {
        size_t final = f->nfinal;
        front_say(f, i, "echo");
        front_run(f, CD_MSEC(500), (long) final + 1, -1);
    }
    assert_true(f->nfinal >= 50);
    front_free(f);
}

static void queue_limit(void **state)
{
    (void)state;
    struct front *f = start(1, 2, 3, 0);
    int64_t full = metrics_get(M_WORKER_QUEUE_FULL);

    front_say(f, 1, "hang");
    for (uint64_t i = 2; i <= 5; i++) /* one behind it, three in the queue */
        front_say(f, i, "echo");
    assert_int_equal(front_send(f, 6, "echo", 4), CD_ELIMIT);
    assert_int_equal(front_send(f, 7, "echo", CD_MIB(64) + 1), CD_ELIMIT);
    assert_int_equal(metrics_get(M_WORKER_QUEUE_FULL), full + 2);
    assert_int_equal(worker_pool_pending(f->pool), 5);
    front_free(f);
}

static void deadline_kills_the_first_only(void **state)
{
    (void)state;
    struct front *f = start(1, 4, 100, CD_MSEC(400));
    int64_t timeouts = metrics_get(M_WORKER_TIMEOUTS), requeued = metrics_get(M_WORKER_REQUEUED);
    char *large = malloc(100000);

    assert_non_null(large);
    memset(large, 'x', 100000);
    memcpy(large, "echo", 4);
    front_say(f, 1, "hang");
    front_say(f, 2, "echo 2");
    assert_int_equal(front_send(f, 3, large, 100000), 0);
    front_say(f, 4, "echo 4");
    front_say(f, 5, "echo 5");
    f->resend = 6; /* the answer of job 1 sends another from inside the callback */
    front_run(f, CD_SEC(20), 6, -1);
    front_expect(f, 1, WORKER_TIMEOUT);
    for (uint64_t i = 2; i <= 6; i++) {
        front_expect(f, i, WORKER_DONE);
        assert_int_equal(f->answers[i - 1].job, i); /* in their old order */
    }
    assert_int_equal(front_final(f, 3)->n, 100000);
    assert_memory_equal(front_final(f, 3)->data, large,
                        100000); /* read from its start by the second process */
    assert_int_equal(metrics_get(M_WORKER_TIMEOUTS), timeouts + 1);
    assert_int_equal(metrics_get(M_WORKER_REQUEUED), requeued + 3);
    free(large);
    front_free(f);
}

static void deadline_runs_from_being_first(void **state)
{
    (void)state;
    struct front *f = start(1, 8, 100, CD_MSEC(300));

    for (uint64_t i = 1; i <= 8; i++) /* 60 ms each, 480 ms together */
        front_say(f, i, "slow");
    front_run(f, CD_SEC(10), 8, -1);
    for (uint64_t i = 1; i <= 8; i++)
        front_expect(f, i, WORKER_DONE);
    front_free(f);
}

static void death_costs_one_job(void **state)
{
    (void)state;
    static const char *const ways[] = {"crash", "exit", "close"};
    struct front *f = start(1, 4, 100, 0);
    uint64_t job = 0;
    int64_t deaths = metrics_get(M_WORKER_DEATHS), crashes = metrics_get(M_WORKER_CRASHES);

    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        front_say(f, ++job, "echo");
        front_say(f, ++job, ways[i]);
        front_say(f, ++job, "echo");
        front_say(f, ++job, "echo");
        front_run(f, CD_SEC(10), (long)job, -1);
        front_expect(f, job - 3, WORKER_DONE);
        front_expect(f, job - 2, WORKER_DIED);
        front_expect(f, job - 1, WORKER_DONE);
        front_expect(f, job, WORKER_DONE);
    }
    assert_int_equal(metrics_get(M_WORKER_DEATHS), deaths + 3);
    assert_int_equal(metrics_get(M_WORKER_CRASHES), crashes + 1);
    front_free(f);
}

static void lies_cost_the_liar(void **state)
{
    (void)state;
    static const char *const lies[] = {"lie length", "lie job", "lie ready", "lie flags", "lie short"};
    struct front *f = start(1, 4, 100, CD_SEC(10));
    int64_t protocol = metrics_get(M_WORKER_PROTOCOL);
    uint64_t job = 0;

    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        front_say(f, ++job, lies[i]);
        front_say(f, ++job, "echo");
        front_run(f, CD_SEC(10), (long)job, -1);
        front_expect(f, job - 1, WORKER_DIED);
        front_expect(f, job, WORKER_DONE);
    }
    assert_int_equal(metrics_get(M_WORKER_PROTOCOL), protocol + 4); /* the short one only ended early */
    front_free(f);
}

static void several_answers(void **state)
{
    (void)state;
    struct front *f = start(1, 4, 100, 0);

    front_say(f, 1, "parts");
    front_say(f, 2, "silent");
    front_say(f, 3, "big");
    front_run(f, CD_SEC(20), 3, -1);
    assert_int_equal(f->nanswers, 6);
    assert_string_equal(f->answers[0].data, "1");
    assert_int_equal(f->answers[0].outcome, WORKER_PART);
    assert_int_equal(f->answers[1].n, 0);
    assert_string_equal(f->answers[2].data, "3");
    assert_string_equal(f->answers[3].data, "end");
    assert_int_equal(f->answers[3].outcome, WORKER_DONE);
    assert_int_equal(front_final(f, 2)->n, 0); /* sent for a handler that forgot */
    assert_int_equal(front_final(f, 3)->n, CD_MIB(5));
    front_free(f);
}

static void restarts_slower_and_slower(void **state)
{
    (void)state;
    struct front *f = front_new();
    struct worker_pool_options o = front_options(f, crashing, 1);
    int64_t starts = metrics_get(M_WORKER_STARTS);

    assert_int_equal(worker_pool_new(f->base, &o, &f->pool), 0);
    front_say(f, 1, "echo");
    front_run(f, CD_MSEC(1500), 1, -1);
    starts = metrics_get(M_WORKER_STARTS) - starts;
    assert_true(starts >= 2 && starts <= 5); /* 0, 50, 150, 350, 750 ms and the time to die; then 1,550 */
    assert_int_equal(f->nanswers, 0);        /* the job waits for a process that works */
    assert_int_equal(worker_pool_alive(f->pool), 0);
    worker_pool_free(&f->pool);
    front_expect(f, 1, WORKER_CLOSED);
    front_free(f);
}

static void a_program_that_is_not_there(void **state)
{
    (void)state;
    struct front *f = front_new();
    struct worker_pool_options o = front_options(f, obeying, 2);

    o.exe = "/nonexistent/complaintd";
    assert_int_equal(worker_pool_new(f->base, &o, &f->pool), CD_EIO);
    assert_null(f->pool);
    front_free(f);
}

static void closing_answers_all(void **state)
{
    (void)state;
    struct front *f = start(2, 2, 100, 0);
    int64_t began;
    pid_t pids[2];

    front_say(f, 1, "pid");
    front_say(f, 2, "pid");
    front_run(f, CD_SEC(10), 2, -1);
    for (int i = 0; i < 2; i++)
        pids[i] = (pid_t)atoi(f->answers[i].data);
    for (uint64_t i = 3; i <= 12; i++)
        front_say(f, i, i == 3 ? "hang" : "slow");
    front_run(f, CD_MSEC(10), -1, -1);
    began = clock_mono_us();
    worker_pool_free(&f->pool);
    assert_true(clock_mono_us() - began < CD_SEC(3));
    for (uint64_t i = 3; i <= 12; i++)
        front_expect(f, i, WORKER_CLOSED);
    for (int i = 0; i < 2; i++)
        assert_int_equal(kill(pids[i], 0), -1); /* reaped */
    front_free(f);

    f = front_new(); /* also one that never became ready */
    struct worker_pool_options o = front_options(f, sleeping, 1);
    assert_int_equal(worker_pool_new(f->base, &o, &f->pool), 0);
    front_say(f, 1, "echo");
    front_run(f, CD_MSEC(50), -1, -1);
    worker_pool_free(&f->pool);
    front_expect(f, 1, WORKER_CLOSED);
    front_free(f);
}

static void what_a_worker_inherits(void **state)
{
    (void)state;
    struct front *f = front_new();
    struct worker_pool_options o = front_options(f, obeying, 2);
    int spare = open("/dev/null", O_RDONLY); /* not close-on-exec: must not arrive all the same */

    setenv("PGPASSWORD", "secret", 1);
    setenv("CD_TEST_KEPT", "kept", 1);
    o.config_fd = worker_memfd("config", "the configuration", 17);
    assert_true(o.config_fd >= 0 && spare >= 0);
    assert_int_equal(write(o.config_fd, "x", 1), -1); /* sealed */
    assert_int_equal(worker_pool_new(f->base, &o, &f->pool), 0);
    front_run(f, CD_SEC(20), -1, 2);
    front_say(f, 1, "describe");
    front_say(f, 2, "describe");
    front_run(f, CD_SEC(10), 2, -1);
    bool zero = false, one = false;
    for (uint64_t i = 1; i <= 2; i++) {
        const char *text = front_final(f, i)->data;

        zero |= strstr(text, "name=test/0 ") != NULL;
        one |= strstr(text, "name=test/1 ") != NULL;
        assert_non_null(strstr(text, " fds=0,1,2,3,4, config=the configuration secret=no kept=kept stdin=0"));
    }
    assert_true(zero && one);
    close(o.config_fd);
    close(spare);
    unsetenv("PGPASSWORD");
    front_free(f);
}

static void outside_signals(void **state)
{
    (void)state;
    struct front *f = start(1, 4, 100, 0);

    front_say(f, 1, "pid");
    front_run(f, CD_SEC(10), 1, -1);
    pid_t pid = (pid_t)atoi(front_final(f, 1)->data);
    assert_int_equal(kill(pid, SIGTERM), 0); /* meant for the front: not for it */
    front_say(f, 2, "pid");
    front_run(f, CD_SEC(10), 2, -1);
    assert_string_equal(front_final(f, 2)->data, front_final(f, 1)->data);
    assert_int_equal(kill(pid, SIGKILL), 0);
    front_run(f, CD_SEC(10), -1, 0);
    front_say(f, 3, "pid");
    front_run(f, CD_SEC(10), 3, -1);
    front_expect(f, 3, WORKER_DONE);
    assert_string_not_equal(front_final(f, 3)->data, front_final(f, 1)->data);
    front_free(f);
}

/* A front that is killed leaves no worker behind, not even one that is busy. */
static void the_front_dies(void **state)
{
    (void)state;
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    pid_t front = fork();
    if (front == 0) {
        struct front *f = start(1, 4, 100, 0);

        front_say(f, 1, "pid");
        front_run(f, CD_SEC(10), 1, -1);
        front_say(f, 2, "hang");
        front_run(f, CD_MSEC(50), -1, -1);
        if (write(fds[1], f->answers[0].data, f->answers[0].n + 1) < 0)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    close(fds[1]);
    char text[32] = "";
    assert_true(read(fds[0], text, sizeof(text) - 1) > 0);
    close(fds[0]);
    assert_int_equal(waitpid(front, NULL, 0), front);
    pid_t worker = (pid_t)atoi(text);
    assert_true(worker > 0);
    for (int i = 0; i < 200 && !is_gone(worker); i++)
        sleep_ms(20);
    assert_true(is_gone(worker));
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return worker_main(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echoes_of_every_size),
        cmocka_unit_test(many_jobs_over_two_workers),
        cmocka_unit_test(fewest_jobs_first),
        cmocka_unit_test(queue_limit),
        cmocka_unit_test(deadline_kills_the_first_only),
        cmocka_unit_test(deadline_runs_from_being_first),
        cmocka_unit_test(death_costs_one_job),
        cmocka_unit_test(lies_cost_the_liar),
        cmocka_unit_test(several_answers),
        cmocka_unit_test(restarts_slower_and_slower),
        cmocka_unit_test(a_program_that_is_not_there),
        cmocka_unit_test(closing_answers_all),
        cmocka_unit_test(what_a_worker_inherits),
        cmocka_unit_test(outside_signals),
        cmocka_unit_test(the_front_dies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
