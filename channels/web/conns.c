/* Follows the connections of an evhttp server from outside. evhttp tells of a new connection (the bufferevent
 * callback), of a request, and of the end of a connection that had a request; it tells nothing of others. So
 * entries are found by the address of the input buffer, which is only compared; whether a connection still
 * lives is asked of the kernel: a descriptor that still has the same socket inode is still the same
 * connection. Entries are freed at their end, at their deadline, or when the cap is reached and they turn out
 * to be dead.
 * A request that its head alone condemns is answered here, past evhttp: the answer goes out, what the peer still sends is thrown away
 * as it comes, so that the answer reaches it, and after LINGER_US the connection is cut. evhttp sees none of it. */
#include "channels/web/conns.h"

#include <event2/buffer.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "daemon/core/buf.h"
#include "daemon/core/clock.h"
#include "daemon/core/metrics.h"

#define BUCKETS 1024
#define SWEEP_US CD_MSEC(100)
#define LINGER_US CD_SEC(2)
#define LOOK_US CD_SEC(1) /* whether a connection with a ticket still lives */
#define LINGER_LOOK_US CD_MSEC(100) /* whether one that was refused does: it counts until then */

struct conn {
    LIST_ENTRY(conn) link;
    struct conns *owner;
    const struct evbuffer *input; /* compared, never used */
    struct bufferevent *fresh;    /* until its descriptor is known */
    struct event *timer;
    int fd;
    int64_t deadline_us; /* on the monotonic clock */
    ino_t inode;
    struct fence fence;
    struct buf head; /* until it was judged */
    bool refused;
    uint64_t length;
    void *ticket;
};
LIST_HEAD(conn_list, conn);

struct conns {
    struct conns_options o;
    unsigned count;
    bool full;
    struct event *sweep;
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
    if (k->ticket)
        k->owner->o.on_end(k->owner->o.arg, k->ticket);
    buf_free(&k->head);
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

    if (c->count >= c->o.max)
        drop_dead(c);
    bool full = c->count >= c->o.max;
    if (full != c->full) {
        c->full = full;
        c->o.on_full(c->o.arg, full);
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

static void arm(struct conn *k)
{
    int64_t left = CD_MAX(k->deadline_us - clock_mono_us(), 0);
    if (k->ticket || k->refused)
        left = CD_MIN(left, k->refused ? LINGER_LOOK_US : LOOK_US);
    const struct timeval tv = {.tv_sec = left / 1000000, .tv_usec = left % 1000000};
    event_add(k->timer, &tv);
}

/* First call: right after accept, in the same turn of the loop, when the descriptor is set. Later ones: the deadline, or a look at a
 * connection that keeps room. */
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
        arm(k);
        return;
    }
    bool lives = same_socket(k);
    if (lives && clock_mono_us() < k->deadline_us) {
        arm(k);
        return;
    }
    if (lives) {
        if (!k->refused)
            metrics_inc(M_HTTP_TIMEOUT);
        shutdown(k->fd, SHUT_RDWR); /* evhttp sees the end and cleans up */
    }
    conn_free(k);
}

/* A socket that was just read from has room for a small answer; what it has no room for is lost, as with a peer that has gone. */
static void refuse(struct conn *k, struct evbuffer *input, const char *answer)
{
    k->refused = true;
    evbuffer_drain(input, evbuffer_get_length(input));
    if (!same_socket(k)) {
        conn_free(k);
        return;
    }
    (void)!send(k->fd, answer, strlen(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
    shutdown(k->fd, SHUT_WR);
    k->deadline_us = clock_mono_us() + LINGER_US;
    arm(k);
}

static void judge(struct conn *k, struct evbuffer *input, const uint8_t *rest, size_t nrest)
{
    const struct conns_options *o = &k->owner->o;
    struct conns_verdict v = {0};
    bool whole = k->fence.bytes <= o->max_head;

    o->on_head(o->arg, k->fd, whole ? k->head.data : NULL, whole ? k->head.len : 0, rest, nrest, k->fence.fault, &v);
    buf_free(&k->head);
    k->ticket = v.ticket;
    k->length = v.length;
    if (v.refusal) {
        refuse(k, input, v.refusal);
        free(v.refusal);
    } else if (v.timeout_us) {
        k->deadline_us = clock_mono_us() + v.timeout_us;
        arm(k);
    }
}

/* *ret_used of the bytes are of the head. false: it is whole, or will never be. */
static bool feed(struct conn *k, const uint8_t *p, size_t n, size_t *ret_used)
{
    size_t before = k->fence.bytes;

    fence_feed(&k->fence, p, n);
    *ret_used = k->fence.bytes - before;
    buf_append(&k->head, p, *ret_used); /* over its cap it is not looked at */
    return k->fence.state != FENCE_DONE && k->fence.bytes <= k->owner->o.max_head;
}

/* New bytes, before evhttp's parser has seen them. */
static void on_input(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg)
{
    struct conn *k;
    struct evbuffer_ptr at;
    uint8_t piece[4096];
    size_t len = evbuffer_get_length(input), used;

    if (!info->n_added || info->n_added > len || !(k = find(arg, input)))
        return;
    if (k->refused) {
        evbuffer_drain(input, len);
        return;
    }
    if (k->fence.state == FENCE_DONE)
        return;
    for (size_t from = len - info->n_added; from < len;) {
        if (evbuffer_ptr_set(input, &at, from, EVBUFFER_PTR_SET) < 0)
            return;
        ev_ssize_t n = evbuffer_copyout_from(input, &at, piece, sizeof piece);
        if (n <= 0)
            return;
        if (!feed(k, piece, (size_t)n, &used)) {
            judge(k, input, piece + used, (size_t)n - used);
            return;
        }
        from += (size_t)n;
    }
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
    k->deadline_us = clock_mono_us() + CD_MIN(most_us, c->o.timeout_us);
    k->fd = -1;
    buf_init(&k->head, c->o.max_head);
    k->timer = event_new(c->o.base, -1, 0, on_timer, k);
    cd_assert(k->timer);
    LIST_INSERT_HEAD(bucket_of(c, input), k, link);
    c->count++;
    metrics_add(M_HTTP_OPEN, 1);
    evbuffer_add_cb(input, on_input, c);
    event_active(k->timer, EV_TIMEOUT, 0);
    check_cap(c);
}

const char *conns_request(struct conns *c, struct bufferevent *bev, uint64_t *ret_length, void **ret_ticket)
{
    struct conn *k = find(c, bufferevent_get_input(bev));

    *ret_length = 0;
    *ret_ticket = NULL;
    if (!k || k->refused)
        return "after the deadline";
    event_del(k->timer);
    *ret_length = k->length;
    *ret_ticket = k->ticket;
    k->ticket = NULL;
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

struct conns *conns_new(const struct conns_options *o)
{
    struct conns *c = cd_alloc(sizeof *c);

    c->o = *o;
    c->sweep = event_new(o->base, -1, 0, on_sweep, c);
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
