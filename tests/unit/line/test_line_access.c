/* Who may do what, when and how often: TLS where it is required, desks of a client, its rate, and what a reload does to sessions. */
#include "tests/unit/line/line_fixture.h"

static void run_ms(int64_t ms)
{
    struct timeval wait = {0, ms * 1000};
    event_base_loopexit(T.base, &wait);
    event_base_dispatch(T.base);
}

/* But from this host itself, and on unix sockets. There is no certificate here: TLS itself is test_line_tls.py's. */
static void outside_tls_where_it_is_required(void **state CD_UNUSED)
{
    T.cfg.line_require_tls = true;
    int fd = client_open(-1), own = client_open((long)geteuid());
    expect(fd, "HELLO\nPING\n", "OK {\"server\":\"complaintd\",\"version\":1,\"auth\":[\"token\"],\"starttls\":false}\nOK {}\n");
    expect_code(fd, AUTH_INTAKE, "tls-required", NULL);
    expect_code(fd, "LIST\n", "tls-required", NULL);
    expect_code(fd, "STARTTLS\n", "tls-unavailable", NULL);
    expect_code(fd, "STARTTLS {\"x\":1}\n", "bad-argument", "x");
    expect_code(fd, "FROB\n", "unknown-verb", NULL);
    expect_code(own, "STARTTLS\n", "tls-unavailable", NULL);
    expect(own, AUTH_INTAKE, AUTHED_INTAKE);
    T.local = true;
    int here = client_open(-1);
    expect(here, AUTH_INTAKE, AUTHED_INTAKE);
    close(fd);
    close(own);
    close(here);
}

static void desks_of_a_client(void **state CD_UNUSED)
{
    static char care_only[] = "care", *list[] = {care_only};
    struct cfg_client scoped = clients[1];
    scoped.desk = care;
    scoped.desks = (struct strlist){list, 1};
    T.cfg.clients = &scoped;
    T.cfg.nclients = 1;
    int fd = client_open(-1);
    say(fd, AUTH_AGENT);
    assert_non_null(strstr(heard(fd), "OK"));
    expect_code(fd, "SUBMIT {\"key\":\"1\",\"text\":\"x\",\"desk\":\"shop\"}\n", "bad-argument", "desk");
    expect_code(fd, "SUBMIT {\"key\":\"1\",\"text\":\"x\",\"desk\":\"nowhere\"}\n", "bad-argument", "desk");
    expect_code(fd, "SUBSCRIBE {\"desk\":\"shop\"}\n", "bad-argument", "desk");
    say(fd, "SUBMIT {\"key\":\"1\",\"text\":\"x\",\"desk\":\"care\"}\nSUBMIT {\"key\":\"2\",\"text\":\"x\"}\n");
    assert_int_equal(T.nenvelopes, 2);
    for (size_t i = 0; i < 2; i++)
        assert_string_equal(T.envelopes[i]->desks.v[0], "care");
    /* every request that goes to the front says so, whatever its verb */
    static const char *const verbs[] = {"SHOW", "LIST", "EXPLAIN", "ACK", "ASSIGN", "RESOLVE"};
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        say(fd, verbs[i]);
        say(fd, "\n");
        assert_int_equal(T.nrequests, i + 1);
        assert_string_equal(T.requests[i].verb, verbs[i]);
        assert_string_equal(T.requests[i].desks, "care");
    }
    close(fd);
}

/* ---- the rate ---- */

static size_t answers_within(int fd, int64_t ms)
{
    size_t n = 0;
    run_ms(ms);
    for (const char *p = heard(fd); (p = strstr(p, "OK {}")); p++)
        n++;
    return n;
}

static void over_its_rate_a_client_is_read_later(void **state CD_UNUSED)
{
    int64_t before = metrics_get(M_LINE_THROTTLED);
    char pings[100 * 5 + 1] = "";
    for (int i = 0; i < 100; i++)
        memcpy(pings + i * 5, "PING\n", 6);
    int one = client_open(-1), two = client_open(-1), other = client_open(-1);
    say(one, AUTH_INTAKE);
    say(two, AUTH_INTAKE);
    heard(one);
    heard(two);
    T.cfg.line_rate = 200;
    T.cfg.line_burst = 40;
    say(one, pings);
    say(two, pings);
    size_t got = answers_within(one, 1) + answers_within(two, 1);
    assert_true(got >= 40 && got < 80); /* the burst is one for both */
    assert_true(metrics_get(M_LINE_THROTTLED) > before);
    say(other, pings); /* nobody's bucket but its own */
    size_t others = answers_within(other, 1);
    assert_true(others >= 40 && others < 60);
    for (int i = 0; i < 40 && got < 200; i++)
        got += answers_within(one, 50) + answers_within(two, 50);
    assert_int_equal(got, 200); /* late, but none is lost */
    close(one);
    close(two);
    close(other);
}

static void a_session_that_waits_for_its_rate_may_end(void **state CD_UNUSED)
{
    int fd = client_open(-1);
    T.cfg.line_rate = 1;
    T.cfg.line_burst = 1;
    say(fd, "PING\nPING\nPING\n");
    assert_true(TAILQ_FIRST(&T.server.sessions)->throttled);
    line_server_drain(&T.server);
    assert_string_equal(heard(fd), "OK {}\n!");
    close(fd);
    run_ms(20);
}

/* ---- a reload ---- */

static bool given(const char *in_desks)
{
    const struct feed_event e = {.at = {.xid = 7}, .kind = "received", .desks = in_desks, .row = "{}", .nrow = 2};
    return T.readers[0]->give(T.readers[0], &e);
}

static void a_token_that_is_gone_ends_its_sessions(void **state CD_UNUSED)
{
    static char shop_only[] = "shop", *list[] = {shop_only};
    int intake = client_open(-1), agent = client_open(-1), own = client_open((long)geteuid());
    expect(intake, AUTH_INTAKE, AUTHED_INTAKE);
    say(agent, AUTH_AGENT "SUBSCRIBE {\"after\":\"0\"}\n");
    assert_non_null(strstr(heard(agent), "wei"));
    struct cfg_client changed[2] = {clients[0], clients[1]};
    changed[0].token_sha256[0] ^= 1;
    changed[1].desks = (struct strlist){list, 1};
    T.cfg.clients = changed;
    T.cfg.nclients = 2;
    line_server_reloaded(&T.server);
    assert_string_equal(heard(intake), "!");
    assert_true(given("care"));
    assert_string_equal(heard(agent), ""); /* what it may see changed under it */
    assert_true(given("shop"));
    assert_non_null(strstr(heard(agent), "ROW {}\n"));
    T.cfg.nclients = 1;
    line_server_reloaded(&T.server);
    assert_true(str_starts(heard(agent), "OK {\"rows\":1,"));
    assert_int_equal(T.nreaders, 0);
    expect(own, "PING\n", "OK {}\n");
    close(intake);
    close(agent);
    close(own);
}

/* Whoever may no more subscribe is told where its subscription ended, and keeps its session. */
static void a_lower_role_ends_its_subscription(void **state CD_UNUSED)
{
    int agent = client_open(-1);
    say(agent, AUTH_AGENT "SUBSCRIBE {\"after\":\"0\"}\n");
    heard(agent);
    struct cfg_client changed[2] = {clients[0], clients[1]};
    T.cfg.clients = changed;
    T.cfg.nclients = 2;
    line_server_reloaded(&T.server);
    assert_string_equal(heard(agent), ""); /* nothing changed for it */
    changed[1].role = CFG_ROLE_INTAKE;
    line_server_reloaded(&T.server);
    assert_true(str_starts(heard(agent), "OK {\"rows\":0,"));
    assert_int_equal(T.nreaders, 0);
    expect_code(agent, "SUBSCRIBE\n", "forbidden", NULL);
    close(agent);
}

static void tls_that_became_required_ends_a_subscription_in_the_clear(void **state CD_UNUSED)
{
    int agent = client_open(-1);
    say(agent, AUTH_AGENT "SUBSCRIBE {\"after\":\"0\"}\n");
    heard(agent);
    T.cfg.line_require_tls = true;
    line_server_reloaded(&T.server);
    assert_true(str_starts(heard(agent), "OK {\"rows\":0,"));
    expect_code(agent, "SUBSCRIBE\n", "tls-required", NULL);
    close(agent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T_(outside_tls_where_it_is_required),
        T_(desks_of_a_client),
        T_(over_its_rate_a_client_is_read_later),
        T_(a_session_that_waits_for_its_rate_may_end),
        T_(a_token_that_is_gone_ends_its_sessions),
        T_(a_lower_role_ends_its_subscription),
        T_(tls_that_became_required_ends_a_subscription_in_the_clear),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
