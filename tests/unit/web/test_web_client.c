/* Outgoing HTTP against a small peer in a thread: what is answered, what is not, and what never left. */
#include "tests/unit/web/web_fixture.h"

#include "channels/web/client.h"
#include "channels/web/web_private.h"
#include "daemon/core/crypto.h"

enum behaviour { ANSWER, HANG, CLOSE_AFTER_READING, LARGE, HALF };

static struct {
    struct event_base *base;
    struct web_client *client;
    int listener;
    uint16_t port;
    pthread_t thread;
    /* the peer */
    enum behaviour behaviour;
    const char *answer;
    volatile int requests;
    char request[16384];
    /* the outcome */
    int done;
    struct http_fetch_result result;
    char body[256], error[256];
    bool again; /* fetch again from inside `done` */
} t;

static void read_request(int fd)
{
    size_t n = 0, body = 0, head = 0;

    while (n < sizeof t.request - 1) {
        ssize_t got = recv(fd, t.request + n, sizeof t.request - 1 - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
        t.request[n] = '\0';
        char *end = strstr(t.request, "\r\n\r\n"), *length = strstr(t.request, "Content-Length: ");
        if (end && length) {
            head = (size_t)(end + 4 - t.request);
            body = (size_t)strtoul(length + 16, NULL, 10);
            if (n >= head + body)
                break;
        }
    }
}

static void send_all(int fd, const char *s)
{
    send(fd, s, strlen(s), MSG_NOSIGNAL);
}

static void serve(int fd)
{
    static char block[4096];
    char c;

    read_request(fd);
    t.requests++;
    switch (t.behaviour) {
    case ANSWER:
        send_all(fd, t.answer);
        break;
    case HANG:
        while (recv(fd, &c, 1, 0) > 0)
            ;
        break;
    case CLOSE_AFTER_READING:
        break;
    case LARGE:
        send_all(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        memset(block, 'x', sizeof block);
        for (int i = 0; i < 244 && send(fd, block, sizeof block, MSG_NOSIGNAL) > 0; i++)
            ;
        break;
    case HALF:
        send_all(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        break;
    }
    close(fd);
}

static void *peer_thread(void *arg)
{
    int fd;

    (void)arg;
    while ((fd = accept(t.listener, NULL, NULL)) >= 0)
        serve(fd);
    return NULL;
}

static int set_up(void **state)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof sa;

    (void)state;
    memset(&t, 0, sizeof t);
    signal(SIGPIPE, SIG_IGN);
    t.base = event_base_new();
    t.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(t.listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(t.listener, 16), 0);
    getsockname(t.listener, (struct sockaddr *)&sa, &n);
    t.port = ntohs(sa.sin_port);
    pthread_create(&t.thread, NULL, peer_thread, NULL);
    return web_client_start(t.base, 2, &t.client);
}

static int tear_down(void **state)
{
    (void)state;
    web_client_stop(&t.client);
    shutdown(t.listener, SHUT_RDWR);
    pthread_join(t.thread, NULL);
    close(t.listener);
    event_base_free(t.base);
    return 0;
}

static int fetch_from(const char *url);

static void on_done(void *arg, const struct http_fetch_result *r)
{
    assert_ptr_equal(arg, &t);
    t.done++;
    t.result = *r;
    snprintf(t.body, sizeof t.body, "%.*s", (int)CD_MIN(r->nbody, sizeof t.body - 1), r->body);
    assert_int_equal(r->body[r->nbody], 0);
    snprintf(t.error, sizeof t.error, "%s", r->error);
    if (t.again) {
        t.again = false;
        assert_int_equal(fetch_from(NULL), 0);
    }
}

static int fetch_from(const char *url)
{
    char *headers[] = {(char *)"X-Key: k1", (char *)"X-Other: o"};
    CD_CLEANUP_FREE char *own = cd_asprintf("http://127.0.0.1:%u/hook?a=b", t.port);
    struct http_fetch f = {
        .url = url ? url : own,
        .content_type = "application/json",
        .username = "user",
        .password = "pass",
        .headers = {.v = headers, .n = 2},
        .body = "{\"a\":1}",
        .nbody = 7,
        .timeout_us = CD_MSEC(700),
    };
    return web_client_fetch(t.client, &f, on_done, &t);
}

static void run(int64_t for_us)
{
    const struct timeval tick = {.tv_usec = 5000};
    struct event *ev = event_new(t.base, -1, EV_PERSIST, on_tick, NULL);
    int64_t until = clock_mono_us() + for_us;

    event_add(ev, &tick);
    while (!web_client_idle(t.client) && clock_mono_us() < until)
        event_base_loop(t.base, EVLOOP_ONCE);
    event_free(ev);
}

static void answered(void **state)
{
    (void)state;
    t.answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";
    assert_int_equal(fetch_from(NULL), 0);
    assert_int_equal(t.done, 0);
    run(CD_SEC(5));
    assert_int_equal(t.done, 1);
    assert_int_equal(t.result.outcome, FETCH_ANSWERED);
    assert_int_equal(t.result.status, 200);
    assert_string_equal(t.body, "fine");
    assert_non_null(strstr(t.request, "POST /hook?a=b HTTP/1.1\r\n"));
    assert_non_null(strstr(t.request, "Authorization: Basic dXNlcjpwYXNz\r\n"));
    assert_non_null(strstr(t.request, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(t.request, "X-Key: k1\r\n"));
    assert_non_null(strstr(t.request, "\r\n\r\n{\"a\":1}"));
    assert_null(strstr(t.request, "Expect"));
}

static void retry_after(void **state)
{
    (void)state;
    t.answer = "HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n";
    assert_int_equal(fetch_from(NULL), 0);
    run(CD_SEC(5));
    assert_int_equal(t.result.outcome, FETCH_ANSWERED);
    assert_int_equal(t.result.status, 503);
    assert_int_equal(t.result.retry_after_us, CD_SEC(120));
    t.answer = "HTTP/1.1 429 Busy\r\nRetry-After: 99999999999\r\nContent-Length: 0\r\n\r\n";
    assert_int_equal(fetch_from(NULL), 0);
    run(CD_SEC(5));
    assert_true(t.result.retry_after_us <= CD_HOUR(24));
}

static void redirects_are_answers(void **state)
{
    (void)state;
    t.answer = "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n";
    assert_int_equal(fetch_from(NULL), 0);
    run(CD_SEC(5));
    assert_int_equal(t.result.status, 302);
    assert_int_equal(t.requests, 1);
}

/* Read and closed without a word: libcurl must not post it again by itself. */
static void unknown_outcomes(void **state)
{
    static const enum behaviour v[] = {CLOSE_AFTER_READING, HANG, HALF};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        t.behaviour = v[i];
        assert_int_equal(fetch_from(NULL), 0);
        run(CD_SEC(5));
        assert_int_equal(t.done, i + 1);
        assert_int_equal(t.result.outcome, FETCH_UNKNOWN);
        assert_int_equal(t.result.status, 0);
        assert_true(t.error[0] != '\0');
        assert_int_equal(t.requests, i + 1);
    }
}

static void large_answer_is_cut(void **state)
{
    (void)state;
    t.behaviour = LARGE;
    assert_int_equal(fetch_from(NULL), 0);
    run(CD_SEC(5));
    assert_int_equal(t.result.outcome, FETCH_ANSWERED);
    assert_int_equal(t.result.status, 200);
    assert_int_equal(t.result.nbody, WEB_CLIENT_ANSWER);
}

static void not_sent(void **state)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    getsockname(fd, (struct sockaddr *)&sa, &n);
    CD_CLEANUP_FREE char *closed = cd_asprintf("http://127.0.0.1:%u/", ntohs(sa.sin_port));
    CD_CLEANUP_FREE char *no_tls = cd_asprintf("https://127.0.0.1:%u/", t.port);
    assert_int_equal(fetch_from(closed), 0);
    run(CD_SEC(5));
    assert_int_equal(t.result.outcome, FETCH_NOT_SENT);
    t.behaviour = CLOSE_AFTER_READING;
    assert_int_equal(fetch_from(no_tls), 0);
    run(CD_SEC(5));
    assert_int_equal(t.result.outcome, FETCH_NOT_SENT);
    assert_int_equal(fetch_from("https://name.invalid/"), 0);
    run(CD_SEC(5));
    assert_int_equal(t.result.outcome, FETCH_NOT_SENT);
    /* a name that only looks like loopback */
    assert_int_equal(fetch_from("http://127.0.0.1@192.0.2.1/"), 0);
    run(CD_SEC(5));
    assert_int_equal(t.result.outcome, FETCH_NOT_SENT);
    assert_int_equal(t.done, 4);
    close(fd);
}

static void refused_urls_and_headers(void **state)
{
    char *headers[] = {(char *)"X-Key: a\r\nX-Evil: b"};
    struct http_fetch f = {
        .url = "https://127.0.0.1/", .headers = {.v = headers, .n = 1}, .body = "", .timeout_us = CD_SEC(1)};

    (void)state;
    assert_int_equal(fetch_from("http://example.com/"), CD_EINVAL);
    assert_int_equal(fetch_from("ftp://127.0.0.1/"), CD_EINVAL);
    assert_int_equal(fetch_from("file:///etc/passwd"), CD_EINVAL);
    assert_int_equal(fetch_from(""), CD_EINVAL);
    assert_int_equal(web_client_fetch(t.client, &f, on_done, &t), CD_EINVAL);
    assert_true(web_client_idle(t.client));
}

static void limit_and_again(void **state)
{
    (void)state;
    t.behaviour = HANG;
    assert_int_equal(fetch_from(NULL), 0);
    assert_int_equal(fetch_from(NULL), 0);
    int64_t before = metrics_get(M_FETCH_BUSY);
    assert_int_equal(fetch_from(NULL), CD_EAGAIN);
    assert_int_equal(metrics_get(M_FETCH_BUSY), before + 1);
    t.again = true; /* from inside `done`, when a place is free */
    run(CD_SEC(5));
    assert_int_equal(t.done, 3);
}

static void stop_ends_all(void **state)
{
    (void)state;
    t.behaviour = HANG;
    assert_int_equal(fetch_from(NULL), 0);
    assert_int_equal(fetch_from(NULL), 0);
    run(CD_MSEC(200));
    web_client_stop(&t.client);
    assert_int_equal(t.done, 2);
    assert_int_equal(t.result.outcome == FETCH_ANSWERED, 0);
}

/* One that is cancelled ends without a word, and the body that it borrowed may go at once; others go on. */
static void cancelled(void **state)
{
    CD_CLEANUP_FREE char *url = cd_asprintf("http://127.0.0.1:%u/big", t.port);
    size_t n = CD_MIB(4);
    char *body = malloc(n);
    struct http_fetch f = {.url = url, .body = body, .nbody = n, .body_stays = true, .timeout_us = CD_SEC(5)};

    (void)state;
    memset(body, 'x', n);
    t.behaviour = HANG;
    assert_int_equal(web_client_fetch(t.client, &f, on_done, &t), 0);
    run(CD_MSEC(100));
    web_client_cancel(t.client, &f); /* nobody's */
    assert_false(web_client_idle(t.client));
    web_client_cancel(t.client, &t);
    assert_true(web_client_idle(t.client));
    memset(body, 'y', n);
    free(body);
    event_base_loop(t.base, EVLOOP_NONBLOCK);
    assert_int_equal(t.done, 0);
    f = (struct http_fetch){.url = url, .body = "b", .nbody = 1, .body_stays = true, .timeout_us = CD_MSEC(100)};
    assert_int_equal(web_client_fetch(t.client, &f, on_done, &t), 0);
    run(CD_SEC(5));
    assert_int_equal(t.done, 1);
    assert_true(t.result.timed_out);
    assert_int_not_equal(t.result.outcome, FETCH_ANSWERED);
}

/* ---- webhooks ---- */

static struct send_result outcome;
static int outcomes;

static void fake_send_done(void *front, const struct uuid *id, const struct send_result *r)
{
    (void)front;
    assert_int_equal(id->b[15], 5);
    outcome = *r;
    outcomes++;
}

static void webhooks(void **state)
{
    CD_CLEANUP_FREE char *url = cd_asprintf("http://127.0.0.1:%u/w", t.port);
    struct cfg_webhook hook = {.name = (char *)"chat", .url = url, .secret = (char *)"s3cret"};
    struct config cfg = {.webhooks = &hook, .nwebhooks = 1};
    struct channel_host host = {.base = t.base, .cfg = &cfg, .send_done = fake_send_done};
    struct web web = {.host = &host, .client = t.client};
    struct outgoing o = {.id = {.b = {[15] = 5}},
                         .recipient = "chat",
                         .json = "{\"ref\":\"C-1\"}",
                         .idempotency_key = "key-1",
                         .sandbox = true};
    static const struct {
        const char *answer;
        enum send_outcome expect;
    } v[] = {
        {"HTTP/1.1 204 OK\r\nContent-Length: 0\r\n\r\n", SEND_SENT},
        {"HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\nno", SEND_REJECTED},
        {"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n", SEND_REJECTED},
        {"HTTP/1.1 408 No\r\nContent-Length: 0\r\n\r\n", SEND_RETRY},
        {"HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", SEND_RETRY},
        {"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", SEND_RETRY},
    };

    (void)state;
    outcomes = 0;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        t.answer = v[i].answer;
        assert_int_equal(webhook_send(&web, &o), 0);
        run(CD_SEC(5));
        assert_int_equal(outcomes, i + 1);
        assert_int_equal(outcome.outcome, v[i].expect);
    }
    assert_non_null(strstr(t.request, "Idempotency-Key: key-1\r\n"));
    assert_non_null(strstr(t.request, "X-Complaintd-Event-Id: 00000000-0000-0000-0000-000000000005\r\n"));
    assert_non_null(strstr(t.request, "X-Complaintd-Sandbox: yes\r\n"));
    /* what a receiver does: HMAC over timestamp, a dot and the body */
    long long stamp = 0;
    char hex[65] = "", want[65];
    uint8_t mac[32];
    assert_int_equal(
        sscanf(strstr(t.request, "X-Complaintd-Timestamp:"), "X-Complaintd-Timestamp: %lld", &stamp), 1);
    assert_int_equal(
        sscanf(strstr(t.request, "X-Complaintd-Signature:"), "X-Complaintd-Signature: v1=%64s", hex), 1);
    CD_CLEANUP_FREE char *text = cd_asprintf("%lld.%s", stamp, o.json);
    hmac_sha256("s3cret", 6, text, strlen(text), mac);
    hex_encode(mac, sizeof mac, want);
    assert_string_equal(hex, want);
    t.behaviour = CLOSE_AFTER_READING;
    assert_int_equal(webhook_send(&web, &o), 0);
    run(CD_SEC(5));
    assert_int_equal(outcome.outcome, SEND_UNKNOWN);
    o.recipient = "nobody";
    assert_int_equal(webhook_send(&web, &o), 0);
    event_base_loop(t.base, EVLOOP_NONBLOCK);
    assert_int_equal(outcome.outcome, SEND_REJECTED);
    assert_int_equal(outcomes, ARRAY_LEN(v) + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        T(answered),
        T(retry_after),
        T(redirects_are_answers),
        T(unknown_outcomes),
        T(large_answer_is_cut),
        T(not_sent),
        T(refused_urls_and_headers),
        T(limit_and_again),
        T(stop_ends_all),
        T(cancelled),
        T(webhooks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
