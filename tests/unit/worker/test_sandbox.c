/* The lock-in of a worker: what it still may, what it is refused, what ends it, and its limits. The filter
 * itself is tried in every build; the address space limit only where there is one. */
#include "tests/unit/worker/driver.h"

#include <fcntl.h>
#include <iconv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define MEMORY CD_MIB(128)

/* ---- the worker ---- */

static volatile unsigned long spun;

static void spin(int64_t for_us)
{
    int64_t until = clock_mono_us() + for_us;

    while (clock_mono_us() < until)
        spun++;
}

/* A refused call leaves its errno as the answer. */
static bool try_refused(const char *job, struct buf *out)
{
    char path[16];
    int r = 0;

    errno = 0;
    if (strcmp(job, "open") == 0)
        r = open("/etc/passwd", O_RDONLY);
    else if (strcmp(job, "create") == 0)
        r = open("/tmp/complaintd-test-sandbox", O_WRONLY | O_CREAT, 0600);
    else if (strcmp(job, "stat") == 0)
        r = access("/etc/passwd", R_OK);
    else if (strcmp(job, "readlink") == 0)
        r = (int)readlink("/proc/self/exe", path, sizeof(path));
    else if (strcmp(job, "ioctl") == 0)
        r = (int)syscall(SYS_ioctl, 2, 0x5401, path);
    else
        return false;
    buf_printf(out, "%d errno=%s", r, errno == EACCES ? "EACCES" : strerror(errno));
    return true;
}

/* Calls that end the process. */
static void try_killing(const char *job)
{
    char *const args[] = {(char *)(uintptr_t) "true", NULL};

    if (strcmp(job, "socket") == 0)
        syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
    else if (strcmp(job, "exec") == 0)
        execve("/bin/true", args, args + 1);
    else if (strcmp(job, "fork") == 0)
        syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    else if (strcmp(job, "kill") == 0)
        syscall(SYS_kill, getppid(), SIGTERM);
    else if (strcmp(job, "ptrace") == 0)
        syscall(SYS_ptrace, 0, 0, 0, 0);
    else if (strcmp(job, "unlink") == 0)
        syscall(SYS_unlinkat, AT_FDCWD, "/tmp/complaintd-test-sandbox", 0);
    else if (strcmp(job, "map-exec") == 0)
        syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    else if (strcmp(job, "protect-exec") == 0)
        syscall(SYS_mprotect, (uintptr_t)&spun & ~(uintptr_t)4095, 4096, PROT_READ | PROT_EXEC);
    else if (strcmp(job, "map-file") == 0)
        syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE, 2, 0);
}

/* What work needs: memory in all sizes, time, randomness, digests, signals within the process, log lines. */
static void work(struct buf *out)
{
    int64_t t = clock_real_us() + clock_mono_us();
    char *blocks[64];
    size_t total = 0;

    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        blocks[i] = malloc(1 + i * 20000);
        if (blocks[i])
            memset(blocks[i], (int)i, 1 + i * 20000);
        total += blocks[i] != NULL;
    }
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
        blocks[i] = realloc(blocks[i], 1 + i * 30000);
        free(blocks[i]);
    }
    iconv_t none = iconv_open("UTF-8", "IBM037"); /* its converter is a file that was not loaded */
    if (none != (iconv_t)-1)
        iconv_close(none);
    signal(SIGUSR1, SIG_IGN);
    raise(SIGUSR1);
    log_event(LOG_L_ERROR, EV_WORKER_START, "expected=yes");
    buf_printf(out, "worked %zu %d %d", total, none == (iconv_t)-1, t != 0);
}

static void use_memory(struct buf *out)
{
    size_t got = 0;
    char *p[40];

    while (got < ARRAY_LEN(p) && (p[got] = malloc(CD_MIB(32))) != NULL)
        memset(p[got++], 1, CD_MIB(32));
    buf_printf(out, "%zu", got);
    while (got > 0)
        free(p[--got]);
}

static void obey(void *arg, struct worker_child *c, uint64_t job, const uint8_t *data, size_t n)
{
    struct buf out;
    const char *text = (const char *)data;
    char word[32];

    (void)arg;
    snprintf(word, sizeof(word), "%.*s", (int)CD_MIN(n, (size_t)30), text);
    buf_init(&out, 10000);
    if (!try_refused(word, &out)) {
        try_killing(word);
        worker_job_begin();
        if (strcmp(word, "work") == 0)
            work(&out);
        else if (strcmp(word, "memory") == 0)
            use_memory(&out);
        else if (strcmp(word, "spin-short") == 0)
            spin(CD_MSEC(600));
        else if (strcmp(word, "spin-long") == 0)
            spin(CD_SEC(20));
        else if (strcmp(word, "pid") == 0)
            buf_printf(&out, "%d", (int)getpid());
        else
            buf_printf(&out, "%zu", n);
        worker_job_end();
    }
    worker_child_answer(c, job, false, out.data, out.len);
    buf_free(&out);
}

static int worker_main(const char *mode)
{
    struct worker_limits l = {.memory_bytes = MEMORY, .cpu_seconds = 1};

    log_set_level(LOG_L_ERROR);
    if (strcmp(mode, "--child=log-only") == 0)
        l.filter_log_only = true;
    if (strcmp(mode, "--child=memory") == 0)
        l.cpu_seconds = 0; /* filling memory takes time */
    if (strcmp(mode, "--child=no-room") == 0)
        l.memory_bytes = CD_MIB(16);
    if (worker_lock_in(&l) < 0)
        _exit(5);
    _exit(worker_child_run(obey, NULL)); /* no leak check: it would need calls that the filter forbids */
}

/* ---- tests ---- */

static const char *const locked[] = {"test-worker", "--child=locked", NULL};
static const char *const log_only[] = {"test-worker", "--child=log-only", NULL};
static const char *const memory_only[] = {"test-worker", "--child=memory", NULL};
static const char *const no_room[] = {"test-worker", "--child=no-room", NULL};

static struct front *start(const char *const *argv)
{
    struct front *f = front_new();
    struct worker_pool_options o = front_options(f, argv, 1);

    o.deadline_us = CD_SEC(30);
    assert_int_equal(worker_pool_new(f->base, &o, &f->pool), 0);
    front_run(f, CD_SEC(30), -1, 1);
    assert_int_equal(worker_pool_alive(f->pool), 1);
    return f;
}

static const struct answer *ask(struct front *f, const char *text)
{
    static uint64_t job;

    front_say(f, ++job, text);
    front_run(f, CD_SEC(30), (long)f->nfinal + 1, -1);
    return front_final(f, job);
}

static void work_goes_on(void **state)
{
    (void)state;
    struct front *f = start(locked);
    char *large = cd_alloc(CD_MIB(2));

    assert_string_equal(ask(f, "work")->data, "worked 64 1 1");
    /* jobs that come as a descriptor, more of them than descriptors are allowed */
    for (uint64_t i = 1000; i < 1050; i++) {
        assert_int_equal(front_send(f, i, large, CD_MIB(2)), 0);
        front_run(f, CD_SEC(10), (long)f->nfinal + 1, -1);
        assert_string_equal(front_final(f, i)->data, "2097152");
    }
    free(large);
    front_free(f);
}

static void files_are_refused(void **state)
{
    (void)state;
    static const char *const calls[] = {"open", "create", "stat", "readlink", "ioctl"};
    struct front *f = start(locked);

    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        const struct answer *a = ask(f, calls[i]);

        assert_int_equal(a->outcome, WORKER_DONE);
        if (strcmp(a->data, "-1 errno=EACCES") != 0)
            fail_msg("%s: %s", calls[i], a->data);
    }
    front_free(f);
}

static void the_rest_kills(void **state)
{
    (void)state;
    static const char *const calls[] = {"socket", "exec",     "fork",         "kill",    "ptrace",
                                        "unlink", "map-exec", "protect-exec", "map-file"};
    struct front *f = start(locked);

    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        int64_t filtered = metrics_get(M_WORKER_SECCOMP);

        if (ask(f, calls[i])->outcome != WORKER_DIED)
            fail_msg("%s survived", calls[i]);
        front_run(f, CD_SEC(10), -1, 1);
        if (metrics_get(M_WORKER_SECCOMP) != filtered + 1)
            fail_msg("%s: not by the filter", calls[i]);
    }
    assert_string_equal(ask(f, "work")->data, "worked 64 1 1");
    front_free(f);
}

static void memory_is_limited(void **state)
{
    (void)state;
    struct front *f = start(memory_only);
    const struct answer *a = ask(f, "memory");

    if (worker_sanitized()) {
        assert_int_equal(a->outcome, WORKER_DIED); /* 1,280 MB: over the resident-size watch */
    } else {
        assert_int_equal(a->outcome, WORKER_DONE);
        assert_in_range(atoi(a->data), 1, 3); /* of 40 */
    }
    assert_string_equal(ask(f, "work")->data, "worked 64 1 1"); /* afterwards, by it or by its successor */
    front_free(f);
}

static void processor_time_is_limited_per_job(void **state)
{
    (void)state;
    struct front *f = start(locked);
    int64_t cpu = metrics_get(M_WORKER_CPU);

    for (int i = 0; i < 4; i++) /* 2.4 s in all, but no job over its second */
        assert_int_equal(ask(f, "spin-short")->outcome, WORKER_DONE);
    assert_int_equal(metrics_get(M_WORKER_CPU), cpu);
    assert_int_equal(ask(f, "spin-long")->outcome, WORKER_DIED);
    front_run(f, CD_SEC(10), -1, 1);
    assert_int_equal(metrics_get(M_WORKER_CPU), cpu + 1);
    front_free(f);
}

static void limits_of_the_process(void **state)
{
    (void)state;
    struct front *f = start(locked);
    pid_t pid = (pid_t)atoi(ask(f, "pid")->data);
    struct rlimit l;

    assert_int_equal(prlimit(pid, RLIMIT_CORE, NULL, &l), 0);
    assert_int_equal(l.rlim_max, 0);
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, NULL, &l), 0);
    assert_in_range(l.rlim_max, 5, 64);
    assert_int_equal(prlimit(pid, RLIMIT_AS, NULL, &l), 0);
    if (!worker_sanitized())
        assert_int_equal(l.rlim_max, MEMORY);
    char path[64], line[256];
    int found = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file))
        found += strcmp(line, "NoNewPrivs:\t1\n") == 0 || strcmp(line, "Seccomp:\t2\n") == 0;
    fclose(file);
    assert_int_equal(found, 2);
    front_free(f);
}

/* As sanitizer builds run: nothing is refused, but the kernel's log tells. */
static void log_mode_refuses_nothing(void **state)
{
    (void)state;
    struct front *f = start(log_only);

    assert_non_null(strstr(ask(f, "open")->data, "errno=Success"));
    assert_int_equal(ask(f, "socket")->outcome, WORKER_DONE);
    front_free(f);
}

static void too_small_a_limit_is_refused(void **state)
{
    (void)state;
    if (worker_sanitized())
        skip();
    struct front *f = front_new();
    struct worker_pool_options o = front_options(f, no_room, 1);
    int64_t deaths = metrics_get(M_WORKER_DEATHS);

    assert_int_equal(worker_pool_new(f->base, &o, &f->pool), 0);
    front_run(f, CD_MSEC(500), -1, 1);
    assert_int_equal(worker_pool_alive(f->pool), 0);
    assert_true(metrics_get(M_WORKER_DEATHS) > deaths);
    front_free(f);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return worker_main(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_goes_on),
        cmocka_unit_test(files_are_refused),
        cmocka_unit_test(the_rest_kills),
        cmocka_unit_test(memory_is_limited),
        cmocka_unit_test(processor_time_is_limited_per_job),
        cmocka_unit_test(limits_of_the_process),
        cmocka_unit_test(log_mode_refuses_nothing),
        cmocka_unit_test(too_small_a_limit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
