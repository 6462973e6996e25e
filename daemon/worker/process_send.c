/* Handing jobs to a process: several frames a system call, never blocking. What the socket does not take
 * waits in the jobs themselves, which stay the pool's. An error of the socket is not acted on here, for
 * answers may still be in it. */
#include "daemon/worker/pool.h"

#include "daemon/core/clock.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_IOV 32

void process_give(struct process *p, struct worker_job *j)
{
    if (TAILQ_EMPTY(&p->jobs)) {
        p->head_since_us = p->clock_since_us = clock_mono_us();
        /* Armed only when it is not: the callback looks at the head's own time. */
        if (p->pool->o.deadline_us > 0 && !evtimer_pending(p->timer, NULL))
            process_arm(p, p->pool->o.deadline_us);
    }
    TAILQ_INSERT_TAIL(&p->jobs, j, link);
    p->njobs++;
    if (!p->sending) {
        p->sending = j;
        p->sent = 0;
    }
}

/* Adds what is left of the frame after `skip` bytes. */
static int add_frame(struct iovec *iov, struct worker_job *j, size_t skip)
{
    int n = 0;

    if (skip < FRAME_HEADER_SIZE)
        iov[n++] = (struct iovec){j->header + skip, FRAME_HEADER_SIZE - skip};
    skip -= CD_MIN(skip, (size_t)FRAME_HEADER_SIZE);
    if (j->memfd < 0 && j->n > skip)
        iov[n++] = (struct iovec){j->data + skip, j->n - skip};
    return n;
}

/* One system call: the frames from `sending` on, up to a job with a descriptor, which goes alone; the
 * descriptor travels with the first byte of its header. Bytes sent or -1. */
static ssize_t send_some(struct process *p)
{
    struct iovec iov[MAX_IOV];
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr m = {.msg_iov = iov};
    struct worker_job *j = p->sending;

    if (j->memfd >= 0) {
        m.msg_iovlen = (size_t)add_frame(iov, j, p->sent);
        if (p->sent == 0) {
            lseek(j->memfd, 0, SEEK_SET); /* an earlier process may have read it */
            memset(&control, 0, sizeof(control));
            m.msg_control = &control;
            m.msg_controllen = sizeof(control);
            struct cmsghdr *c = CMSG_FIRSTHDR(&m);
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(c), &j->memfd, sizeof(int));
        }
    } else {
        size_t skip = p->sent;

        for (; j && j->memfd < 0 && m.msg_iovlen + 2 <= MAX_IOV; j = TAILQ_NEXT(j, link), skip = 0)
            m.msg_iovlen += (size_t)add_frame(iov + m.msg_iovlen, j, skip);
    }
    return sendmsg(p->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static size_t frame_size(const struct worker_job *j)
{
    return FRAME_HEADER_SIZE + (j->memfd < 0 ? j->n : 0);
}

void process_send(struct process *p)
{
    while (p->state == PROCESS_READY && p->sending && !p->send_blocked) {
        ssize_t n = send_some(p);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            /* A broken socket is left to the reader: answers may still be in it. */
            p->send_blocked = true;
            if (errno == EAGAIN || errno == EWOULDBLOCK)
                event_add(p->writable, NULL);
            return;
        }
        size_t sent = (size_t)n + p->sent;
        while (p->sending && sent >= frame_size(p->sending)) {
            sent -= frame_size(p->sending);
            p->sending = TAILQ_NEXT(p->sending, link);
        }
        p->sent = sent;
    }
}

void process_on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct process *p = arg;

    (void)fd;
    (void)what;
    p->send_blocked = false;
    process_send(p);
}
