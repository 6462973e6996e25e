/* A job and its bytes: in memory, or for large ones in a sealed memfd, which the worker reads without a copy
 * through the socket. The pool owns jobs; failure to make a memfd (no descriptors left) only means the slower
 * way. */
#include "daemon/worker/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int worker_memfd(const char *name, const void *data, size_t n)
{
    const uint8_t *p = data;
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return -1;
    while (n > 0) {
        ssize_t w = write(fd, p, n);

        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0) {
            close(fd);
            return -1;
        }
        p += w;
        n -= (size_t)w;
    }
    /* Sealed, so that a worker cannot change what another is to read. */
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

struct worker_job *worker_job_new(uint64_t id, const void *data, size_t n, bool want_memfd)
{
    int fd = want_memfd ? worker_memfd("job", data, n) : -1;
    struct worker_job *j = malloc(sizeof(*j) + (fd < 0 ? n : 0));

    if (!j) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    *j = (struct worker_job){.id = id, .memfd = fd, .n = n};
    if (fd < 0 && n > 0)
        memcpy(j->data, data, n);
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
