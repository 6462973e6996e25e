/* The HTTP server on real sockets: framing that two readers could take differently, limits, deadlines,
 * tokens. */
#include "tests/unit/web/web_fixture.h"

#include <sys/resource.h>

#include "channels/web/fence.h"

static struct {
    struct event_base *base;
    struct slots *slots;
    struct web_server *server;
    struct peer peer;
    int handled; /* requests that reached the handler */
    bool hold;   /* do not answer at once */
    bool tight;
    struct ack held;
    char body[4096], path[256], extra[64];
} t;

static void on_exchange(void *arg, const struct http_exchange *x)
{
    (void)arg;
    t.handled++;
    snprintf(t.body, sizeof t.body, "%.*s", (int)x->nbody, (const char *)x->body);
    snprintf(t.path, sizeof t.path, "%s", x->path);
    const char *extra = x->header(x, "x-extra");
    snprintf(t.extra, sizeof t.extra, "%s", extra ? extra : "");
    t.held = x->token;
    if (!t.hold)
        web_server_answer(t.slots, x->token, 200, "text/plain", "fine", 4);
}

static bool is_tight(void *arg)
{
    (void)arg;
    return t.tight;
}

static void start(unsigned max_connections, int64_t timeout_us)
{
    struct listen_addr a = {.text = (char *)"127.0.0.1:0", .host = (char *)"127.0.0.1"};
    struct web_server_options o = {
        .name = "test",
        .listen = &a,
        .nlisten = 1,
        .max_body = 1024,
        .max_header = 4096,
        .max_connections = max_connections,
        .timeout_us = timeout_us,
        .slots = t.slots,
        .handler = on_exchange,
        .hurry = is_tight,
        .hurry_us = CD_MSEC(100),
    };
    assert_int_equal(web_server_start(t.base, &o, &t.server), 0);
}

static int set_up(void **state)
{
    (void)state;
    memset(&t, 0, sizeof t);
    signal(SIGPIPE, SIG_IGN);
    t.base = event_base_new();
    t.slots = slots_new(64);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    web_server_stop(&t.server);
    slots_free(&t.slots);
    event_base_free(t.base);
    return 0;
}

static int exchange(const char *data, size_t n)
{
    peer_start(&t.peer, web_server_port(t.server, 0), data, n);
    run_loop(t.base, &t.peer, CD_SEC(10));
    pthread_join(t.peer.thread, NULL);
    return status_of(&t.peer);
}

static void sound_requests(void **state)
{
    (void)state;
    start(10, CD_SEC(5));
    static const char post[] =
        "POST /sms/x?y=1 HTTP/1.1\r\nHost: h\r\nX-Extra: v\r\nContent-Length: 5\r\n\r\nhello";
    assert_int_equal(exchange(post, sizeof post - 1), 200);
    assert_true(t.peer.closed);
    assert_non_null(strstr(t.peer.answer, "Connection: close"));
    assert_non_null(strstr(t.peer.answer, "\r\n\r\nfine"));
    assert_string_equal(t.body, "hello");
    assert_string_equal(t.path, "/sms/x");
    assert_string_equal(t.extra, "v");
    static const char get[] = "GET / HTTP/1.0\r\n\r\n";
    assert_int_equal(exchange(get, sizeof get - 1), 200);
    assert_int_equal(t.handled, 2);
}

/* The second request of a connection is never carried out. */
static void one_request_a_connection(void **state)
{
    static const char two[] = "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n";

    (void)state;
    start(10, CD_SEC(5));
    assert_int_equal(exchange(two, sizeof two - 1), 200);
    assert_int_equal(t.handled, 1);
    assert_true(t.peer.closed);
    assert_string_equal(t.path, "/a");
}

static void framing_abuse(void **state)
{
#define H "POST /s HTTP/1.1\r\nHost: h\r\n"
    static const struct {
        const char *text;
        size_t n;
    } bad[] = {
#define BAD(s) {s, sizeof(s) - 1}
        BAD(H "Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
        BAD(H "Content-Length: 4\r\nContent-Length: 40\r\n\r\nabcd"),
        BAD(H "Content-Length : 4\r\n\r\nabcd"),
        BAD(H "Content-Length: +4\r\n\r\nabcd"),
        BAD(H "Content-Length: 0x4\r\n\r\nabcd"),
        BAD(H "Content-Length: 4, 4\r\n\r\nabcd"),
        BAD(H "Content-Length: -4\r\n\r\nabcd"),
        BAD(H "Content-Length: 99999999999999999999\r\n\r\nabcd"),
        BAD(H "Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"),
        BAD(H "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"),
        BAD(H "Transfer-Encoding: gzip, chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"),
        BAD(H "Transfer-Encoding:\tchunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"),
        BAD(H "Transfer-Encoding: identity\r\nContent-Length: 4\r\n\r\nabcd"),
        BAD(H "Transfer-Encoding: chunked\r\n\r\n4;x=y\r\nabcd\r\n0\r\n\r\n"),
        BAD(H "\r\n"), /* no length */
        BAD(H "X: a\nContent-Length: 4\r\n\r\nabcd"),
        BAD("POST /s HTTP/1.1\nHost: h\nContent-Length: 4\n\nabcd"),
        BAD(H "X: a\r\n folded\r\nContent-Length: 4\r\n\r\nabcd"),
        BAD(H "X: a\r\n\tContent-Length: 9\r\nContent-Length: 4\r\n\r\nabcd"),
        BAD(H "X: a\0b\r\nContent-Length: 4\r\n\r\nabcd"),
        BAD(H "X: a\rb\r\nContent-Length: 4\r\n\r\nabcd"),
        BAD(H "X y: a\r\nContent-Length: 4\r\n\r\nabcd"),
        BAD(H ": a\r\nContent-Length: 4\r\n\r\nabcd"),
        BAD(H "no colon\r\nContent-Length: 4\r\n\r\nabcd"),
        BAD("POST /s HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 4\r\n\r\nabcd"),
        BAD("POST http://evil/s HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd"),
        BAD("POST  /s HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd"),
        BAD("POST /s x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd"),
        BAD("\r\nPOST /s HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd"),
        BAD("POST /s HTTP/2.0\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd"),
        BAD("POST /s\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd"),
        BAD("CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n"),
        BAD("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    };

    (void)state;
    start(10, CD_MSEC(700));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int status = exchange(bad[i].text, bad[i].n);
        bool refused = status == 400 || status == 411 || status == 413 || status == 501;
        if (t.handled || !t.peer.closed || !refused)
            print_message("case %zu: status %d handled %d closed %d\n", i, status, t.handled, t.peer.closed);
        assert_int_equal(t.handled, 0);
        assert_true(t.peer.closed);
        assert_true(refused);
    }
    assert_true(metrics_get(M_HTTP_BAD) > 10);
}

/* The same verdict however the bytes are cut. */
static void framing_byte_by_byte(void **state)
{
    static const char bad[] = H "X: a\r\n b\r\nContent-Length: 4\r\n\r\nabcd";
    static const char good[] = H "X: a b\r\nContent-Length: 4\r\n\r\nabcd";

    (void)state;
    start(10, CD_SEC(5));
    t.peer.pause_ms = 1;
    assert_int_equal(exchange(bad, sizeof bad - 1), 400);
    t.peer.pause_ms = 1;
    assert_int_equal(exchange(good, sizeof good - 1), 200);
    assert_int_equal(t.handled, 1);
}

static void test_23_sizes(void **state)
{
    CD_CLEANUP_FREE char *big = cd_alloc(CD_KIB(128));
    int head;

    (void)state;
    start(10, CD_SEC(5));
    head = sprintf(big, H "Content-Length: 1024\r\n\r\n");
    memset(big + head, 'x', 1024);
    assert_int_equal(exchange(big, (size_t)head + 1024), 200);
    head = sprintf(big, H "Content-Length: 1025\r\n\r\n");
    memset(big + head, 'x', 1025);
    assert_int_equal(exchange(big, (size_t)head + 1025), 413);
    assert_non_null(strstr(t.peer.answer, "too-large"));
    head = sprintf(big, H "Content-Length: 100000000\r\n\r\n"); /* refused before it is read */
    assert_int_equal(exchange(big, (size_t)head), 413);
    head = sprintf(big, "GET / HTTP/1.1\r\nHost: h\r\nX: ");
    memset(big + head, 'x', 5000);
    strcpy(big + head + 5000, "\r\n\r\n");
    int64_t before = metrics_get(M_HTTP_BAD);
    assert_int_equal(exchange(big, (size_t)head + 5004), 431);
    assert_true(t.peer.closed);
    assert_int_equal(exchange(big, (size_t)head + 4500), 431); /* one that does not end */
    assert_int_equal(metrics_get(M_HTTP_BAD), before + 2);
    head = sprintf(big, "GET / HTTP/1.1\r\nHost: h\r\n");
    for (int i = 0; i < FENCE_MAX_HEADERS; i++)
        head += sprintf(big + head, "X: y\r\n");
    head += sprintf(big + head, "\r\n");
    assert_int_equal(exchange(big, (size_t)head), 400);
    assert_int_equal(t.handled, 1);
}

/* A byte now and then does not keep a connection: the whole request has one deadline. */
/* Answered although the body never comes, and soon no longer counted; who goes on sending gets the answer as well. */
static void refused_by_the_head_alone(void **state)
{
    static const char head[] = H "Content-Length: 1000000\r\n\r\n";
    CD_CLEANUP_FREE char *whole = cd_alloc(sizeof head + 1000000);

    (void)state;
    start(10, CD_SEC(5));
    assert_int_equal(exchange(head, sizeof head - 1), 413);
    assert_true(t.peer.took_us < CD_SEC(1));
    memcpy(whole, head, sizeof head - 1);
    memset(whole + sizeof head - 1, '\n', 1000000);
    assert_int_equal(exchange(whole, sizeof head - 1 + 1000000), 413);
    assert_true(t.peer.closed && !strstr(t.peer.answer + 1, "HTTP/1.1"));
    assert_int_equal(t.handled, 0);
    run_loop(t.base, NULL, CD_MSEC(300));
    assert_int_equal(metrics_get(M_HTTP_OPEN), 0);
    int fd = peer_connect(web_server_port(t.server, 0)); /* stays: cut after a while */
    assert_true(send(fd, head, sizeof head - 1, 0) > 0);
    run_loop(t.base, NULL, CD_MSEC(500));
    assert_int_equal(metrics_get(M_HTTP_OPEN), 1);
    for (int i = 0; i < 20; i++) {
        (void)!send(fd, "GET /hidden HTTP/1.1\r\n\r\n", 24, MSG_NOSIGNAL);
        run_loop(t.base, NULL, CD_MSEC(100));
    }
    assert_int_equal(metrics_get(M_HTTP_OPEN), 0);
    assert_int_equal(t.handled, 0);
    close(fd);
}

static void test_21_slow_request(void **state)
{
    static const char text[] = "GET /0123456789012345678901234567890123456789 HTTP/1.1\r\nHost: h\r\n\r\n";
    int64_t before = metrics_get(M_HTTP_TIMEOUT);

    (void)state;
    start(10, CD_MSEC(500));
    t.peer.pause_ms = 50;
    assert_int_equal(exchange(text, sizeof text - 1), 0);
    assert_true(t.peer.took_us < CD_MSEC(4000));
    assert_int_equal(t.handled, 0);
    assert_int_equal(metrics_get(M_HTTP_TIMEOUT), before + 1);
    assert_int_equal(metrics_get(M_HTTP_OPEN), 0);
}

/* "Expect: 100-continue" makes evhttp answer before the body: the deadline holds all the same. */
static void test_21_slow_body_after_continue(void **state)
{
    static const char text[] = H "Expect: 100-continue\r\nContent-Length: 40\r\n\r\n";

    (void)state;
    start(10, CD_MSEC(500));
    t.peer.pause_ms = 0;
    assert_int_equal(exchange(text, sizeof text - 1), 100);
    assert_true(t.peer.closed);
    assert_true(t.peer.took_us < CD_MSEC(2500));
}

static void silent_connections_and_cap(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    int fds[3];
    int64_t before = metrics_get(M_HTTP_REFUSED);

    (void)state;
    start(3, CD_MSEC(2000));
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        fds[i] = peer_connect(web_server_port(t.server, 0));
    run_loop(t.base, NULL, CD_MSEC(100));
    assert_int_equal(metrics_get(M_HTTP_OPEN), 3);
    assert_int_equal(metrics_get(M_HTTP_REFUSED), before + 1);
    /* one leaves without a word: its place is free again soon */
    close(fds[0]);
    assert_int_equal(exchange(text, sizeof text - 1), 200);
    assert_true(t.peer.took_us < CD_MSEC(1500));
    run_loop(t.base, NULL, CD_MSEC(2300));
    assert_int_equal(metrics_get(M_HTTP_OPEN), 0);
    close(fds[1]);
    close(fds[2]);
    assert_int_equal(exchange(text, sizeof text - 1), 200);
}

/* At the limit of descriptors the listener rests instead of turning the loop round, and serves who waited. */
static void no_descriptors(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    struct rlimit old, low;
    struct rusage before, after;
    char answer[16] = "";

    (void)state;
    start(10, CD_SEC(5));
    int fd = peer_connect(web_server_port(t.server, 0));
    assert_int_equal(send(fd, text, sizeof text - 1, 0), sizeof text - 1);
    getrlimit(RLIMIT_NOFILE, &old);
    low = old;
    int next = dup(fd);
    low.rlim_cur = (rlim_t)next;
    close(next);
    setrlimit(RLIMIT_NOFILE, &low);
    getrusage(RUSAGE_SELF, &before);
    run_loop(t.base, NULL, CD_MSEC(500));
    getrusage(RUSAGE_SELF, &after);
    setrlimit(RLIMIT_NOFILE, &old);
    assert_int_equal(t.handled, 0);
    int64_t cpu_us =
        (after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_stime.tv_sec) *
            INT64_C(1000000) +
        after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec - before.ru_stime.tv_usec;
    assert_true(cpu_us < CD_MSEC(100));
    run_loop(t.base, NULL, CD_MSEC(500));
    assert_int_equal(t.handled, 1);
    assert_int_equal(recv(fd, answer, 12, 0), 12);
    assert_string_equal(answer, "HTTP/1.1 200");
    close(fd);
}

static void answer_later(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

    (void)state;
    start(10, CD_MSEC(300));
    t.hold = true;
    peer_start(&t.peer, web_server_port(t.server, 0), text, sizeof text - 1);
    run_loop(t.base, &t.peer, CD_MSEC(600)); /* longer than the deadline of the request */
    assert_int_equal(t.handled, 1);
    assert_false(t.peer.done);
    assert_false(web_server_idle(t.server));
    web_server_answer(t.slots, t.held, 201, NULL, "", 0);
    assert_true(web_server_idle(t.server));
    run_loop(t.base, &t.peer, CD_SEC(5));
    pthread_join(t.peer.thread, NULL);
    assert_int_equal(status_of(&t.peer), 201);
    /* a second answer to the same token */
    int64_t before = metrics_get(M_ACK_STALE);
    web_server_answer(t.slots, t.held, 200, NULL, "", 0);
    assert_int_equal(metrics_get(M_ACK_STALE), before + 1);
}

static void peer_gone_before_the_answer(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    struct linger hard = {.l_onoff = 1};

    (void)state;
    start(10, CD_SEC(5));
    t.hold = true;
    int fd = peer_connect(web_server_port(t.server, 0));
    assert_int_equal(send(fd, text, sizeof text - 1, 0), sizeof text - 1);
    run_loop(t.base, NULL, CD_MSEC(100));
    assert_int_equal(t.handled, 1);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard); /* RST */
    close(fd);
    run_loop(t.base, NULL, CD_MSEC(100));
    web_server_answer(t.slots, t.held, 200, "text/plain", "late", 4);
    run_loop(t.base, NULL, CD_MSEC(100));
    assert_true(web_server_idle(t.server));
    web_server_answer(t.slots, t.held, 200, "text/plain", "late", 4);
    assert_int_equal(metrics_get(M_HTTP_OPEN), 0);
}

static void stopped_before_the_answer(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

    (void)state;
    start(10, CD_SEC(5));
    t.hold = true;
    peer_start(&t.peer, web_server_port(t.server, 0), text, sizeof text - 1);
    run_loop(t.base, &t.peer, CD_MSEC(200));
    assert_int_equal(t.handled, 1);
    web_server_stop(&t.server);
    web_server_answer(t.slots, t.held, 200, NULL, "", 0); /* stale */
    pthread_join(t.peer.thread, NULL);
    assert_int_equal(status_of(&t.peer), 0);
}

static void a_tight_gate_shortens_the_deadline(void **state)
{
    static const char half[] = "GET / HTTP/1.1\r\nHost: h\r\n";
    (void)state;
    start(10, CD_SEC(1));
    exchange(half, sizeof half - 1);
    assert_true(t.peer.took_us >= CD_MSEC(900));
    t.tight = true;
    int64_t before = metrics_get(M_HTTP_TIMEOUT);
    exchange(half, sizeof half - 1);
    assert_true(t.peer.closed && t.peer.took_us < CD_MSEC(600));
    assert_int_equal(metrics_get(M_HTTP_TIMEOUT), before + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        T(sound_requests),
        T(one_request_a_connection),
        T(framing_abuse),
        T(framing_byte_by_byte),
        T(test_23_sizes),
        T(refused_by_the_head_alone),
        T(test_21_slow_request),
        T(test_21_slow_body_after_continue),
        T(silent_connections_and_cap),
        T(no_descriptors),
        T(answer_later),
        T(peer_gone_before_the_answer),
        T(stopped_before_the_answer),
        T(a_tight_gate_shortens_the_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
