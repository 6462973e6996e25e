/* The PROXY header: every rule of the parser, cut at every byte, and connections from a listed proxy. */
#include "tests/unit/mail_smtp/smtp_fixture.h"

#include "channels/mail/proxy.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"

static enum proxy_result parse(const void *p, size_t n, struct proxy_header *h)
{
    uint8_t *copy = malloc(n + !n); /* exactly as long, so that a read behind it is seen */
    memcpy(copy, p, n);
    enum proxy_result r = proxy_parse(copy, n, h);
    free(copy);
    return r;
}

static enum proxy_result parse_text(const char *s, struct proxy_header *h)
{
    return parse(s, strlen(s), h);
}

static void assert_source(const struct proxy_header *h, const char *address, unsigned port)
{
    char text[INET6_ADDRSTRLEN];
    smtp_address_text(&h->source, text);
    assert_true(h->conveyed);
    assert_string_equal(text, address);
    assert_int_equal(h->source_port, port);
}

static void version_1(void **state)
{
    struct proxy_header h;
    (void)state;
    assert_int_equal(parse_text("PROXY TCP4 203.0.113.9 192.0.2.1 65535 25\r\nEHLO", &h), PROXY_OK);
    assert_source(&h, "203.0.113.9", 65535);
    assert_int_equal(h.destination_port, 25);
    assert_int_equal(h.length, strlen("PROXY TCP4 203.0.113.9 192.0.2.1 65535 25\r\n"));
    assert_int_equal(parse_text("PROXY TCP6 2001:db8::9 ::1 0 25\r\n", &h), PROXY_OK);
    assert_source(&h, "2001:db8::9", 0);
    assert_int_equal(parse_text("PROXY UNKNOWN\r\n", &h), PROXY_OK);
    assert_false(h.conveyed);
    assert_int_equal(parse_text("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", &h), PROXY_OK);
    assert_false(h.conveyed);
    static const char *const bad[] = {
        "EHLO client.example\r\n", "P\r", "PROXY\r\n", "PROXY \r\n", "PROXY TCP4\r\n", "PROXY TCP4 \r\n", "proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n", "PROXY TCP4 1.2.3.4  1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\r\n", "PROXY TCP4 ::1 ::1 1 1\r\n", "PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.256 1 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\t\r\n", "PROXY UNKNOWNS\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (parse_text(bad[i], &h) != PROXY_BAD)
            fail_msg("taken: %s", bad[i]);
    char line[300] = "PROXY UNKNOWN ";
    memset(line + 14, 'x', 200);
    assert_int_equal(parse(line, 106, &h), PROXY_MORE);
    assert_int_equal(parse(line, 107, &h), PROXY_BAD);
    memcpy(line + 105, "\r\n", 2); /* 107 with its end is the longest */
    assert_int_equal(parse(line, 107, &h), PROXY_OK);
}

static void version_2(void **state)
{
    struct proxy_header h;
    static const char v4[] = V2 "\x21\x11\0\x0c\xcb\0\x71\x09\xc0\0\x02\x01\x30\x39\0\x19";
    (void)state;
    assert_int_equal(parse(v4, sizeof v4 - 1, &h), PROXY_OK);
    assert_source(&h, "203.0.113.9", 12345);
    assert_int_equal(h.length, 28);
    char big[PROXY_MAX_BYTES + 8] = V2 "\x21\x21\0\x24";
    memcpy(big + 16, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09", 16);
    assert_int_equal(parse(big, 16 + 36, &h), PROXY_OK);
    assert_source(&h, "2001:db8::9", 0);
    big[14] = (char)((PROXY_MAX_BYTES - 16) >> 8); /* with fields that are passed over */
    big[15] = (char)((PROXY_MAX_BYTES - 16) & 0xff);
    assert_int_equal(parse(big, PROXY_MAX_BYTES - 1, &h), PROXY_MORE);
    assert_int_equal(parse(big, PROXY_MAX_BYTES, &h), PROXY_OK);
    big[15]++;
    assert_int_equal(parse(big, 16, &h), PROXY_BAD);
    /* LOCAL, whatever its family says; unspecified and unix are no internet addresses */
    static const char *const quiet[] = {V2 "\x20\0\0\0", V2 "\x20\x11\0\0", V2 "\x20\xff\0\0", V2 "\x21\0\0\0"};
    for (size_t i = 0; i < ARRAY_LEN(quiet); i++) {
        assert_int_equal(parse(quiet[i], 16, &h), PROXY_OK);
        assert_false(h.conveyed);
        assert_int_equal(h.length, 16);
    }
    static const char *const bad[] = {
        V2 "\x22\x11\0\x0c", V2 "\x11\x11\0\x0c", V2 "\x21\x12\0\x0c", V2 "\x21\x41\0\x0c", V2 "\x21\x13\0\x0c", "\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(parse(bad[i], 16, &h), PROXY_BAD);
    assert_int_equal(parse(V2 "\x21\x11\0\x0b\1\2\3\4\1\2\3\4\1\2\3", 27, &h), PROXY_BAD); /* too short for its addresses */
}

static void cut_at_every_byte(void **state)
{
    struct proxy_header h;
    static const char v1[] = "PROXY TCP4 203.0.113.9 192.0.2.1 65535 25\r\n";
    static const char v2[] = V2 "\x21\x11\0\x0c\xcb\0\x71\x09\xc0\0\x02\x01\x30\x39\0\x19";
    (void)state;
    for (size_t n = 0; n < sizeof v1 - 1; n++)
        assert_int_equal(parse(v1, n, &h), PROXY_MORE);
    for (size_t n = 0; n < sizeof v2 - 1; n++)
        assert_int_equal(parse(v2, n, &h), PROXY_MORE);
}

/* ---- connections ---- */

static struct listen_addr any = {.text = (char *)"127.0.0.1:0", .host = (char *)"127.0.0.1"};
static struct network loopback = {.addr = {[10] = 0xff, [11] = 0xff, [12] = 127}, .bits = 104};

static int connected(void)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(smtp_listen_port(srv, 0)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static const char *hear_soon(int fd)
{
    bool gone = false;
    for (int i = 0; i < 200; i++) {
        if (*hear_close(fd, &gone) || gone)
            break;
        run_ms(5);
    }
    return heard;
}

static void start_behind_proxy(void)
{
    cfg.mail_listen = &any;
    cfg.nmail_listen = 1;
    cfg.mail_proxy_from = &loopback;
    cfg.nmail_proxy_from = 1;
    start();
}

static void limits_are_the_clients(void **state)
{
    (void)state;
    cfg.mail_max_connections_per_address = 1;
    start_behind_proxy();
    int a = connected(), b = connected(), c = connected(), local = connected();
    run_ms(20);
    assert_string_equal(hear(a), ""); /* nothing is said before the header */
    assert_int_equal(srv->ndoors, 4);
    for (const char *p = "PROXY TCP4 203.0.113.9 192.0.2.1 1 25\r\nEHLO c\r\n"; *p; p++)
        assert_int_equal(send(a, p, 1, MSG_NOSIGNAL), 1), run_ms(1);
    assert_true(str_starts(hear_soon(a), "220 "));
    assert_string_equal(last_session()->peer_text, "203.0.113.9");
    say(b, "PROXY TCP4 203.0.113.9 192.0.2.1 2 25\r\n");
    assert_true(str_starts(hear_soon(b), "421 4.7.0 "));
    say(c, "PROXY TCP4 203.0.113.10 192.0.2.1 2 25\r\n");
    assert_true(str_starts(hear_soon(c), "220 "));
    say_bytes(local, V2 "\x20\0\0\0", 16);
    assert_true(str_starts(hear_soon(local), "220 "));
    assert_string_equal(last_session()->peer_text, "127.0.0.1");
    assert_int_equal(srv->ndoors, 0);
    close(a);
    close(b);
    close(c);
    close(local);
}

static void wrong_and_late_headers_are_closed_and_counted(void **state)
{
    (void)state;
    cfg.mail_proxy_timeout_us = CD_MSEC(100);
    start_behind_proxy();
    log_set_level(LOG_L_ERROR);
    int64_t before = metrics_get(M_SMTP_PROXY_REFUSED);
    int wrong = connected(), late = connected(), gone = connected();
    run_ms(10);
    say(wrong, "EHLO client.example\r\n");
    assert_string_equal(hear_soon(wrong), "");
    assert_true(closed(wrong));
    close(gone);
    for (int i = 0; i < 30 && send(late, &"PROXY UNKNOWN x"[CD_MIN(i, 14)], 1, MSG_NOSIGNAL) == 1; i++)
        run_ms(10); /* a byte now and then does not help */
    assert_true(closed(late));
    for (int i = 0; i < 100 && srv->ndoors; i++)
        run_ms(5);
    assert_int_equal(metrics_get(M_SMTP_PROXY_REFUSED), before + 3);
    assert_int_equal(srv->nsessions + srv->ndoors, 0);
    close(wrong);
    close(late);
}

static void others_are_never_parsed(void **state)
{
    (void)state;
    static struct network other = {.addr = {[10] = 0xff, [11] = 0xff, [12] = 10}, .bits = 104};
    start_behind_proxy();
    cfg.mail_proxy_from = &other;
    int fd = connected();
    assert_true(str_starts(hear_soon(fd), "220 "));
    expect_start(fd, "PROXY TCP4 203.0.113.9 192.0.2.1 1 25\r\n", "500 5.5.1 ");
    assert_string_equal(last_session()->peer_text, "127.0.0.1");
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1),
        cmocka_unit_test(version_2),
        cmocka_unit_test(cut_at_every_byte),
        T(limits_are_the_clients),
        T(wrong_and_late_headers_are_closed_and_counted),
        T(others_are_never_parsed),
    };
    return cmocka_run_group_tests_name("proxy", tests, NULL, NULL);
}
