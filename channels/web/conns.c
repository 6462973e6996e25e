/* Follows the connections of an evhttp server from outside. evhttp tells of a new connection (the bufferevent
 * callback), of a request, and of the end of a connection that had a request; it tells nothing of others. So
 * entries are found by the address of the input buffer, which is only compared; whether a connection still
 * lives is asked of the kernel: a descriptor that still has the same socket inode is still the same
 * connection. Entries are freed at their end, at their deadline, or when the cap is reached and they turn out
 * to be dead. */
#include "channels/web/conns.h"

#include <event2/buffer.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "daemon/core/metrics.h"

#define BUCKETS 1024
#define SWEEP_US CD_MSEC(100)

struct conn {
    LIST_ENTRY(conn) link;
    struct conns *owner;
    const struct evbuffer *input; /* compared, never used */
    struct bufferevent *fresh;    /* until its descriptor is known */
    struct event *timer;
    int fd;
    struct timeval timeout;
    ino_t inode;
    struct fence fence;
};
LIST_HEAD(conn_list, conn);

struct conns {
    struct event_base *base;
    unsigned max, count;
    size_t max_head;
    bool full;
    int64_t timeout_us;
    struct event *sweep;
    void (*on_full)(void *arg, bool full);
    void *arg;
    struct conn_list buckets[BUCKETS];
};

static struct conn_list *bucket_of(struct conns *c, const struct evbuffer *input)
{
    return &c->buckets[((uintptr_t)input >> 4) * 2654435761u % BUCKETS];
}

static struct conn *find(struct conns *c, const struct evbuffer *input)
{
    struct conn *k;

    LIST_FOREACH(k, bucket_of(c, input), link)
    if (k->input == input)
        return k;
    return NULL;
}

static void conn_free(struct conn *k)
{
    LIST_REMOVE(k, link);
    k->owner->count--;
    metrics_add(M_HTTP_OPEN, -1);
    event_free(k->timer);
    free(k);
}

static bool same_socket(const struct conn *k)
{
    struct stat st;

    return k->fd >= 0 && fstat(k->fd, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_ino == k->inode;
}

/* ---- the cap ---- */

static void drop_dead(struct conns *c)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        struct conn *k = LIST_FIRST(&c->buckets[i]);
        while (k) {
            struct conn *next = LIST_NEXT(k, link);
            if (!k->fresh && !same_socket(k))
                conn_free(k);
            k = next;
        }
    }
}

static void check_cap(struct conns *c)
{
    const struct timeval again = {.tv_usec = SWEEP_US};

    if (c->count >= c->max)
        drop_dead(c);
    bool full = c->count >= c->max;
    if (full != c->full) {
        c->full = full;
        c->on_full(c->arg, full);
    }
    if (full)
        event_add(c->sweep, &again);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    check_cap(arg);
}

/* ---- one connection ---- */

/* First call: right after accept, in the same turn of the loop, when the descriptor is set. Second: the
 * deadline. */
static void on_timer(evutil_socket_t unused, short what, void *arg)
{
    struct conn *k = arg;
    struct stat st;

    (void)unused;
    (void)what;
    if (k->fresh) {
        k->fd = bufferevent_getfd(k->fresh);
        k->fresh = NULL;
        if (k->fd < 0 || fstat(k->fd, &st) < 0) {
            conn_free(k);
            return;
        }
        k->inode = st.st_ino;
        event_add(k->timer, &k->timeout);
        return;
    }
    if (same_socket(k)) {
        metrics_inc(M_HTTP_TIMEOUT);
        shutdown(k->fd, SHUT_RDWR); /* evhttp sees the end and cleans up */
    }
    conn_free(k);
}

/* RFC 6585 section 5. evhttp would say 400, and nobody would count it; what it says now goes nowhere. */
static void refuse_head(struct conn *k)
{
    static const char answer[] = "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

    if (same_socket(k)) {
        metrics_inc(M_HTTP_BAD);
        (void)!send(k->fd, answer, sizeof answer - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        shutdown(k->fd, SHUT_RDWR);
    }
    conn_free(k);
}

/* New bytes, before evhttp's parser has seen them. */
static void on_input(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg)
{
    struct conn *k;
    struct evbuffer_ptr at;
    uint8_t piece[4096];
    size_t len = evbuffer_get_length(input);

    if (!info->n_added || info->n_added > len || !(k = find(arg, input)) || k->fence.state == FENCE_DONE)
        return;
    for (size_t from = len - info->n_added; from < len;) {
        if (evbuffer_ptr_set(input, &at, from, EVBUFFER_PTR_SET) < 0)
            return;
        ev_ssize_t n = evbuffer_copyout_from(input, &at, piece, sizeof piece);
        if (n <= 0)
            return;
        fence_feed(&k->fence, piece, (size_t)n);
        from += (size_t)n;
    }
    if (k->fence.bytes > k->owner->max_head)
        refuse_head(k);
}

void conns_add(struct conns *c, struct bufferevent *bev, int64_t most_us)
{
    struct evbuffer *input = bufferevent_get_input(bev);
    struct conn *old = find(c, input); /* the address is in use again, so the old connection is no more */

    if (old)
        conn_free(old);
    struct conn *k = cd_alloc(sizeof *k);
    k->owner = c;
    k->input = input;
    k->fresh = bev;
    most_us = CD_MIN(most_us, c->timeout_us);
    k->timeout = (struct timeval){.tv_sec = most_us / 1000000, .tv_usec = most_us % 1000000};
    k->fd = -1;
    k->timer = event_new(c->base, -1, 0, on_timer, k);
    cd_assert(k->timer);
    LIST_INSERT_HEAD(bucket_of(c, input), k, link);
    c->count++;
    metrics_add(M_HTTP_OPEN, 1);
    evbuffer_add_cb(input, on_input, c);
    event_active(k->timer, EV_TIMEOUT, 0);
    check_cap(c);
}

const char *conns_request(struct conns *c, struct bufferevent *bev)
{
    struct conn *k = find(c, bufferevent_get_input(bev));

    if (!k)
        return "after the deadline";
    event_del(k->timer);
    return k->fence.state == FENCE_DONE || k->fence.fault ? k->fence.fault : "head";
}

void conns_remove(struct conns *c, struct bufferevent *bev)
{
    struct conn *k = find(c, bufferevent_get_input(bev));

    if (k)
        conn_free(k);
    if (c->full)
        check_cap(c);
}

unsigned conns_count(const struct conns *c)
{
    return c->count;
}

struct conns *conns_new(struct event_base *base, unsigned max, size_t max_head, int64_t timeout_us,
                        void (*on_full)(void *arg, bool full), void *arg)
{
    struct conns *c = cd_alloc(sizeof *c);

    c->base = base;
    c->max = max;
    c->max_head = max_head;
    c->timeout_us = timeout_us;
    c->on_full = on_full;
    c->arg = arg;
    c->sweep = event_new(base, -1, 0, on_sweep, c);
    cd_assert(c->sweep);
    return c;
}

void conns_free(struct conns **pc)
{
    struct conns *c = *pc;
    struct conn *k;

    if (!c)
        return;
    *pc = NULL;
    for (size_t i = 0; i < BUCKETS; i++)
        while ((k = LIST_FIRST(&c->buckets[i])))
            conn_free(k);
    event_free(c->sweep);
    free(c);
}
