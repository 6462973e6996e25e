/* Shutting a worker in: limits, then a system call filter that leaves reading, writing and memory. Files give
 * EACCES, for a library that asks for one by a sender's wish (iconv does) must get an answer; anything else
 * ends the process with SIGSYS, which the pool counts and reports. Nothing is allocated that must be freed; a
 * failure leaves the process unfit for work. */
#include "daemon/worker/worker.h"

#include "daemon/core/crypto.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"

#include <seccomp.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

#define MAX_DESCRIPTORS 32  /* five at the start, and those that jobs bring */
#define MIN_ROOM CD_MIB(32) /* address space left for work after loading */
#define WATCH_EVERY_NS 20000000L

static struct {
    unsigned cpu_seconds;
    size_t resident_max; /* sanitizer builds; 0: not watched */
    timer_t cpu_timer, watch_timer;
} lock;

bool worker_sanitized(void)
{
    return SANITIZED;
}

/* ---- per job ---- */

static void set_timer(timer_t t, time_t seconds, long interval_ns)
{
    struct itimerspec when = {.it_value = {.tv_sec = seconds, .tv_nsec = interval_ns},
                              .it_interval = {.tv_nsec = interval_ns}};

    timer_settime(t, 0, &when, NULL);
}

void worker_job_begin(void)
{
    if (lock.cpu_seconds > 0)
        set_timer(lock.cpu_timer, (time_t)lock.cpu_seconds, 0);
    if (lock.resident_max > 0)
        set_timer(lock.watch_timer, 0, WATCH_EVERY_NS);
}

void worker_job_end(void)
{
    /* The timer of CPU time stays armed: it stands still while the process waits, and the next job sets it anew. */
    if (lock.resident_max > 0)
        set_timer(lock.watch_timer, 0, 0);
}

static void on_watch(int sig)
{
    static const char text[] = "worker: resident size over its limit\n";
    struct rusage u;

    (void)sig;
    if (getrusage(RUSAGE_SELF, &u) == 0 && (size_t)u.ru_maxrss > lock.resident_max / 1024) {
        ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);

        (void)ignored;
        _exit(75); /* as when an allocation fails */
    }
}

/* Timers are made before the filter, which lets them be set only. SIGXCPU ends the process by default. */
static int make_timers(const struct worker_limits *l)
{
    struct sigevent cpu = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGXCPU};
    struct sigevent watch = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    struct sigaction act = {.sa_handler = on_watch, .sa_flags = SA_RESTART};

    if (l->cpu_seconds > 0 && timer_create(CLOCK_PROCESS_CPUTIME_ID, &cpu, &lock.cpu_timer) < 0)
        return CD_EIO;
    lock.cpu_seconds = l->cpu_seconds;
    if (!SANITIZED || l->memory_bytes == 0)
        return 0;
    if (sigaction(SIGALRM, &act, NULL) < 0 || timer_create(CLOCK_MONOTONIC, &watch, &lock.watch_timer) < 0)
        return CD_EIO;
    /* Red zones, shadow and the quarantine of freed blocks (256 MB) come on top of the program's own use. */
    lock.resident_max = (size_t)l->memory_bytes * 3 + CD_MIB(256);
    return 0;
}

/* ---- limits ---- */

static int set_limit(__rlimit_resource_t what, rlim_t value)
{
    struct rlimit now;

    if (getrlimit(what, &now) < 0)
        return CD_EIO;
    if (now.rlim_max != RLIM_INFINITY && value > now.rlim_max)
        value = now.rlim_max; /* stricter already */
    now = (struct rlimit){value, value};
    return setrlimit(what, &now) < 0 ? CD_EIO : 0;
}

static uint64_t address_space(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f) {
        if (fscanf(f, "%lu", &pages) != 1)
            pages = 0;
        fclose(f);
    }
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int limit_resources(const struct worker_limits *l)
{
    uint64_t used = address_space();
    int r;

    if (!SANITIZED && l->memory_bytes > 0) {
        if (l->memory_bytes < used + MIN_ROOM) {
            log_event(LOG_L_ERROR, EV_WORKER_MEMORY, "limit_mb=%llu needed_mb=%llu advice=%s",
                      (unsigned long long)(l->memory_bytes >> 20),
                      (unsigned long long)((used + MIN_ROOM) >> 20),
                      log_quote("raise the memory option of these workers"));
            return CD_ELIMIT;
        }
        if ((r = set_limit(RLIMIT_AS, l->memory_bytes)) < 0)
            return r;
    }
    if ((r = set_limit(RLIMIT_NOFILE, MAX_DESCRIPTORS)) < 0)
        return r;
    /* Complaints are personal data: no copy of this memory in a core file, nor in one that a pipe takes. */
    if (!SANITIZED && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return CD_EIO;
    return set_limit(RLIMIT_CORE, 0);
}

/* ---- filter ---- */

static const int allowed[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendmsg),
    SCMP_SYS(close),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(futex),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(getrandom),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(tgkill),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(sched_yield),
    SCMP_SYS(getrusage),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(timer_settime),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

/* Asked for by libraries that can do without. */
static const int denied[] = {
    SCMP_SYS(open),       SCMP_SYS(openat),     SCMP_SYS(access),     SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2), SCMP_SYS(readlink),   SCMP_SYS(readlinkat), SCMP_SYS(stat),
    SCMP_SYS(lstat),      SCMP_SYS(newfstatat), SCMP_SYS(statx),      SCMP_SYS(fstat),
    SCMP_SYS(lseek),      SCMP_SYS(ioctl),      SCMP_SYS(fcntl),      SCMP_SYS(prctl),
};

static int add_rules(scmp_filter_ctx ctx)
{
    int r = 0;

    for (size_t i = 0; i < ARRAY_LEN(allowed) && r == 0; i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
    /* Memory, but none that can be executed, and none that comes from a file. mprotect: malloc grows its
     * second and further arenas by it, also when a limit makes the first one fail. */
    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2,
                             SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
                             SCMP_A3_32(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS));
    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                             SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    return r;
}

static int filter_calls(bool log_only)
{
    scmp_filter_ctx ctx = seccomp_init(log_only ? SCMP_ACT_LOG : SCMP_ACT_KILL_PROCESS);
    int r = ctx ? add_rules(ctx) : -ENOMEM;

    /* In log mode the denied ones are only logged as well: the sanitizers' reports read files. */
    for (size_t i = 0; !log_only && i < ARRAY_LEN(denied) && r == 0; i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), denied[i], 0);
    if (r == 0)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1); /* for threads that a library has started */
    if (r == 0)
        r = seccomp_load(ctx);
    if (ctx)
        seccomp_release(ctx);
    if (r == 0)
        return 0;
    log_event(log_only ? LOG_L_WARN : LOG_L_ERROR, EV_WORKER_FILTER, "error=%s", log_quote(strerror(-r)));
    return log_only ? 0 : CD_EIO; /* valgrind, for one, takes no filter */
}

int worker_lock_in(const struct worker_limits *l)
{
    uint8_t digest[SHA256_SIZE];
    int r;

    /* OpenSSL reads its configuration and finds its algorithms at the first use: before files are out of
     * reach. */
    sha256("", 0, digest);
    random_bytes(digest, sizeof(digest));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        r = CD_EIO;
    else if ((r = make_timers(l)) == 0 && (r = limit_resources(l)) == 0)
        r = filter_calls(l->filter_log_only);
    if (r < 0)
        log_event(LOG_L_ERROR, EV_WORKER_LOCK_IN, "error=%s errno=%d", log_quote(cd_strerror(r)), errno);
    return r;
}
