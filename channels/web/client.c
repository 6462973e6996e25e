/* Outgoing HTTP: libcurl's multi_socket interface on libevent. Every transfer has its own connection, for
 * libcurl repeats a POST by itself when a kept connection turns out to be closed. The client owns transfers
 * until `done`; outcomes keep apart what never left this host, what was answered, and what nobody knows. */
#include "channels/web/client.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

#define CONNECT_TIMEOUT_MS 10000L
#define RETRY_AFTER_MAX CD_HOUR(24)

struct transfer {
    LIST_ENTRY(transfer) link;
    struct web_client *client;
    CURL *easy;
    struct curl_slist *headers;
    struct buf body;
    bool cut;           /* the answer's body was longer than we keep */
    bool loopback_only; /* http */
    char error[CURL_ERROR_SIZE];
    http_fetch_done done;
    void *arg;
};

struct web_client {
    struct event_base *base;
    CURLM *multi;
    struct event *timer;
    LIST_HEAD(, transfer) transfers;
    unsigned count, max;
};

/* ---- transfers ---- */

static void transfer_free(struct transfer *t)
{
    if (t->easy) {
        curl_multi_remove_handle(t->client->multi, t->easy);
        curl_easy_cleanup(t->easy);
    }
    curl_slist_free_all(t->headers);
    buf_free(&t->body);
    free(t);
}

static void classify(struct transfer *t, CURLcode code, struct http_fetch_result *r)
{
    long status = 0, sent = 0;
    curl_off_t after = 0;

    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &sent);
    curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &after);
    r->status = (int)status;
    r->timed_out = code == CURLE_OPERATION_TIMEDOUT;
    r->error = t->error[0] ? t->error : code ? curl_easy_strerror(code) : "";
    r->body = buf_str(&t->body);
    r->nbody = t->body.len;
    if (after > 0)
        r->retry_after_us = CD_MIN(CD_SEC(CD_MIN(after, (curl_off_t)1000000)), RETRY_AFTER_MAX);
    if ((code == CURLE_OK || t->cut) && status >= 200)
        r->outcome = FETCH_ANSWERED; /* of a body too long the status counts */
    else
        r->outcome = sent > 0 ? FETCH_UNKNOWN : FETCH_NOT_SENT;
    if (r->outcome != FETCH_ANSWERED)
        r->status = 0;
}

static void transfer_end(struct transfer *t, CURLcode code)
{
    struct http_fetch_result r = {0};

    LIST_REMOVE(t, link);
    t->client->count--;
    classify(t, code, &r);
    t->done(t->arg, &r);
    transfer_free(t);
}

/* Handles are removed here, outside of libcurl's callbacks. `done` may start another transfer. */
static void take_finished(struct web_client *c)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(c->multi, &left))) {
        char *private = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private);
        transfer_end((struct transfer *)(void *)private, code);
    }
}

/* ---- libcurl on the loop ---- */

static void on_socket_event(evutil_socket_t fd, short what, void *arg)
{
    struct web_client *c = arg;
    int running, flags = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);

    curl_multi_socket_action(c->multi, fd, flags, &running);
    take_finished(c);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct web_client *c = arg;
    int running;

    (void)fd;
    (void)what;
    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    take_finished(c);
}

/* libcurl asks to be called at a time; it must not be called from here. */
static int set_timer(CURLM *multi, long ms, void *arg)
{
    struct web_client *c = arg;
    const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

    (void)multi;
    if (ms < 0)
        event_del(c->timer);
    else
        event_add(c->timer, &tv);
    return 0;
}

static int set_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct web_client *c = arg;
    struct event *ev = socket_arg;

    (void)easy;
    if (ev)
        event_free(ev);
    ev = NULL;
    if (what != CURL_POLL_REMOVE) {
        short flags = EV_PERSIST;
        if (what & CURL_POLL_IN)
            flags |= EV_READ;
        if (what & CURL_POLL_OUT)
            flags |= EV_WRITE;
        ev = event_new(c->base, fd, flags, on_socket_event, c);
        cd_assert(ev);
        event_add(ev, NULL);
    }
    curl_multi_assign(c->multi, fd, ev);
    return 0;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    size_t bytes = size * n, room = t->body.cap - t->body.len;

    buf_append(&t->body, p, CD_MIN(bytes, room));
    if (bytes > room) {
        t->cut = true;
        return 0; /* ends the transfer */
    }
    return bytes;
}

static bool is_loopback(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr) >> 24 == 127;
    return sa->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)sa)->sin6_addr);
}

/* The last word on where clear text may go: whatever the name in the URL resolved to. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    const struct transfer *t = arg;

    (void)purpose;
    if (t->loopback_only && !is_loopback(&a->addr))
        return CURL_SOCKET_BAD;
    return socket(a->family, a->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);
}

/* ---- requests ---- */

static bool clean_line(const char *s)
{
    return !strpbrk(s, "\r\n");
}

static int check_url(struct transfer *t, const char *url)
{
    if (str_istarts(url, "https://"))
        return 0;
    if (!str_istarts(url, "http://"))
        return CD_EINVAL;
    t->loopback_only = true;
    /* Other names would be refused in open_socket(); telling at once says why. */
    const char *host = url + strlen("http://");
    if (str_starts(host, "127.") || str_starts(host, "[::1]") || str_istarts(host, "localhost"))
        return 0;
    return CD_EINVAL;
}

static int add_header(struct transfer *t, const char *line)
{
    struct curl_slist *l = clean_line(line) ? curl_slist_append(t->headers, line) : NULL;

    if (!l)
        return CD_EINVAL;
    t->headers = l;
    return 0;
}

static int set_headers(struct transfer *t, const struct http_fetch *f)
{
    CD_CLEANUP_FREE char *type =
        cd_asprintf("Content-Type: %s", f->content_type ? f->content_type : "application/octet-stream");
    int r = add_header(t, type);

    for (size_t i = 0; i < f->headers.n && r == 0; i++)
        r = add_header(t, f->headers.v[i]);
    if (r == 0)
        r = add_header(t, "Expect:"); /* no waiting for 100 */
    return r;
}

static void set_limits(CURL *e, const struct http_fetch *f)
{
    long total = (long)CD_MAX(f->timeout_us / 1000, (int64_t)1);

    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, total);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, CD_MIN(total, CONNECT_TIMEOUT_MS));
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L);
}

static int set_up(struct transfer *t, const struct http_fetch *f)
{
    CURL *e = t->easy = curl_easy_init();

    if (!e)
        return CD_EAGAIN;
    if (check_url(t, f->url) < 0 || set_headers(t, f) < 0)
        return CD_EINVAL;
    set_limits(e, f);
    curl_easy_setopt(e, CURLOPT_PRIVATE, t);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, t);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->headers);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "complaintd/" CD_VERSION);
    if (f->username) {
        curl_easy_setopt(e, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
        curl_easy_setopt(e, CURLOPT_USERNAME, f->username);
        curl_easy_setopt(e, CURLOPT_PASSWORD, f->password ? f->password : "");
    }
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)f->nbody);
    if (curl_easy_setopt(e, f->body_stays ? CURLOPT_POSTFIELDS : CURLOPT_COPYPOSTFIELDS, f->nbody ? f->body : "") ||
        curl_easy_setopt(e, CURLOPT_URL, f->url))
        return CD_EINVAL;
    return 0;
}

int web_client_fetch(struct web_client *c, const struct http_fetch *f, http_fetch_done done, void *arg)
{
    if (c->count >= c->max) {
        metrics_inc(M_FETCH_BUSY);
        return CD_EAGAIN;
    }
    struct transfer *t = cd_alloc(sizeof *t);
    t->client = c;
    t->done = done;
    t->arg = arg;
    buf_init(&t->body, WEB_CLIENT_ANSWER);
    int r = set_up(t, f);
    if (r == 0 && curl_multi_add_handle(c->multi, t->easy) != CURLM_OK)
        r = CD_EAGAIN;
    if (r < 0) {
        transfer_free(t);
        return r;
    }
    LIST_INSERT_HEAD(&c->transfers, t, link);
    c->count++;
    return 0;
}

void web_client_cancel(struct web_client *c, const void *arg)
{
    struct transfer *t;

    LIST_FOREACH(t, &c->transfers, link)
        if (t->arg == arg)
            break;
    if (!t)
        return;
    LIST_REMOVE(t, link);
    c->count--;
    transfer_free(t);
}

/* ---- life ---- */

int web_client_start(struct event_base *base, unsigned max, struct web_client **ret)
{
    struct web_client *c = cd_alloc(sizeof *c);

    c->base = base;
    c->max = max;
    LIST_INIT(&c->transfers);
    c->timer = event_new(base, -1, 0, on_timer, c);
    if (!c->timer || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(c->multi = curl_multi_init())) {
        log_event(LOG_L_ERROR, EV_HTTP_CLIENT_FAILED, "error=%s", log_quote("libcurl cannot be initialized"));
        web_client_stop(&c);
        return CD_EIO;
    }
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)max);
    *ret = c;
    return 0;
}

bool web_client_idle(const struct web_client *c)
{
    return c->count == 0;
}

void web_client_stop(struct web_client **pc)
{
    struct web_client *c = *pc;
    struct transfer *t;

    if (!c)
        return;
    *pc = NULL;
    c->max = 0; /* `done` must not start another one now */
    while ((t = LIST_FIRST(&c->transfers)))
        transfer_end(t, CURLE_ABORTED_BY_CALLBACK);
    if (c->multi)
        curl_multi_cleanup(c->multi);
    if (c->timer)
        event_free(c->timer);
    free(c);
}
