/* The web channel around its servers: routes of other channels, health, readiness, metrics. */
#include "tests/unit/web/web_fixture.h"

#include "channels/web/web.h"

static struct {
    struct event_base *base;
    struct peer peer;
    int handled;
    struct ack held;
} t;

static bool is_ready;

static bool fake_ready(void *front, size_t bytes)
{
    (void)front;
    (void)bytes;
    return is_ready;
}

static void on_routed(void *arg, const struct http_exchange *x)
{
    (void)arg;
    t.handled++;
    t.held = x->token;
    web_answer(x->token, 202, "text/plain", "routed", 6);
}

static int ask(uint16_t port, const char *text)
{
    peer_start(&t.peer, port, text, strlen(text));
    run_loop(t.base, &t.peer, CD_SEC(5));
    pthread_join(t.peer.thread, NULL);
    return status_of(&t.peer);
}

static uint16_t free_port(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    getsockname(fd, (struct sockaddr *)&sa, &n);
    close(fd);
    return ntohs(sa.sin_port);
}

static enum gate_mode normal_gate(void *front)
{
    (void)front;
    return GATE_NORMAL;
}

static void the_channel(void **state)
{
    struct listen_addr http = {.text = (char *)"http", .host = (char *)"127.0.0.1", .port = free_port()};
    struct listen_addr metrics = {
        .text = (char *)"metrics", .host = (char *)"127.0.0.1", .port = free_port()};
    struct config cfg = {.http_listen = &http,
                         .nhttp_listen = 1,
                         .metrics_listen = &metrics,
                         .nmetrics_listen = 1,
                         .http_max_body_bytes = 1024,
                         .http_max_header_bytes = 4096,
                         .http_max_connections = 10,
                         .http_request_timeout_us = CD_SEC(2)};
    struct channel_host host = {.cfg = &cfg, .ready = fake_ready, .gate = normal_gate};
    void *web;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    host.base = t.base = event_base_new();
    web_add_route("/sms/", on_routed, NULL);
    assert_int_equal(channel_web.start(&host, &web), 0);
    assert_int_equal(ask(http.port, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    assert_int_equal(ask(http.port, "GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n"), 503);
    assert_non_null(strstr(t.peer.answer, "\r\nRetry-After: 5\r\n"));
    is_ready = true;
    assert_int_equal(ask(http.port, "GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    assert_int_equal(ask(http.port, "POST /healthz HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"), 405);
    assert_int_equal(ask(http.port, "POST /v1/nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"),
                     404);
    assert_non_null(strstr(t.peer.answer, "\"code\":\"not-found\""));
    assert_int_equal(ask(http.port, "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"), 404);
    assert_int_equal(ask(http.port, "POST /sms/x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"), 202);
    assert_int_equal(t.handled, 1);
    assert_int_equal(ask(metrics.port, "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"), 200);
    assert_non_null(strstr(t.peer.answer, "text/plain; version=0.0.4"));
    assert_int_equal(ask(metrics.port, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"), 404);
    channel_web.drain(web);
    assert_true(channel_web.idle(web));
    channel_web.stop(&web);
    web_answer(t.held, 200, NULL, "", 0); /* after stop: nothing */
    event_base_free(t.base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_channel)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
