#pragma once
/* A non-blocking client socket that hands out lines. Embedded in its owner; callbacks may close it and open
 * it again. */
#include <event2/event.h>
#include <netinet/in.h>

#include "daemon/core/buf.h"

struct sock {
    struct event_base *base;
    int fd; /* -1: closed */
    unsigned generation;
    struct event *read, *write;
    char in[8192];
    size_t nin;
    struct buf out; /* what the kernel did not take yet */
    void (*on_line)(struct sock *s, const char *line,
                    size_t n);                         /* without its end; cut when longer than `in` */
    void (*on_pause)(struct sock *s);                  /* after the lines of one read; may be NULL */
    void (*on_close)(struct sock *s, const char *why); /* the peer closed or it failed; already closed */
};

int sock_open(struct sock *s, const struct sockaddr_in *peer) CD_MUSTUSE;
void sock_send(struct sock *s, const void *p, size_t n);
void sock_close(struct sock *s);
