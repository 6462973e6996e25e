#pragma once
/* For the tests of the HTTP server: a fake front, the server in this process and a blocking peer in a thread
 * of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channels/web/server.h"
#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/metrics.h"

struct peer {
    uint16_t port;
    const char *data;
    size_t n;
    int pause_ms; /* after every byte; 0: all at once */
    char answer[8192];
    size_t nanswer;
    bool closed; /* the server ended the connection */
    int64_t took_us;
    volatile bool done;
    pthread_t thread;
};

static inline int peer_connect(uint16_t port)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static inline void *peer_main(void *arg)
{
    struct peer *p = arg;
    int64_t start = clock_mono_us();
    int fd = peer_connect(p->port);

    for (size_t i = 0; i < p->n;) {
        size_t n = p->pause_ms ? 1 : p->n - i;
        if (send(fd, p->data + i, n, MSG_NOSIGNAL) < 0)
            break;
        i += n;
        if (p->pause_ms)
            usleep((useconds_t)p->pause_ms * 1000);
    }
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    while (p->nanswer < sizeof p->answer - 1 && poll(&pfd, 1, 3000) == 1) {
        ssize_t n = recv(fd, p->answer + p->nanswer, sizeof p->answer - 1 - p->nanswer, 0);
        if (n <= 0) {
            p->closed = true;
            break;
        }
        p->nanswer += (size_t)n;
    }
    close(fd);
    p->took_us = clock_mono_us() - start;
    p->done = true;
    return NULL;
}

static inline void peer_start(struct peer *p, uint16_t port, const char *data, size_t n)
{
    *p = (struct peer){.port = port, .data = data, .n = n, .pause_ms = p->pause_ms};
    pthread_create(&p->thread, NULL, peer_main, p);
}

static inline void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

/* Turns the loop until the peer has done, or for the time given. */
static inline void run_loop(struct event_base *base, const struct peer *p, int64_t for_us)
{
    const struct timeval tick = {.tv_usec = 5000};
    struct event *ev = event_new(base, -1, EV_PERSIST, on_tick, NULL);
    int64_t until = clock_mono_us() + for_us;

    event_add(ev, &tick);
    while ((!p || !p->done) && clock_mono_us() < until)
        event_base_loop(base, EVLOOP_ONCE);
    event_free(ev);
}

static inline int status_of(const struct peer *p)
{
    int status = 0;

    if (sscanf(p->answer, "HTTP/1.%*d %d", &status) != 1)
        return 0;
    return status;
}
