/* The client side of the line protocol. Reads through a buffer with a cap, so that a faulty server cannot
 * take all memory. Faults are told on standard error, once. */
#include "ctl/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/core/str.h"

#define ANSWER_CAP CD_MIB(80)

struct client {
    int fd;
    struct buf in;
    size_t taken; /* bytes of `in` that are done with */
};

static struct client *complain(const char *path, const char *why)
{
    fprintf(stderr, "complaintctl: cannot connect to %s: %s\n", path, why);
    fprintf(stderr, "  is complaintd running, and does its line.listen name this socket? (--socket PATH, "
                    "--config FILE)\n");
    return NULL;
}

struct client *client_open(const char *path, int timeout_s)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    const struct timeval wait = {timeout_s, 0};

    if (strlen(path) >= sizeof sun.sun_path)
        return complain(path, "the path is too long for a unix socket");
    memcpy(sun.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&sun, sizeof sun) < 0) {
        const char *why = strerror(errno);
        if (fd >= 0)
            close(fd);
        return complain(path, why);
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    struct client *c = cd_alloc(sizeof *c);
    c->fd = fd;
    buf_init(&c->in, ANSWER_CAP);
    return c;
}

void client_close(struct client **cp)
{
    struct client *c = *cp;
    if (!c)
        return;
    close(c->fd);
    buf_free(&c->in);
    free(c);
    *cp = NULL;
}

static int send_all(struct client *c, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t r = send(c->fd, p, n, MSG_NOSIGNAL);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return -1;
        p += r;
        n -= (size_t)r;
    }
    return 0;
}

/* The next line without its LF, valid until the next call; NULL at the end. */
static char *next_line(struct client *c)
{
    buf_consume(&c->in, c->taken);
    c->taken = 0;
    size_t looked = 0;
    for (;;) {
        uint8_t *lf = c->in.len > looked ? memchr(c->in.data + looked, '\n', c->in.len - looked) : NULL;
        if (lf) {
            *lf = '\0';
            c->taken = (size_t)(lf - c->in.data) + 1;
            return (char *)c->in.data;
        }
        looked = c->in.len;
        if (buf_reserve(&c->in, CD_KIB(64)) < 0)
            return NULL;
        ssize_t r = recv(c->fd, c->in.data + c->in.len, CD_KIB(64), 0);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return NULL;
        c->in.len += (size_t)r;
        c->in.data[c->in.len] = '\0';
    }
}

static int no_answer(void)
{
    fprintf(stderr, "complaintctl: no whole answer came from the daemon: whether it was done is not known, "
                    "look before repeating\n");
    return EXIT_AGAIN;
}

int client_call(struct client *c, const char *verb, const json_t *args, struct answer *ret)
{
    char *json CD_CLEANUP_FREE = json_dumps(args, JSON_COMPACT);
    char *line CD_CLEANUP_FREE = cd_asprintf("%s %s\n", verb, json ? json : "{}");

    *ret = (struct answer){.rows = json_array()};
    /* A daemon that refuses the connection answers before it reads, so a failed send may still have an
     * answer. */
    (void)send_all(c, line, strlen(line));
    for (char *p; (p = next_line(c));) {
        bool ok = str_starts(p, "OK "), row = str_starts(p, "ROW "), err = str_starts(p, "ERR ");
        json_t *v = ok || row || err ? json_loads(strchr(p, ' ') + 1, 0, NULL) : NULL;
        if (!v)
            break;
        if (row) {
            json_array_append_new(ret->rows, v);
            continue;
        }
        ret->ok = ok;
        ret->body = v;
        return EXIT_DONE;
    }
    answer_free(ret);
    return no_answer();
}

void answer_free(struct answer *a)
{
    json_decref(a->rows);
    json_decref(a->body);
    *a = (struct answer){.ok = false};
}
