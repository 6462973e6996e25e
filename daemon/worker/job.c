/* A job and its bytes: in memory, or for large ones in a sealed memfd, which the worker reads without a copy
 * through the socket. The pool owns jobs; failure to make a memfd (no descriptors left) only means the slower
 * way. */
#include "daemon/worker/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static bool write_part(int fd, const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t w = write(fd, p, n);

        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

/* Written straight from where the parts are: the copy in the memfd is the only one that handing over costs. */
static int memfd_of(const char *name, const struct iovec *parts, size_t nparts)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return -1;
    for (size_t i = 0; i < nparts; i++)
        if (!write_part(fd, parts[i].iov_base, parts[i].iov_len)) {
            close(fd);
            return -1;
        }
    /* Sealed, so that a worker cannot change what another is to read. */
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int worker_memfd(const char *name, const void *data, size_t n)
{
    struct iovec part = {(void *)(uintptr_t)data, n};

    return memfd_of(name, &part, 1);
}

size_t worker_parts_size(const struct iovec *parts, size_t nparts)
{
    size_t n = 0;

    for (size_t i = 0; i < nparts; i++)
        n += CD_MIN(parts[i].iov_len, SIZE_MAX - n);
    return n;
}

struct worker_job *worker_job_new(uint64_t id, const struct iovec *parts, size_t nparts, bool want_memfd)
{
    size_t n = worker_parts_size(parts, nparts);
    int fd = want_memfd ? memfd_of("job", parts, nparts) : -1;
    struct worker_job *j = malloc(sizeof(*j) + (fd < 0 ? n : 0));

    if (!j) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    *j = (struct worker_job){.id = id, .memfd = fd, .n = n};
    for (size_t i = 0, at = 0; fd < 0 && i < nparts; at += parts[i++].iov_len)
        if (parts[i].iov_len > 0)
            memcpy(j->data + at, parts[i].iov_base, parts[i].iov_len);
    struct frame_header h = {.length = (uint32_t)n, .job = id, .flags = fd >= 0 ? FRAME_MEMFD : 0};
    frame_header_write(&h, j->header);
    return j;
}

void worker_job_free(struct worker_job *j)
{
    if (j->memfd >= 0)
        close(j->memfd);
    free(j);
}
