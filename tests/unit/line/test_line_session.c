/* Sessions on a socketpair with a fake host: order of answers, limits, faults, roles, SUBMIT and its
 * outcomes. */
#include "tests/unit/line/line_fixture.h"

static void hello_auth_ping_quit(void **state CD_UNUSED)
{
    int fd = client_open(-1);
    expect(fd, "HELLO {\"client\":\"callcentre\",\"version\":1}\n",
           "OK {\"server\":\"complaintd\",\"version\":1,\"auth\":[\"token\"],\"starttls\":false}\n");
    expect_code(fd, "HELLO {\"version\":2}\n", "bad-argument", "version");
    expect_code(fd, "HELLO {\"x\":2}\n", "bad-argument", "x");
    expect_code(fd, "SUBMIT {\"key\":\"1\",\"text\":\"x\"}\n", "auth-required", NULL);
    expect_code(fd, "LIST\n", "auth-required", NULL);
    expect(fd, AUTH_INTAKE, AUTHED_INTAKE);
    expect(fd, "PING\r\nping {}\n", "OK {}\nOK {}\n");
    expect_code(fd, "LIST {}\n", "forbidden", NULL);
    expect_code(fd, "CLOCK {}\n", "forbidden", NULL);
    expect_code(fd, "FROB {}\n", "unknown-verb", NULL);
    expect_code(fd, "SUBSCRIBE {}\n", "forbidden", NULL);
    expect(fd, "QUIT\nPING\n", "OK {}\n!");
    assert_int_equal(T.server.nsessions, 0);
    close(fd);
}

static void wrong_tokens_are_counted_and_end_it(void **state CD_UNUSED)
{
    int64_t before = metrics_get(M_LINE_AUTH_FAILURES);
    int fd = client_open(-1);
    for (int i = 1; i < LINE_MAX_AUTH_FAILURES; i++)
        expect_code(fd, "AUTH {\"token\":\"secret-on\"}\n", "auth-failed", NULL);
    expect_code(fd, "AUTH {\"token\":1}\n", "bad-argument", "token");
    say(fd, "AUTH {\"token\":\"\"}\nAUTH {\"token\":\"secret-one\"}\n");
    const char *a = heard(fd);
    assert_non_null(strstr(a, "auth-failed"));
    assert_null(strstr(a, "OK"));
    assert_int_equal(a[strlen(a) - 1], '!');
    assert_int_equal(metrics_get(M_LINE_AUTH_FAILURES) - before, LINE_MAX_AUTH_FAILURES);
    close(fd);
}

static void unix_peers(void **state CD_UNUSED)
{
    int own = client_open((long)geteuid()), other = client_open(54321);
    say(own, "CLOCK {\"advance\":\"3d\"}\n");
    assert_int_equal(T.nrequests, 1);
    assert_int_equal(T.requests[0].role, ROLE_ADMIN);
    char actor[40];
    snprintf(actor, sizeof actor, "@uid%ld", (long)geteuid());
    assert_string_equal(T.requests[0].actor, actor);
    expect_code(other, "CLOCK {}\n", "auth-required", NULL);
    close(own);
    close(other);
}

static void answers_come_in_request_order(void **state CD_UNUSED)
{
    int fd = client_open(-1);
    expect(fd, AUTH_INTAKE, AUTHED_INTAKE);
    say(fd, "SUBMIT {\"key\":\"a\",\"text\":\"1\"}\nSUBMIT {\"key\":\"b\",\"text\":\"2\"}\nPING\nSHOW "
            "{\"ref\":\"X\"}\n"
            "nonsense\nSUBMIT {\"key\":\"c\",\"text\":\"3\"}\n");
    assert_string_equal(heard(fd), "");
    assert_int_equal(T.nenvelopes, 3);
    assert_int_equal(T.nrequests, 1);
    stored(2, "C-3");
    stored(1, "C-2");
    assert_string_equal(heard(fd), "");
    stored(0, "C-1");
    assert_string_equal(
        heard(fd), "OK {\"ref\":\"C-1\",\"outcome\":\"new\",\"category\":\"billing\",\"priority\":\"high\"}\n"
                   "OK {\"ref\":\"C-2\",\"outcome\":\"new\",\"category\":\"billing\",\"priority\":\"high\"}\n"
                   "OK {}\n");
    struct reply r = {.ok = true,
                      .rows = json_pack("[{s:i},{s:i}]", "n", 1, "n", 2),
                      .body = json_pack("{s:i}", "rows", 2)};
    line_on_reply(&T.server, T.requests[0].slot, &r);
    const char *a = heard(fd);
    const char *begin = "ROW {\"n\":1}\nROW {\"n\":2}\nOK {\"rows\":2}\nERR {\"code\":\"unknown-verb\"";
    const char *end =
        "OK {\"ref\":\"C-3\",\"outcome\":\"new\",\"category\":\"billing\",\"priority\":\"high\"}\n";
    if (strncmp(a, begin, strlen(begin)) != 0)
        fail_msg("got %s", a);
    begin = strstr(a, "\nOK {\"ref\"");
    assert_non_null(begin);
    assert_string_equal(begin + 1, end);
    int64_t stale = metrics_get(M_ACK_STALE);
    stored(0, "C-1"); /* again: ignored */
    assert_int_equal(metrics_get(M_ACK_STALE), stale + 1);
    json_decref(r.rows);
    json_decref(r.body);
    close(fd);
}

static void reading_stops_when_the_queue_is_full(void **state CD_UNUSED)
{
    int fd = client_open(-1);
    char line[100];
    expect(fd, AUTH_INTAKE, AUTHED_INTAKE);
    for (int i = 0; i < 100; i++) {
        snprintf(line, sizeof line, "SUBMIT {\"key\":\"%d\",\"text\":\"%d\"}\n", i, i);
        say(fd, line);
    }
    assert_int_equal(T.nenvelopes, 8);
    assert_int_equal(TAILQ_FIRST(&T.server.sessions)->nqueue, 8);
    stored(7, "C-7");
    turn();
    assert_int_equal(T.nenvelopes, 8); /* its answer waits for the others */
    for (size_t i = 0; i < 7; i++)
        stored(i, "C-0");
    turn();
    assert_int_equal(T.nenvelopes, 16);
    for (size_t i = 8; i < T.nenvelopes; i++) {
        stored(i, "C-0");
        turn();
    }
    assert_int_equal(T.nenvelopes, 100);
    for (size_t i = 0; i < 100; i++) {
        snprintf(line, sizeof line, "callcentre:%zu", i);
        assert_string_equal(T.envelopes[i]->key, line);
    }
    close(fd);
}

static void slow_reader_is_not_served_on(void **state CD_UNUSED)
{
    int fd = client_open((long)geteuid());
    char *big = malloc(300001);
    assert_non_null(big);
    memset(big, 'x', 300000);
    big[300000] = '\0';
    struct reply r = {.ok = true, .body = json_pack("{s:s}", "x", big)};
    for (int i = 0; i < 30; i++)
        (void)!send(fd, "STATS\n", 6, MSG_NOSIGNAL);
    for (size_t i = 0; i < T.nrequests; i++) {
        turn();
        if (i < T.nrequests)
            line_on_reply(&T.server, T.requests[i].slot, &r);
        turn();
    }
    assert_true(T.nrequests < 30);
    size_t answered = 0, before = 0;
    do {
        before = answered;
        for (const char *a = heard(fd); (a = strstr(a, "OK ")); a++)
            answered++;
        for (size_t i = answered; i < T.nrequests; i++)
            line_on_reply(&T.server, T.requests[i].slot, &r);
    } while (answered > before || T.nrequests < 30);
    assert_int_equal(answered, 30);
    json_decref(r.body);
    free(big);
    close(fd);
}

static void limits_of_lines_and_connections(void **state CD_UNUSED)
{
    int fd = client_open(-1), more[4];
    char *junk = malloc(200002);
    assert_non_null(junk);
    memset(junk, 'x', 200000);
    memcpy(junk + 200000, "\n", 2);
    say(fd, junk);
    assert_non_null(strstr(heard(fd), "ERR {\"code\":\"line-too-long\""));
    expect(fd, "PING\n", "OK {}\n");
    free(junk);
    int64_t refused = metrics_get(M_LINE_REFUSED);
    for (int i = 0; i < 4; i++)
        more[i] = client_open(-1);
    assert_int_equal(T.server.nsessions, 4);
    assert_int_equal(metrics_get(M_LINE_REFUSED), refused + 1);
    const char *a = heard(more[3]);
    assert_non_null(strstr(a, "\"code\":\"busy\""));
    assert_int_equal(a[strlen(a) - 1], '!');
    for (int i = 0; i < 4; i++)
        close(more[i]);
    turn();
    assert_int_equal(T.server.nsessions, 1);
    close(fd);
}

static void bad_and_deep_json_keep_the_connection(void **state CD_UNUSED)
{
    int fd = client_open(-1);
    expect_code(fd, "SUBMIT {\"key\":\n", "bad-json", NULL);
    expect_code(fd, "SUBMIT {\"a\":[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]}\n", "bad-json", NULL);
    expect_code(fd, "SUBMIT {\"a\":1,\"a\":1}\n", "bad-json", NULL);
    expect_code(fd, "SUBMIT {\"a\":\"\xff\"}\n", "bad-utf8", NULL);
    expect_code(fd, "\n", "bad-line", NULL);
    expect(fd, "PING\n", "OK {}\n");
    close(fd);
}

static void submit_checks_its_fields(void **state CD_UNUSED)
{
    static const struct {
        const char *json, *field;
    } cases[] = {
        {"{\"text\":\"x\"}", "key"},
        {"{\"key\":\"\",\"text\":\"x\"}", "key"},
        {"{\"key\":7,\"text\":\"x\"}", "key"},
        {"{\"key\":\"a\\nb\",\"text\":\"x\"}", "key"},
        {"{\"key\":\"a\"}", "text"},
        {"{\"key\":\"a\",\"text\":\" \\n\"}", "text"},
        {"{\"key\":\"a\",\"text\":\"x\",\"channel\":\"Phone\"}", "channel"},
        {"{\"key\":\"a\",\"text\":\"x\",\"channel\":\"\"}", "channel"},
        {"{\"key\":\"a\",\"text\":\"x\",\"colour\":\"red\"}", "colour"},
        {"{\"key\":\"a\",\"text\":\"x\",\"desk\":\"nowhere\"}", "desk"},
        {"{\"key\":\"a\",\"text\":\"x\",\"category\":\"nothing\"}", "category"},
        {"{\"key\":\"a\",\"text\":\"x\",\"priority\":\"urgent\"}", "priority"},
        {"{\"key\":\"a\",\"text\":\"x\",\"language\":\"english\"}", "language"},
        {"{\"key\":\"a\",\"text\":\"x\",\"subject\":\"a\\r\\nBcc: x\"}", "subject"},
        {"{\"key\":\"a\",\"text\":\"x\",\"customer\":\"Li\"}", "customer"},
        {"{\"key\":\"a\",\"text\":\"x\",\"customer\":{\"mail\":\"x\"}}", "customer.mail"},
        {"{\"key\":\"a\",\"text\":\"x\",\"customer\":{\"email\":\"x@y@z\"}}", "customer.email"},
        {"{\"key\":\"a\",\"text\":\"x\",\"customer\":{\"email\":\"x@y\\nz.example\"}}", "customer.email"},
        {"{\"key\":\"a\",\"text\":\"x\",\"customer\":{\"phone\":\"call me\"}}", "customer.phone"},
        {"{\"key\":\"a\",\"text\":\"x\",\"customer\":{\"phone\":\"13800138000\"}}", "customer.phone"},
    };
    char line[300];
    int fd = client_open(-1);
    expect(fd, AUTH_INTAKE, AUTHED_INTAKE);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(line, sizeof line, "SUBMIT %s\n", cases[i].json);
        expect_code(fd, line, "bad-argument", cases[i].field);
    }
    memset(line, 0, sizeof line);
    int n = snprintf(line, sizeof line, "SUBMIT {\"text\":\"x\",\"key\":\"");
    memset(line + n, 'k', 201);
    strcat(line, "\"}\n");
    expect_code(fd, line, "bad-argument", "key");
    assert_int_equal(T.nenvelopes, 0);
    close(fd);
}

static void submit_makes_the_envelope(void **state CD_UNUSED)
{
    int fd = client_open(-1);
    const char *full =
        "{\"key\":\"k\", \"desk\":\"care\",\"text\":\"Hello\",\"customer\":{\"phone\":\"138 0013 8000\"}}";
    char line[300];
    expect(fd, AUTH_INTAKE, AUTHED_INTAKE);
    snprintf(line, sizeof line, "SUBMIT  %s \n", full);
    say(fd, line);
    say(fd, "SUBMIT {\"text\":\"Hello\",\"customer\":{\"phone\":\"138 0013 "
            "8000\"},\"desk\":\"care\",\"key\":\"k\"}\n"
            "SUBMIT {\"text\":\"Hello\",\"key\":\"k\"}\n");
    assert_int_equal(T.nenvelopes, 3);
    const struct envelope *e = T.envelopes[0];
    assert_int_equal(e->channel, CH_LINE);
    assert_int_equal(e->ack.channel, CH_LINE);
    assert_string_equal(e->client, "callcentre");
    assert_string_equal(e->key, "callcentre:k");
    assert_string_equal(buf_str(&e->raw), full);
    assert_string_equal(e->sender, "+8613800138000");
    assert_int_equal(e->desks.n, 1);
    assert_string_equal(e->desks.v[0], "care");
    assert_true(e->received_at_us > 0);
    assert_memory_equal(e->digest, T.envelopes[1]->digest,
                        SHA256_SIZE); /* the order of fields is no difference */
    assert_memory_not_equal(e->digest, T.envelopes[2]->digest, SHA256_SIZE);
    assert_string_equal(T.envelopes[2]->desks.v[0], "shop");
    assert_null(T.envelopes[2]->sender);
    close(fd);
    int agent = client_open(-1); /* no desk of its own: the first */
    say(agent, AUTH_AGENT "SUBMIT {\"text\":\"Hello\",\"key\":\"k\"}\n");
    assert_string_equal(T.envelopes[3]->desks.v[0], "care");
    assert_string_equal(T.envelopes[3]->key, "wei:k");
    close(agent);
}

static void submit_without_any_desk(void **state CD_UNUSED)
{
    T.cfg.desks = NULL;
    T.cfg.ndesks = 0;
    int fd = client_open(-1);
    expect(fd, AUTH_AGENT, "OK {\"client\":\"wei\",\"role\":\"agent\"}\n");
    expect(fd, "SUBMIT {\"text\":\"Hello\",\"key\":\"k\",\"customer\":{\"phone\":\"13800138000\"}}\n",
           "ERR {\"code\":\"bad-argument\",\"message\":\"there is no desk in the configuration\",\"field\":\"desk\","
           "\"retry\":false}\n");
    assert_int_equal(T.nenvelopes, 0);
    close(fd);
}

static void submit_outcomes(void **state CD_UNUSED)
{
    int fd = client_open(-1);
    expect(fd, AUTH_INTAKE, AUTHED_INTAKE);
    for (int i = 0; i < 5; i++)
        say(fd, "SUBMIT {\"text\":\"Hello\",\"key\":\"k\"}\n");
    struct ack_result r = {.verdict = ACK_STORED, .outcome = OUT_PENDING};
    assert_int_equal(uuid_parse("0192a000-0000-7000-8000-000000000001", &r.envelope_id), 0);
    line_on_ack(&T.server, T.envelopes[0]->ack, &r);
    assert_string_equal(heard(fd),
                        "OK {\"outcome\":\"accepted\",\"id\":\"0192a000-0000-7000-8000-000000000001\"}\n");
    r = (struct ack_result){.verdict = ACK_STORED,
                            .outcome = OUT_DUPLICATE,
                            .ref = "C-1",
                            .team = "billing",
                            .due_at_us = CD_SEC(1795399200)};
    line_on_ack(&T.server, T.envelopes[1]->ack, &r);
    assert_string_equal(heard(fd), "OK "
                                   "{\"ref\":\"C-1\",\"outcome\":\"duplicate\",\"team\":\"billing\",\"due\":"
                                   "\"2026-11-23T02:00:00Z\"}\n");
    r = (struct ack_result){.verdict = ACK_RETRY_LATER, .reason = "busy"};
    line_on_ack(&T.server, T.envelopes[2]->ack, &r);
    assert_non_null(strstr(heard(fd), "ERR {\"code\":\"busy\""));
    r = (struct ack_result){.verdict = ACK_REJECTED, .reason = "key-reused"};
    line_on_ack(&T.server, T.envelopes[3]->ack, &r);
    const char *a = heard(fd);
    assert_non_null(strstr(a, "ERR {\"code\":\"key-reused\""));
    assert_non_null(strstr(a, "\"retry\":false"));
    r = (struct ack_result){.verdict = ACK_STORED, .outcome = OUT_SPOOLED, .ref = "C-2"};
    line_on_ack(&T.server, T.envelopes[4]->ack, &r);
    assert_non_null(strstr(heard(fd), "\"spooled\":true"));
    T.full = true;
    expect_code(fd, "SUBMIT {\"text\":\"Hello\",\"key\":\"k\"}\n", "busy", NULL);
    close(fd);
}

static void outcomes_of_sessions_that_have_gone(void **state CD_UNUSED)
{
    int fd = client_open(-1);
    expect(fd, AUTH_INTAKE, AUTHED_INTAKE);
    say(fd, "SUBMIT {\"text\":\"Hello\",\"key\":\"k\"}\nSHOW {\"ref\":\"X\"}\n");
    close(fd); /* closed for reading and writing: the answer finds nobody, which ends the session */
    turn();
    stored(0, "C-1");
    turn();
    struct reply r = {.ok = false, .body = line_error_body("not-found", "x", NULL, false)};
    line_on_reply(&T.server, T.requests[0].slot, &r);
    turn();
    assert_int_equal(T.server.nsessions, 0);
    stored(0, "C-1");
    json_decref(r.body);
}

static void half_closed_peer_gets_its_answers(void **state CD_UNUSED)
{
    int fd = client_open(-1);
    say(fd, AUTH_INTAKE "SUBMIT {\"text\":\"Hello\",\"key\":\"k\"}\nPING\nunfinished");
    shutdown(fd, SHUT_WR);
    assert_string_equal(heard(fd), AUTHED_INTAKE);
    stored(0, "C-1");
    const char *a = heard(fd);
    assert_non_null(strstr(a, "C-1"));
    assert_non_null(strstr(a, "\nOK {}\n!"));
    assert_int_equal(T.server.nsessions, 0);
    close(fd);
}

/* The store answers everything while the daemon stops, after which the loop does not turn again. */
static void outcomes_at_the_very_end(void **state CD_UNUSED)
{
    int fd = client_open(-1);
    say(fd, AUTH_INTAKE "SUBMIT {\"text\":\"Hello\",\"key\":\"k\"}\n");
    stored(0, "C-1");
    close(fd);
}

/* What is read may be large, so few such requests are under way at once; others are not held by their number. */
static void few_reads_at_a_time(void **state CD_UNUSED)
{
    int64_t before = metrics_get(M_LINE_READS_HELD);
    struct reply r = {.ok = true, .body = json_object()};
    int fd = client_open(-1);
    T.cfg.line_max_in_flight = 100;
    say(fd, AUTH_AGENT);
    heard(fd);
    for (int i = 0; i < 12; i++)
        say(fd, "ACK {\"ref\":\"X\"}\n");
    assert_int_equal(T.nrequests, 12);
    for (int i = 0; i < 20; i++)
        say(fd, "LIST\n");
    assert_int_equal(T.nrequests, 12 + LINE_MAX_READS);
    assert_int_equal(metrics_get(M_LINE_READS_HELD), before + 1);
    for (size_t i = 1; i < 12 + LINE_MAX_READS; i++) /* all but the first, so that no answer can leave */
        line_on_reply(&T.server, T.requests[i].slot, &r);
    turn();
    assert_int_equal(T.nrequests, 12 + LINE_MAX_READS);
    line_on_reply(&T.server, T.requests[0].slot, &r);
    turn();
    assert_int_equal(T.nrequests, 12 + 2 * LINE_MAX_READS);
    for (size_t i = 12 + LINE_MAX_READS; i < T.nrequests; i++) {
        line_on_reply(&T.server, T.requests[i].slot, &r);
        turn();
    }
    assert_int_equal(T.nrequests, 12 + 20);
    assert_int_equal(TAILQ_FIRST(&T.server.sessions)->nreads, 0);
    json_decref(r.body);
    close(fd);
}

static void drain_answers_what_is_open(void **state CD_UNUSED)
{
    int fd = client_open(-1), quiet = client_open(-1);
    say(fd, AUTH_INTAKE "SUBMIT {\"text\":\"Hello\",\"key\":\"k\"}\n");
    heard(fd);
    line_server_drain(&T.server);
    assert_string_equal(heard(quiet), "!");
    assert_int_equal(T.server.nsessions, 1);
    stored(0, "C-1");
    const char *a = heard(fd);
    assert_non_null(strstr(a, "C-1"));
    assert_int_equal(a[strlen(a) - 1], '!');
    assert_int_equal(T.server.nsessions, 0);
    close(fd);
    close(quiet);
}

static void drain_ends_a_handshake(void **state CD_UNUSED)
{
    T.tls = true;
    int fd = client_open(-1);
    assert_true(TAILQ_FIRST(&T.server.sessions)->conn.shaking);
    line_server_drain(&T.server);
    assert_string_equal(heard(fd), "!");
    assert_int_equal(T.server.nsessions, 0);
    close(fd);
}

static void idle_sessions_end(void **state CD_UNUSED)
{
    T.cfg.line_idle_timeout_us = CD_MSEC(30);
    int fd = client_open(-1), busy = client_open(-1);
    say(busy, AUTH_INTAKE "SUBMIT {\"text\":\"Hello\",\"key\":\"k\"}\n");
    heard(busy);
    int64_t before = metrics_get(M_LINE_TIMEOUT);
    struct timeval wait = {0, 400000};
    event_base_loopexit(T.base, &wait);
    event_base_dispatch(T.base);
    const char *a = heard(fd);
    assert_non_null(strstr(a, "idle-timeout"));
    assert_int_equal(metrics_get(M_LINE_TIMEOUT), before + 1);
    assert_int_equal(a[strlen(a) - 1], '!');
    assert_int_equal(T.server.nsessions, 1); /* the other waits for us */
    stored(0, "C-1");
    assert_non_null(strstr(heard(busy), "C-1"));
    close(fd);
    close(busy);
}

static void run_ms(int64_t ms)
{
    struct timeval wait = {0, ms * 1000};
    event_base_loopexit(T.base, &wait);
    event_base_dispatch(T.base);
}

/* Reliability test 21: the deadline is absolute. Bytes of a line that does not end buy nothing, requests do. */
static void test_21_a_byte_now_and_then(void **state CD_UNUSED)
{
    T.cfg.line_idle_timeout_us = CD_MSEC(600);
    int slow = client_open(-1), busy = client_open(-1);
    for (int i = 0; i < 200 && T.server.nsessions == 2; i++) {
        (void)!send(slow, "P", 1, MSG_NOSIGNAL);
        if (i % 3 == 0)
            (void)!send(busy, "PING\n", 5, MSG_NOSIGNAL);
        run_ms(20);
    }
    assert_int_equal(T.server.nsessions, 1);
    assert_non_null(strstr(heard(slow), "idle-timeout")); /* then the end, or a reset where a byte was left unread */
    assert_null(strchr(heard(busy), '!'));
    close(slow);
    close(busy);
}

/* And who does not read answers, or hardly, is not kept for ever either. */
static void test_21_a_reader_that_does_not(void **state CD_UNUSED)
{
    int fd = client_open((long)geteuid());
    char *big = malloc(900001);
    assert_non_null(big);
    memset(big, 'x', 900000);
    big[900000] = '\0';
    struct reply r = {.ok = true, .body = json_pack("{s:s}", "x", big)};
    say(fd, "STATS\n");
    line_on_reply(&T.server, T.requests[0].slot, &r);
    turn();
    T.cfg.line_idle_timeout_us = CD_MSEC(1200); /* 500 bytes in this time are the least */
    int64_t before = metrics_get(M_LINE_TIMEOUT);
    for (int i = 0; i < 3; i++) { /* a fair reader */
        run_ms(700);
        assert_int_equal(T.server.nsessions, 1);
        (void)!recv(fd, big, 200000, 0);
    }
    for (int i = 0; i < 100 && T.server.nsessions; i++)
        run_ms(50);
    assert_int_equal(T.server.nsessions, 0);
    assert_int_equal(metrics_get(M_LINE_TIMEOUT), before + 1);
    json_decref(r.body);
    free(big);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T_(hello_auth_ping_quit),
        T_(wrong_tokens_are_counted_and_end_it),
        T_(unix_peers),
        T_(answers_come_in_request_order),
        T_(reading_stops_when_the_queue_is_full),
        T_(slow_reader_is_not_served_on),
        T_(limits_of_lines_and_connections),
        T_(bad_and_deep_json_keep_the_connection),
        T_(submit_checks_its_fields),
        T_(submit_makes_the_envelope),
        T_(submit_without_any_desk),
        T_(submit_outcomes),
        T_(outcomes_of_sessions_that_have_gone),
        T_(half_closed_peer_gets_its_answers),
        T_(outcomes_at_the_very_end),
        T_(few_reads_at_a_time),
        T_(drain_answers_what_is_open),
        T_(drain_ends_a_handshake),
        T_(idle_sessions_end),
        T_(test_21_a_byte_now_and_then),
        T_(test_21_a_reader_that_does_not),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
