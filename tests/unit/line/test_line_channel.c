/* The channel around the sessions: the gate's modes, listeners, and the decoder. */
#include "tests/unit/line/line_fixture.h"

static void idle_sessions_end_early_while_it_is_tight(void **state CD_UNUSED)
{
    int fd = client_open(-1), busy = client_open(-1);
    struct timeval wait = {0, 400000};
    say(busy, AUTH_INTAKE "SUBMIT {\"text\":\"Hello\",\"key\":\"k\"}\n");
    heard(busy);
    event_base_loopexit(T.base, &wait);
    event_base_dispatch(T.base);
    assert_int_equal(T.server.nsessions, 2);
    gate_is = GATE_TIGHT;
    event_base_loopexit(T.base, &wait);
    event_base_dispatch(T.base);
    assert_non_null(strstr(heard(fd), "idle-timeout"));
    assert_int_equal(T.server.nsessions, 1); /* the other waits for us */
    stored(0, "C-1");
    assert_non_null(strstr(heard(busy), "C-1"));
    gate_is = GATE_NORMAL;
    event_base_loopexit(T.base, &wait);
    event_base_dispatch(T.base);
    int late = client_open(-1);
    event_base_loopexit(T.base, &wait);
    event_base_dispatch(T.base);
    assert_int_equal(heard(late)[0], '\0');
    close(fd);
    close(busy);
    close(late);
}

static uint16_t free_port(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &n), 0);
    close(fd);
    return ntohs(in.sin_port);
}

static void the_channel_listens_on_tcp(void **state CD_UNUSED)
{
    char host[] = "127.0.0.1", text[] = "127.0.0.1:port";
    struct listen_addr a = {.text = text, .host = host, .port = free_port()};
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(a.port)};
    void *st = NULL;
    T.cfg.line_listen = &a;
    T.cfg.nline_listen = 1;
    assert_int_equal(channel_line.start(&T.host, &st), 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    expect_code(fd, "STATS\n", "auth-required", NULL); /* our own user is nobody here */
    close(fd);
    turn();
    assert_true(channel_line.idle(st));
    channel_line.stop(&st);
}

static void the_channel_listens_on_unix_sockets(void **state CD_UNUSED)
{
    char dir[] = "/tmp/cd-line-XXXXXX", path[64], text[80];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    snprintf(text, sizeof text, "unix:%s", path);
    struct listen_addr a = {.text = text, .path = path};
    T.cfg.line_listen = &a;
    T.cfg.nline_listen = 1;
    void *st = NULL, *second = NULL;
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    memcpy(sun.sun_path, path, strlen(path) + 1);
    int left = socket(AF_UNIX, SOCK_STREAM, 0); /* a file left over by a process that was killed */
    assert_int_equal(bind(left, (struct sockaddr *)&sun, sizeof sun), 0);
    close(left);
    assert_int_equal(channel_line.start(&T.host, &st), 0);
    assert_int_equal(channel_line.start(&T.host, &second), CD_EIO); /* in use */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof sun), 0);
    say(fd, "STATS\n"); /* our own user: admin without AUTH */
    assert_int_equal(T.nrequests, 1);
    assert_false(channel_line.idle(st));
    channel_line.drain(st);
    struct reply r = {.ok = true, .body = json_object()};
    channel_line.on_reply(st, T.requests[0].slot, &r);
    assert_string_equal(heard(fd), "OK {}\n!");
    assert_true(channel_line.idle(st));
    channel_line.stop(&st);
    assert_null(st);
    assert_int_equal(access(path, F_OK), -1);
    json_decref(r.body);
    close(fd);
    rmdir(dir);
}

static void decode_makes_the_record(void **state CD_UNUSED)
{
    static const char raw[] =
        "{\"key\":\"k\",\"channel\":\"phone\",\"customer\":{\"name\":\"\xe6\x9d\x8e\",\"email\":\"Li@Shop."
        "Example\","
        "\"phone\":\"+86 138-0013-8000\",\"external_id\":\"E7\"},\"subject\":\"\xe6\x8a\x95\xe8\xaf\x89\","
        "\"text\":\"iPhone "
        "\xe9\x87\x8d\xe5\xa4\x8d\xe6\x89\xa3\xe6\xac\xbe\",\"priority\":\"high\",\"category\":\"billing\"}";
    struct envelope *e = envelope_new(CH_LINE, 1000);
    struct record *r = record_new();
    assert_int_equal(buf_append_str(&e->raw, raw), 0);
    assert_int_equal(line_decode(e, r), 0);
    assert_string_equal(r->email, "li@shop.example");
    assert_string_equal(r->phone, "+8613800138000");
    assert_string_equal(r->name, "\xe6\x9d\x8e");
    assert_string_equal(r->said_channel, "phone");
    assert_string_equal(r->external_id, "E7");
    assert_string_equal(r->priority, "high");
    assert_string_equal(r->category, "billing");
    assert_string_equal(r->language, "zh");
    assert_int_equal(r->cls, MC_PERSON);
    record_free(&r);
    r = record_new();
    buf_reset(&e->raw);
    assert_int_equal(buf_append_str(&e->raw, "{\"text\":\"You charged me twice, please help. "
                                             "\xe6\x9d\x8e\xe5\x9b\x9b\",\"customer\":3}"), 0);
    assert_int_equal(line_decode(e, r), 0);
    assert_string_equal(r->language, "en");
    assert_null(r->phone);
    buf_reset(&e->raw);
    assert_int_equal(line_decode(e, r), CD_EINVAL);
    assert_int_equal(buf_append_str(&e->raw, "{\"text\":7}"), 0);
    assert_int_equal(line_decode(e, r), CD_EINVAL);
    record_free(&r);
    envelope_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T_(idle_sessions_end_early_while_it_is_tight),
        T_(the_channel_listens_on_tcp),
        T_(the_channel_listens_on_unix_sockets),
        T_(decode_makes_the_record),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
