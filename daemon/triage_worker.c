/* The triage worker: set-up from the memfd, everything loaded, then the doors are closed (seccomp, limits) and jobs are read. */
#include "daemon/triage_worker.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channels/channel.h"
#include "channels/mail/decode.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/triage/match.h"
#include "daemon/worker/worker.h"

#define CONFIG_MAGIC 0x43445431u /* "CDT1" */
#define CONFIG_CAP CD_MIB(256)

/* ---- in the front ---- */

static int write_all(int fd, const void *data, size_t n)
{
    const uint8_t *p = data;
    while (n) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return CD_EIO;
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

static uint64_t worker_memory(const struct config *c)
{
    return c->triage_memory_bytes + 4 * CD_MAX(c->mail_max_message_bytes, c->web_max_body_bytes);
}

/* In the child. */
static int compile_into(const struct config *c, int fd)
{
    struct buf patterns, out;
    struct faults faults = {.max = 20};
    buf_init(&patterns, CONFIG_CAP);
    buf_init(&out, CONFIG_CAP);
    if (match_compile(&c->rules, &patterns, &faults) < 0) {
        for (size_t i = 0; i < faults.n; i++)
            log_event(LOG_L_ERROR, EV_TRIAGE_BAD_PATTERN, "file=%s line=%d error=%s", faults.v[i].file ? faults.v[i].file : "-",
                      faults.v[i].line, log_quote(faults.v[i].text));
        return 1;
    }
    wire_u32(&out, CONFIG_MAGIC);
    wire_u64(&out, worker_memory(c));
    wire_u32(&out, (uint32_t)c->triage_cpu_seconds);
    wire_u64(&out, c->triage_match_bytes);
    wire_u8(&out, (uint8_t)c->log_level);
    wire_bytes(&out, patterns.data, patterns.len);
    return out.failed || write_all(fd, out.data, out.len) < 0;
}

/* The front may be serving meanwhile: a socket that it closes must not stay open here, and no signal means this process. */
static void leave_front(int keep)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        signal(numbers[i], SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (keep > 3)
        close_range(3, (unsigned)keep - 1, 0);
    close_range((unsigned)keep + 1, ~0U, 0);
    log_open();
}

int triage_config_begin(const struct config *c, pid_t *ret_pid)
{
    int fd = memfd_create("complaintd-triage", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        log_event(LOG_L_ERROR, EV_TRIAGE_MEMFD, "error=%s", log_quote(strerror(errno)));
        return CD_EIO;
    }
    pid_t pid = fork();
    if (pid == 0) {
        leave_front(fd);
        _exit(compile_into(c, fd));
    }
    if (pid < 0) {
        log_event(LOG_L_ERROR, EV_TRIAGE_COMPILE_FAILED, "advice=%s", log_quote("no process could be started; raise TasksMax"));
        close(fd);
        return CD_EIO;
    }
    *ret_pid = pid;
    return fd;
}

static int config_end(int fd, pid_t pid, int options)
{
    int status = 0;
    pid_t r;
    while ((r = waitpid(pid, &status, options)) < 0 && errno == EINTR)
        ;
    if (r == 0)
        return CD_EAGAIN;
    if (r == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    log_event(LOG_L_ERROR, EV_TRIAGE_COMPILE_FAILED, "advice=%s", log_quote("run complaintd --check to see which pattern is at fault"));
    close(fd);
    return CD_ECONFIG;
}

int triage_config_end(int fd, pid_t pid)
{
    return config_end(fd, pid, WNOHANG);
}

void triage_config_abandon(int fd, pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    close(fd);
}

int triage_config_fd(const struct config *c)
{
    pid_t pid;
    int fd = triage_config_begin(c, &pid);
    int r = fd < 0 ? fd : config_end(fd, pid, 0);
    return r < 0 ? r : fd;
}

bool triage_config_same(const struct config *a, const struct config *b)
{
    return strcmp(a->rules.version, b->rules.version) == 0 && worker_memory(a) == worker_memory(b) &&
           a->triage_cpu_seconds == b->triage_cpu_seconds && a->triage_match_bytes == b->triage_match_bytes && a->log_level == b->log_level;
}

/* ---- in the worker ---- */

struct triage {
    struct matcher *matcher;
    size_t match_bytes;
    struct buf answer;
    struct worker_limits limits;
};

static const struct channel *const decoders[] = {&channel_mail, &channel_sms, &channel_line, &channel_web};

static struct record *decode(const struct envelope *e)
{
    struct record *r = record_new();
    for (size_t i = 0; i < ARRAY_LEN(decoders); i++)
        if (decoders[i]->id == e->channel && decoders[i]->decode && decoders[i]->decode(e, r) == 0)
            return r;
    record_free(&r);
    return record_degraded(e, "cannot be decoded");
}

static void on_job(void *arg, struct worker_child *child, uint64_t job, const uint8_t *data, size_t n)
{
    struct triage *t = arg;
    struct envelope *e = NULL;
    struct record *r = NULL;
    worker_job_begin();
    buf_reset(&t->answer);
    if (n < 1 || envelope_read(data + 1, n - 1, &e) < 0) {
        worker_child_answer(child, job, false, "", 0); /* the front reads it as malformed and degrades */
        worker_job_end();
        return;
    }
    r = decode(e);
    matcher_run(t->matcher, r, t->match_bytes);
    record_write(r, &t->answer);
    if (t->answer.failed) { /* over the cap: say so instead of nothing */
        record_free(&r);
        r = record_degraded(e, "too large when decoded");
        buf_reset(&t->answer);
        record_write(r, &t->answer);
    }
    worker_child_answer(child, job, false, t->answer.data, t->answer.len);
    record_free(&r);
    envelope_free(&e);
    worker_job_end();
}

static int read_config(struct triage *t)
{
    struct buf b;
    buf_init(&b, CONFIG_CAP);
    uint8_t chunk[65536];
    ssize_t n;
    off_t at = 0;
    while ((n = pread(WORKER_CONFIG_FD, chunk, sizeof chunk, at)) > 0) {
        buf_append(&b, chunk, (size_t)n);
        at += n;
    }
    close(WORKER_CONFIG_FD);
    struct wire_reader r;
    wire_reader_init(&r, b.data, b.len);
    bool known = wire_read_u32(&r) == CONFIG_MAGIC;
    t->limits.memory_bytes = wire_read_u64(&r);
    t->limits.cpu_seconds = wire_read_u32(&r);
    t->match_bytes = wire_read_u64(&r);
    enum log_level level = (enum log_level)wire_read_u8(&r);
    if (known && !r.failed) /* else there is something to say below */
        log_set_level(level);
    size_t size;
    const uint8_t *patterns = wire_read_bytes(&r, &size);
    int result = !known || r.failed || b.failed ? CD_EINVAL : matcher_new(patterns, size, &t->matcher);
    buf_free(&b);
    return result;
}

int triage_worker_main(void)
{
    static struct triage t;
    log_open();
    log_set_process(worker_child_name());
    buf_init(&t.answer, CD_MIB(48));
    t.limits.filter_log_only = worker_sanitized();
    if (read_config(&t) < 0) {
        log_event(LOG_L_ERROR, EV_TRIAGE_BAD_CONFIG, "advice=%s", log_quote("started by hand? triage workers are started by complaintd itself"));
        return 78;
    }
    if (mail_decode_prepare() < 0 || worker_lock_in(&t.limits) < 0) {
        log_event(LOG_L_ERROR, EV_TRIAGE_LOCK_IN_FAILED, "error=%s", log_quote(strerror(errno)));
        return 70;
    }
    _exit(worker_child_run(on_job, &t)); /* exit handlers of the libraries may want files */
}
