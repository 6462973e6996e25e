/* clamd's protocol against a peer in a thread: the stream byte by byte, the answer cut at every byte, silence, a connection that ends at
 * every moment, an answer without end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/scan/checkers.h"

static struct {
    struct event_base *base;
    int listener;
    struct listen_addr at;
    pthread_t thread;
    /* the peer */
    const char *answer;
    size_t nanswer, cut; /* a pause behind so many bytes; 0: none */
    size_t read_at_most; /* then it closes without a word */
    bool silent;
    uint8_t got[4 << 20];
    size_t ngot;
    /* the outcome */
    int done;
    struct scan_answer result;
} t;

static size_t read_some(int fd, size_t n)
{
    size_t got = 0;
    while (got < n) {
        ssize_t r = recv(fd, t.got + t.ngot, n - got, 0);
        if (r <= 0)
            break;
        got += (size_t)r;
        t.ngot += (size_t)r;
    }
    return got;
}

static bool read_stream(int fd)
{
    if (read_some(fd, 10) < 10)
        return false;
    for (;;) {
        uint32_t n;
        if (read_some(fd, 4) < 4)
            return false;
        memcpy(&n, t.got + t.ngot - 4, 4);
        if (!n)
            return true;
        if (read_some(fd, ntohl(n)) < ntohl(n))
            return false;
    }
}

static void *peer(void *arg)
{
    int fd = accept(t.listener, NULL, NULL);
    char c;
    (void)arg;
    if (t.read_at_most) {
        read_some(fd, t.read_at_most);
        close(fd);
        return NULL;
    }
    read_stream(fd);
    if (t.silent)
        while (recv(fd, &c, 1, 0) > 0)
            ;
    size_t first = t.cut ? t.cut : t.nanswer;
    send(fd, t.answer, first, MSG_NOSIGNAL);
    if (t.cut) {
        usleep(2000);
        send(fd, t.answer + first, t.nanswer - first, MSG_NOSIGNAL);
    }
    shutdown(fd, SHUT_WR);
    while (recv(fd, &c, 1, 0) > 0)
        ;
    close(fd);
    return NULL;
}

static void on_done(void *arg, const struct scan_answer *a)
{
    assert_ptr_equal(arg, &t);
    t.done++;
    t.result = *a;
    event_base_loopbreak(t.base);
}

static void ask(const char *text, size_t n, int64_t timeout_us)
{
    struct clamd *c = NULL;
    struct scan_answer why = {0};
    t.done = 0;
    t.ngot = 0;
    assert_int_equal(pthread_create(&t.thread, NULL, peer, NULL), 0);
    assert_int_equal(clamd_ask(t.base, &t.at, text, n, timeout_us, on_done, &t, &c, &why), 0);
    assert_int_equal(t.done, 0);
    event_base_dispatch(t.base);
    assert_int_equal(t.done, 1);
    event_base_loop(t.base, EVLOOP_NONBLOCK); /* libevent closes the connection here */
    pthread_join(t.thread, NULL);
}

static void answer_is(const char *s, size_t n)
{
    t.answer = s;
    t.nanswer = n;
    t.cut = t.read_at_most = 0;
    t.silent = false;
}

static void stream_as_clamd_wants_it(void **state)
{
    static const char text[] = "From: a\r\n\r\nbody";
    (void)state;
    answer_is("stream: OK", sizeof "stream: OK");
    ask(text, sizeof text - 1, CD_SEC(5));
    assert_int_equal(t.result.outcome, ASK_ANSWERED);
    assert_int_equal(t.result.verdict, SCAN_CLEAN);
    uint32_t n = htonl(sizeof text - 1), none = 0;
    assert_int_equal(t.ngot, 10 + 4 + sizeof text - 1 + 4);
    assert_memory_equal(t.got, "zINSTREAM", 10);
    assert_memory_equal(t.got + 10, &n, 4);
    assert_memory_equal(t.got + 14, text, sizeof text - 1);
    assert_memory_equal(t.got + t.ngot - 4, &none, 4);
    ask("", 0, CD_SEC(5));
    assert_int_equal(t.result.verdict, SCAN_CLEAN);
    assert_int_equal(t.ngot, 14);
}

static void a_large_mail_goes_in_chunks(void **state)
{
    size_t n = 3 << 20, at = 10, seen = 0;
    char *text = malloc(n);
    (void)state;
    for (size_t i = 0; i < n; i++)
        text[i] = (char)(i * 7 + i / 251);
    answer_is("stream: Big FOUND", sizeof "stream: Big FOUND");
    ask(text, n, CD_SEC(20));
    assert_int_equal(t.result.verdict, SCAN_QUARANTINED);
    assert_string_equal(t.result.text, "Big");
    while (seen < n) {
        uint32_t len;
        memcpy(&len, t.got + at, 4);
        len = ntohl(len);
        assert_true(len > 0 && len <= CD_KIB(256));
        assert_memory_equal(t.got + at + 4, text + seen, len);
        seen += len;
        at += 4 + len;
    }
    assert_int_equal(seen, n);
    assert_int_equal(at + 4, t.ngot);
    free(text);
}

static void an_answer_cut_at_every_byte(void **state)
{
    static const char line[] = "stream: Eicar FOUND";
    (void)state;
    for (size_t i = 1; i < sizeof line; i++) {
        answer_is(line, sizeof line);
        t.cut = i;
        ask("x", 1, CD_SEC(5));
        assert_int_equal(t.result.verdict, SCAN_QUARANTINED);
        answer_is(line, i); /* and one that ends there */
        ask("x", 1, CD_SEC(5));
        assert_int_equal(t.result.outcome, ASK_DOWN);
    }
    answer_is(line, 0);
    ask("x", 1, CD_SEC(5));
    assert_int_equal(t.result.outcome, ASK_DOWN);
}

static void silence_costs_the_budget(void **state)
{
    (void)state;
    answer_is("", 0);
    t.silent = true;
    ask("x", 1, CD_MSEC(50));
    assert_int_equal(t.result.outcome, ASK_SLOW);
}

static void an_answer_without_end(void **state)
{
    static char much[100000];
    (void)state;
    memset(much, 'x', sizeof much);
    answer_is(much, sizeof much);
    ask("x", 1, CD_SEC(5));
    assert_int_equal(t.result.outcome, ASK_ODD);
    static const char garbage[] = "\xff\x01\n FOUND";
    answer_is(garbage, sizeof garbage);
    ask("x", 1, CD_SEC(5));
    assert_int_equal(t.result.outcome, ASK_ODD);
}

static void it_closes_while_we_write(void **state)
{
    size_t n = 3 << 20;
    char *text = calloc(1, n);
    (void)state;
    for (size_t at = 1; at < 40; at += 3) {
        answer_is("", 0);
        t.read_at_most = at;
        ask(text, n, CD_SEC(5));
        assert_int_equal(t.result.outcome, ASK_DOWN);
    }
    free(text);
}

static void nobody_there(void **state)
{
    struct listen_addr at = {.path = (char *)(uintptr_t) "/nonexistent/clamd"};
    struct clamd *c = NULL;
    struct scan_answer why = {0};
    (void)state;
    assert_true(clamd_ask(t.base, &at, "x", 1, CD_SEC(1), on_done, &t, &c, &why) < 0);
    assert_null(c);
    assert_int_equal(why.outcome, ASK_DOWN);
    assert_string_equal(why.text, "No such file or directory");
}

static void cancelled(void **state)
{
    struct clamd *c = NULL;
    struct scan_answer why = {0};
    (void)state;
    answer_is("", 0);
    t.done = 0;
    t.read_at_most = 1000;
    assert_int_equal(pthread_create(&t.thread, NULL, peer, NULL), 0);
    assert_int_equal(clamd_ask(t.base, &t.at, "x", 1, CD_SEC(5), on_done, &t, &c, &why), 0);
    clamd_cancel(&c);
    assert_null(c);
    clamd_cancel(&c);
    event_base_dispatch(t.base);
    assert_int_equal(t.done, 0);
    pthread_join(t.thread, NULL);
}

static int set_up(void **state)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    (void)state;
    t.base = event_base_new();
    t.listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(t.listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(t.listener, 8) < 0 ||
        getsockname(t.listener, (struct sockaddr *)&a, &len) < 0)
        return -1;
    t.at = (struct listen_addr){.host = strdup("127.0.0.1"), .port = ntohs(a.sin_port)};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    event_base_free(t.base);
    close(t.listener);
    free(t.at.host);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_as_clamd_wants_it), cmocka_unit_test(a_large_mail_goes_in_chunks), cmocka_unit_test(an_answer_cut_at_every_byte),
        cmocka_unit_test(silence_costs_the_budget), cmocka_unit_test(an_answer_without_end),       cmocka_unit_test(it_closes_while_we_write),
        cmocka_unit_test(nobody_there),             cmocka_unit_test(cancelled),
    };
    return cmocka_run_group_tests_name("clamd", tests, set_up, tear_down);
}
