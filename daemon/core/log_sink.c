/* Where lines go: the journal's socket, or standard error. Neither is waited for. What the reader does not take is kept, in order,
 * up to LOG_WAITING_MAX bytes, and offered again with the next line or tick; what does not fit there is dropped and counted.
 *
 * Standard error is shared with other processes, so it must not be made non-blocking itself: a pipe or terminal is opened once more
 * for us alone, a socket is written with MSG_DONTWAIT, a file does not block; for anything else poll() is asked first. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log_impl.h"
#include "daemon/core/metrics.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

enum kind { UNOPENED, JOURNAL, DESCRIPTOR, SOCKET, ASK_FIRST };

static struct {
    enum kind kind;
    int fd;
    bool own_fd, stderr_is_journal;
    struct sockaddr_un journal;
    struct buf waiting; /* records: 4 bytes length, data */
    size_t at;          /* what of it is gone */
    uint64_t dropped;
} sink = {.fd = -1};

/* ---- opening ---- */

/* systemd.exec(5): the variable holds device and inode of the stream; it may have been inherited by a program whose standard
 * error was redirected since. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    char *end;
    if (!stream || fstat(STDERR_FILENO, &st) < 0 || strtoull(stream, &end, 10) != st.st_dev || *end != ':')
        return false;
    return strtoull(end + 1, &end, 10) == st.st_ino && *end == '\0';
}

static void set(enum kind kind, int fd, bool own)
{
    if (sink.own_fd)
        close(sink.fd);
    sink.kind = kind;
    sink.fd = fd;
    sink.own_fd = own;
    buf_free(&sink.waiting);
    buf_init(&sink.waiting, LOG_WAITING_MAX);
    sink.at = 0;
    sink.dropped = 0;
}

int log_sink_open_journal(const char *path)
{
    struct stat st;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || stat(path, &st) < 0 || strlen(path) >= sizeof sink.journal.sun_path) {
        if (fd >= 0)
            close(fd);
        return CD_EIO;
    }
    int size = 8 << 20; /* the kernel cuts it to net.core.wmem_max */
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    sink.journal.sun_family = AF_UNIX;
    snprintf(sink.journal.sun_path, sizeof sink.journal.sun_path, "%s", path);
    set(JOURNAL, fd, true);
    return 0;
}

void log_sink_open_fd(int fd)
{
    struct stat st;
    bool known = fstat(fd, &st) == 0;
    char path[40];
    if (known && S_ISREG(st.st_mode)) {
        set(DESCRIPTOR, fd, false);
    } else if (known && S_ISSOCK(st.st_mode)) {
        set(SOCKET, fd, false);
    } else {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        int own = known ? open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
        set(own >= 0 ? DESCRIPTOR : ASK_FIRST, own >= 0 ? own : fd, own >= 0);
    }
}

void log_sink_open(void)
{
    sink.stderr_is_journal = stderr_is_journal();
    if (!sink.stderr_is_journal || log_sink_open_journal(JOURNAL_SOCKET) < 0)
        log_sink_open_fd(STDERR_FILENO);
}

bool log_sink_is_journal(void)
{
    if (sink.kind == UNOPENED)
        log_sink_open();
    return sink.kind == JOURNAL;
}

bool log_sink_stderr_is_journal(void)
{
    return sink.stderr_is_journal;
}

/* ---- writing ---- */

/* sendmsg(), because a worker's filter knows no sendto(). */
static ssize_t send_to(const void *p, size_t n, bool to_journal)
{
    struct iovec iov = {(void *)(uintptr_t)p, n};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (to_journal) {
        m.msg_name = &sink.journal;
        m.msg_namelen = sizeof sink.journal;
    }
    return sendmsg(sink.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Bytes taken; 0: not now; negative: never. */
static ssize_t offer(const void *p, size_t n)
{
    struct pollfd ask = {.fd = sink.fd, .events = POLLOUT};
    ssize_t r;
    do {
        if (sink.kind == JOURNAL || sink.kind == SOCKET)
            r = send_to(p, n, sink.kind == JOURNAL);
        else if (sink.kind == ASK_FIRST && poll(&ask, 1, 0) == 0)
            return 0;
        else
            r = write(sink.fd, p, n);
    } while (r < 0 && errno == EINTR);
    if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM))
        return 0;
    return r;
}

static void drop(void)
{
    sink.dropped++;
    metrics_inc(M_LOG_DROPPED);
}

static void keep(const void *data, size_t n)
{
    uint32_t length = (uint32_t)n;
    if (sink.at && sink.waiting.len + n + sizeof length > LOG_WAITING_MAX) {
        buf_consume(&sink.waiting, sink.at);
        sink.at = 0;
    }
    if (buf_reserve(&sink.waiting, n + sizeof length) < 0) {
        sink.waiting.failed = false;
        drop();
        return;
    }
    buf_append(&sink.waiting, &length, sizeof length);
    buf_append(&sink.waiting, data, n);
}

void log_sink_drain(void)
{
    uint32_t length;
    while (sink.at < sink.waiting.len) {
        uint8_t *record = sink.waiting.data + sink.at;
        memcpy(&length, record, sizeof length);
        ssize_t r = offer(record + sizeof length, length);
        if (r == 0)
            return;
        if (r < 0)
            drop();
        if (r > 0 && (size_t)r < length) { /* a stream took a part: the rest is a record of its own */
            length -= (uint32_t)r;
            memcpy(record + r, &length, sizeof length);
            sink.at += (size_t)r;
            return;
        }
        sink.at += sizeof length + length;
    }
    if (sink.at) {
        buf_free(&sink.waiting); /* it was needed for a rare moment */
        sink.at = 0;
    }
}

void log_sink_put(const void *data, size_t n)
{
    log_sink_drain();
    ssize_t r = log_sink_waiting() ? 0 : offer(data, n);
    if (r < 0)
        drop();
    else if ((size_t)r < n)
        keep((const uint8_t *)data + r, n - (size_t)r);
}

void log_sink_drain_for(int64_t us)
{
    int64_t until = clock_mono_us() + us;
    struct pollfd room = {.fd = sink.fd, .events = POLLOUT};
    log_sink_drain();
    while (log_sink_waiting() && clock_mono_us() < until) {
        poll(&room, 1, 10);
        log_sink_drain();
    }
}

size_t log_sink_waiting(void)
{
    return sink.waiting.len - sink.at;
}

uint64_t log_sink_take_dropped(void)
{
    uint64_t n = sink.dropped;
    if (!n || log_sink_waiting())
        return 0;
    sink.dropped = 0;
    return n;
}
