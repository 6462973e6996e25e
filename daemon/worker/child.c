/* The worker's end of the socket: a blocking loop of read, handle, answer. Each answer is written at once, so
 * that a crash in the next job takes none with it. Only recvmsg, sendmsg, read and close are used, and
 * memory; the mail worker runs the same loop without the filter. A front that has gone or speaks nonsense
 * ends the process; job data is freed after the handler. */
#include "daemon/worker/worker.h"

#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/worker/frame.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXIT_IO 74       /* EX_IOERR */
#define EXIT_PROTOCOL 76 /* EX_PROTOCOL */
#define EXIT_MEMORY 75   /* EX_TEMPFAIL */
#define MAX_FDS 4        /* received and not yet claimed by a frame; a call of recvmsg gives one at most */
#define KEEP_BUFFER CD_MIB(1)

struct worker_child {
    struct buf in;
    size_t at; /* bytes of `in` already handled */
    int fds[MAX_FDS];
    unsigned nfds;
    uint64_t job;  /* the present one */
    bool answered; /* it has its final answer */
    bool gone;     /* the front is */
};

static int send_frame(struct worker_child *c, const struct frame_header *h, const void *data)
{
    uint8_t header[FRAME_HEADER_SIZE];
    struct iovec iov[2] = {{header, sizeof(header)}, {(void *)(uintptr_t)data, h->length}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};

    frame_header_write(h, header);
    while (iov[0].iov_len + iov[1].iov_len > 0) {
        ssize_t n = sendmsg(WORKER_SOCKET_FD, &m, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            c->gone = true;
            return CD_EIO;
        }
        for (int i = 0; i < 2; i++) {
            size_t part = CD_MIN((size_t)n, iov[i].iov_len);

            if (part == 0)
                continue;
            iov[i].iov_base = (uint8_t *)iov[i].iov_base + part;
            iov[i].iov_len -= part;
            n -= (ssize_t)part;
        }
    }
    return 0;
}

int worker_child_answer(struct worker_child *c, uint64_t job, bool more, const void *data, size_t n)
{
    struct frame_header h = {.length = (uint32_t)n, .job = job, .flags = more ? FRAME_MORE : 0};

    if (n > FRAME_MAX)
        return CD_ELIMIT;
    cd_assert(job == c->job && !c->answered);
    c->answered = !more;
    return send_frame(c, &h, data);
}

/* ---- reading ---- */

static bool keep_fds(struct worker_child *c, struct msghdr *m)
{
    for (struct cmsghdr *k = CMSG_FIRSTHDR(m); k; k = CMSG_NXTHDR(m, k)) {
        if (k->cmsg_level != SOL_SOCKET || k->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= k->cmsg_len; i++) {
            if (c->nfds == MAX_FDS)
                return false;
            memcpy(&c->fds[c->nfds++], CMSG_DATA(k) + i * sizeof(int), sizeof(int));
        }
    }
    return (m->msg_flags & MSG_CTRUNC) == 0;
}

/* Reads once. 0, or the exit status (also EXIT_SUCCESS at the end) as -1 - status. */
static int fill(struct worker_child *c)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(MAX_FDS * sizeof(int))];
    } control;

    buf_consume(&c->in, c->at);
    c->at = 0;
    if (c->in.len == 0 && c->in.size > KEEP_BUFFER)
        buf_free(&c->in);
    if (buf_reserve(&c->in, FRAME_READ) < 0)
        return -1 - EXIT_MEMORY;
    struct iovec iov = {c->in.data + c->in.len, FRAME_READ};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t n;
    do
        n = recvmsg(WORKER_SOCKET_FD, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n == 0 || (n < 0 && errno == ECONNRESET))
        return -1 - EXIT_SUCCESS;
    if (n < 0)
        return -1 - EXIT_IO;
    c->in.len += (size_t)n;
    c->in.data[c->in.len] = '\0';
    return keep_fds(c, &m) ? 0 : -1 - EXIT_PROTOCOL;
}

static int handle(struct worker_child *c, worker_handler fn, void *arg, uint64_t job, const uint8_t *data,
                  size_t n)
{
    c->job = job;
    c->answered = false;
    fn(arg, c, job, data, n);
    if (!c->answered)
        worker_child_answer(c, job, false, NULL, 0);
    return c->gone ? -1 - EXIT_SUCCESS : 0;
}

/* A large job: its bytes are read from the descriptor that came with it. */
static int handle_memfd(struct worker_child *c, worker_handler fn, void *arg, const struct frame_header *h)
{
    size_t got = 0;
    ssize_t r = 1;

    if (c->nfds == 0)
        return -1 - EXIT_PROTOCOL;
    int fd = c->fds[0];
    memmove(c->fds, c->fds + 1, --c->nfds * sizeof(int));
    uint8_t *data = malloc((size_t)h->length + 1);
    while (data && got < h->length && r > 0) {
        r = read(fd, data + got, h->length - got);
        if (r > 0)
            got += (size_t)r;
        else if (r < 0 && errno == EINTR)
            r = 1;
    }
    close(fd);
    int result = data ? -1 - EXIT_IO : -1 - EXIT_MEMORY;
    if (data && got == h->length) {
        data[got] = '\0';
        result = handle(c, fn, arg, h->job, data, got);
    }
    free(data);
    return result;
}

/* Handles one frame: 1, or 0 when none is there in full, or -1 - exit status. */
static int step(struct worker_child *c, worker_handler fn, void *arg)
{
    struct frame_header h;
    size_t have = c->in.len - c->at;

    if (have < FRAME_HEADER_SIZE)
        return 0;
    const uint8_t *p = c->in.data + c->at;
    frame_header_read(p, &h);
    if (h.length > FRAME_MAX || (h.flags & ~FRAME_MEMFD))
        return -1 - EXIT_PROTOCOL;
    if (h.flags & FRAME_MEMFD) {
        c->at += FRAME_HEADER_SIZE;
        int r = handle_memfd(c, fn, arg, &h);
        return r < 0 ? r : 1;
    }
    if (have - FRAME_HEADER_SIZE < h.length)
        return 0;
    c->at += FRAME_HEADER_SIZE + h.length;
    int r = handle(c, fn, arg, h.job, p + FRAME_HEADER_SIZE, h.length);
    return r < 0 ? r : 1;
}

int worker_child_run(worker_handler fn, void *arg)
{
    struct worker_child c = {.nfds = 0};
    const struct frame_header ready = {.flags = FRAME_READY};
    int r = 1;

    buf_init(&c.in, FRAME_MAX + FRAME_HEADER_SIZE + FRAME_READ);
    if (send_frame(&c, &ready, NULL) < 0)
        return EXIT_SUCCESS; /* the front is gone already */
    while (r >= 0) {
        r = step(&c, fn, arg);
        if (r == 0)
            r = fill(&c);
    }
    buf_free(&c.in);
    while (c.nfds > 0)
        close(c.fds[--c.nfds]);
    int status = -1 - r;
    if (status != EXIT_SUCCESS)
        log_event(LOG_L_ERROR, EV_WORKER_STOP, "status=%d errno=%d", status, errno);
    return status;
}

int worker_child_config(struct buf *out)
{
    off_t at = 0;

    for (;;) {
        if (buf_reserve(out, FRAME_READ) < 0)
            return CD_ENOMEM;
        ssize_t n = pread(WORKER_CONFIG_FD, out->data + out->len, FRAME_READ, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return CD_EIO;
        if (n == 0)
            break;
        at += n;
        out->len += (size_t)n;
    }
    out->data[out->len] = '\0';
    return 0;
}

const char *worker_child_name(void)
{
    const char *name = getenv("CD_WORKER");

    return name && *name ? name : "worker";
}
