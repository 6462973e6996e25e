/* clamd's INSTREAM on the loop: "zINSTREAM" and a NUL, chunks with their length in front, an empty one, then one answer that ends with a
 * NUL. A connection a mail, as clamd's own client has it. The text is sent from where it is. `done` comes from an event, never from inside
 * clamd_ask(); what cannot even be begun is said by its return. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/core/err.h"
#include "daemon/scan/checkers.h"

#define CHUNK CD_KIB(256)

struct clamd {
    struct bufferevent *bev;
    struct event *timer;
    clamd_done done;
    void *arg;
};

/* ---- the answer ---- */

static bool ends_with(const char *s, size_t n, const char *end)
{
    size_t len = strlen(end);
    return n >= len && memcmp(s + n - len, end, len) == 0;
}

static bool begins_with(const char *s, size_t n, const char *begin)
{
    size_t len = strlen(begin);
    return n >= len && memcmp(s, begin, len) == 0;
}

/* Signatures that guess, or that name what is unwanted rather than harmful. */
static enum scan_verdict verdict_of(const char *s, size_t n)
{
    return begins_with(s, n, "Heuristics.") || begins_with(s, n, "PUA.") ? SCAN_SUSPECT : SCAN_QUARANTINED;
}

void clamd_read(const char *s, size_t n, struct scan_answer *ret)
{
    static const char stream[] = "stream: ", found[] = " FOUND", error[] = " ERROR";
    if (n == 10 && memcmp(s, "stream: OK", 10) == 0) {
        scan_answer_set(ret, ASK_ANSWERED, SCAN_CLEAN, NULL, 0);
    } else if (begins_with(s, n, stream) && ends_with(s, n, found) && n > sizeof stream + sizeof found - 2) {
        const char *name = s + sizeof stream - 1;
        size_t len = n - (sizeof stream - 1) - (sizeof found - 1);
        /* AlertExceedsMax: a limit of clamd's, which without that option would have been "OK" */
        if (begins_with(name, len, "Heuristics.Limits.Exceeded"))
            scan_answer_set(ret, ASK_TOO_LARGE, SCAN_OFF, name, len);
        else
            scan_answer_set(ret, ASK_ANSWERED, verdict_of(name, len), name, len);
    } else if (begins_with(s, n, "INSTREAM size limit exceeded") && ends_with(s, n, error + 1)) {
        scan_answer_set(ret, ASK_TOO_LARGE, SCAN_OFF, s, n);
    } else {
        scan_answer_set(ret, ASK_ODD, SCAN_OFF, s, n);
    }
}

/* ---- the conversation ---- */

void clamd_cancel(struct clamd **pc)
{
    struct clamd *c = *pc;
    if (!c)
        return;
    *pc = NULL;
    bufferevent_disable(c->bev, EV_READ | EV_WRITE); /* the text may be gone before libevent frees it */
    bufferevent_free(c->bev);
    event_free(c->timer);
    free(c);
}

static void end(struct clamd *c, const struct scan_answer *a)
{
    clamd_done done = c->done;
    void *arg = c->arg;
    clamd_cancel(&c);
    done(arg, a);
}

static void end_failed(struct clamd *c, enum scan_outcome o, const char *why)
{
    struct scan_answer a;
    scan_answer_set(&a, o, SCAN_OFF, why, strlen(why));
    end(c, &a);
}

/* true: the answer is whole, or too long, and `c` is gone. */
static bool take_answer(struct clamd *c)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    size_t n = evbuffer_get_length(in);
    const char *s = (const char *)evbuffer_pullup(in, -1), *nul = n ? memchr(s, '\0', n) : NULL;
    struct scan_answer a;
    if (!nul && n < CLAMD_ANSWER)
        return false;
    if (!nul) {
        end_failed(c, ASK_ODD, "an answer without end");
        return true;
    }
    clamd_read(s, (size_t)(nul - s), &a);
    end(c, &a);
    return true;
}

static void on_read(struct bufferevent *bev CD_UNUSED, void *arg)
{
    take_answer(arg);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct clamd *c = arg;
    int error = EVUTIL_SOCKET_ERROR();
    if (what & BEV_EVENT_CONNECTED)
        return;
    /* it may have answered and closed while we were still writing */
    if (what & BEV_EVENT_WRITING)
        (void)evbuffer_read(bufferevent_get_input(bev), bufferevent_getfd(bev), (int)CLAMD_ANSWER);
    if (!take_answer(c))
        end_failed(c, ASK_DOWN, what & BEV_EVENT_EOF ? "the connection ended before an answer" : strerror(error));
}

static void on_timer(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    end_failed(arg, ASK_SLOW, "no answer in time");
}

static int connect_to(const struct listen_addr *at)
{
    union {
        struct sockaddr sa;
        struct sockaddr_un un;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } a = {0};
    socklen_t len = sizeof a.un;
    if (at->path) {
        a.un.sun_family = AF_UNIX;
        memcpy(a.un.sun_path, at->path, CD_MIN(strlen(at->path), sizeof a.un.sun_path - 1));
    } else if (inet_pton(AF_INET, at->host, &a.in.sin_addr) == 1) {
        a.in.sin_family = AF_INET;
        a.in.sin_port = htons(at->port);
        len = sizeof a.in;
    } else {
        a.in6.sin6_family = AF_INET6;
        inet_pton(AF_INET6, at->host, &a.in6.sin6_addr);
        a.in6.sin6_port = htons(at->port);
        len = sizeof a.in6;
    }
    int fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, &a.sa, len) < 0 && errno != EINPROGRESS) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static int put_stream(struct evbuffer *out, const char *text, size_t n)
{
    int r = evbuffer_add(out, "zINSTREAM", 10);
    for (size_t at = 0; at < n && r == 0; at += CHUNK) {
        size_t len = CD_MIN(n - at, CHUNK);
        uint32_t head = htonl((uint32_t)len);
        r = evbuffer_add(out, &head, sizeof head);
        r = r ? r : evbuffer_add_reference(out, text + at, len, NULL, NULL);
    }
    uint32_t none = 0;
    return r ? r : evbuffer_add(out, &none, sizeof none);
}

int clamd_ask(struct event_base *base, const struct listen_addr *at, const char *text, size_t n, int64_t timeout_us, clamd_done done, void *arg,
              struct clamd **ret, struct scan_answer *ret_answer)
{
    struct timeval tv = {timeout_us / CD_SEC(1), timeout_us % CD_SEC(1)};
    int fd = connect_to(at);
    if (fd < 0) {
        const char *why = strerror(errno);
        scan_answer_set(ret_answer, ASK_DOWN, SCAN_OFF, why, strlen(why));
        return CD_EIO;
    }
    struct clamd *c = cd_alloc(sizeof *c);
    c->done = done;
    c->arg = arg;
    c->bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    c->timer = event_new(base, -1, 0, on_timer, c);
    cd_assert(c->bev && c->timer);
    cd_assert(put_stream(bufferevent_get_output(c->bev), text, n) == 0);
    bufferevent_setcb(c->bev, on_read, NULL, on_event, c);
    bufferevent_setwatermark(c->bev, EV_READ, 0, CLAMD_ANSWER);
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
    event_add(c->timer, &tv);
    *ret = c;
    return 0;
}
