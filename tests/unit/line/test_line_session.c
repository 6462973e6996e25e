/* Sessions on a socketpair with a fake host: order of answers, limits, faults, roles, SUBMIT and its
 * outcomes. */
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "channels/line/line_session.h"
#include "channels/line/line_verbs.h"
#include "daemon/core/err.h"
#include "daemon/core/metrics.h"

/* ---- a fake host ---- */

#define MAX_KEPT 400

static struct {
    struct event_base *base;
    struct config cfg;
    struct channel_host host;
    struct line_server server;
    struct envelope *envelopes[MAX_KEPT];
    size_t nenvelopes;
    struct kept {
        char verb[20], actor[40];
        json_t *args;
        enum role role;
        struct ack slot;
    } requests[MAX_KEPT];
    size_t nrequests;
    bool full;
} T;

static int fake_submit(void *front CD_UNUSED, struct envelope *e)
{
    if (T.full)
        return CD_EAGAIN;
    assert_true(T.nenvelopes < MAX_KEPT);
    T.envelopes[T.nenvelopes++] = e;
    return 0;
}

static bool fake_ready(void *front CD_UNUSED, size_t bytes)
{
    return bytes < 1000000;
}

static void fake_request(void *front CD_UNUSED, const struct request *rq)
{
    assert_true(T.nrequests < MAX_KEPT);
    struct kept *k = &T.requests[T.nrequests++];
    snprintf(k->verb, sizeof k->verb, "%s", rq->verb);
    snprintf(k->actor, sizeof k->actor, "%s", rq->actor);
    k->args = json_incref(rq->args);
    k->role = rq->role;
    k->slot = rq->slot;
}

static char care[] = "care", shop[] = "shop", country[] = "86", none[] = "", billing[] = "billing";
static char n1[] = "callcentre", n2[] = "wei", n3[] = "boss", t1[] = "secret-one", t2[] = "secret-two",
            t3[] = "secret-three";
static struct cfg_desk desks[] = {{.name = care, .phone_country = country},
                                  {.name = shop, .phone_country = none}};
static struct cfg_category categories[] = {{.name = billing, .team = none}};
static struct cfg_client clients[] = {{.name = n1, .token = t1, .role = CFG_ROLE_INTAKE, .desk = shop},
                                      {.name = n2, .token = t2, .role = CFG_ROLE_AGENT, .desk = none},
                                      {.name = n3, .token = t3, .role = CFG_ROLE_ADMIN, .desk = none}};

static int setup(void **state CD_UNUSED)
{
    memset(&T, 0, sizeof T);
    T.base = event_base_new();
    T.cfg = (struct config){.desks = desks,
                            .ndesks = 2,
                            .categories = categories,
                            .ncategories = 1,
                            .clients = clients,
                            .nclients = 3,
                            .line_max_line_bytes = 65536,
                            .line_max_connections = 4,
                            .line_max_in_flight = 8,
                            .line_idle_timeout_us = CD_SEC(60)};
    T.host = (struct channel_host){
        .base = T.base, .cfg = &T.cfg, .submit = fake_submit, .ready = fake_ready, .request = fake_request};
    assert_int_equal(line_server_init(&T.server, &T.host), 0);
    return 0;
}

static int teardown(void **state CD_UNUSED)
{
    line_server_done(&T.server);
    for (size_t i = 0; i < T.nenvelopes; i++)
        envelope_free(&T.envelopes[i]);
    for (size_t i = 0; i < T.nrequests; i++)
        json_decref(T.requests[i].args);
    event_base_free(T.base);
    return 0;
}

static void turn(void)
{
    for (int i = 0; i < 20; i++)
        event_base_loop(T.base, EVLOOP_NONBLOCK);
}

/* ---- a client ---- */

static int client_open(long uid)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    (void)line_session_open(&T.server, fd[0], "test", uid);
    return fd[1];
}

static void say(int fd, const char *text)
{
    size_t n = strlen(text);
    for (size_t at = 0; at < n;) {
        ssize_t r = send(fd, text + at, n - at, MSG_NOSIGNAL);
        if (r > 0)
            at += (size_t)r;
        turn();
    }
}

/* All that has been answered; "!" at its end when the connection was closed. */
static const char *heard(int fd)
{
    static char text[4 << 20];
    size_t n = 0;
    for (;;) {
        turn();
        ssize_t r = recv(fd, text + n, sizeof text - 2 - n, 0);
        if (r <= 0) {
            if (r == 0)
                text[n++] = '!';
            break;
        }
        n += (size_t)r;
    }
    text[n] = '\0';
    return text;
}

static void expect(int fd, const char *send_this, const char *answer)
{
    say(fd, send_this);
    assert_string_equal(heard(fd), answer);
}

static void expect_code(int fd, const char *send_this, const char *code, const char *field)
{
    char begin[100], part[100];
    say(fd, send_this);
    const char *a = heard(fd);
    snprintf(begin, sizeof begin, "ERR {\"code\":\"%s\",", code);
    snprintf(part, sizeof part, "\"field\":\"%s\"", field ? field : "");
    if (strncmp(a, begin, strlen(begin)) != 0 || (field && !strstr(a, part)))
        fail_msg("sent %s wanted %s %s got %s", send_this, code, field ? field : "", a);
}

static void stored(size_t i, const char *ref)
{
    struct ack_result r = {
        .verdict = ACK_STORED, .outcome = OUT_NEW, .category = "billing", .priority = "high"};
    snprintf(r.ref, sizeof r.ref, "%s", ref);
    line_on_ack(&T.server, T.envelopes[i]->ack, &r);
}

#define AUTH_INTAKE "AUTH {\"token\":\"secret-one\"}\n"
#define AUTH_AGENT "AUTH {\"token\":\"secret-two\"}\n"
#define AUTHED_INTAKE "OK {\"client\":\"callcentre\",\"role\":\"intake\"}\n"

/* ---- tests ---- */

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
    expect_code(fd, "SUBSCRIBE {}\n", "unknown-verb", NULL);
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

static void idle_sessions_end(void **state CD_UNUSED)
{
    T.cfg.line_idle_timeout_us = CD_MSEC(30);
    int fd = client_open(-1), busy = client_open(-1);
    say(busy, AUTH_INTAKE "SUBMIT {\"text\":\"Hello\",\"key\":\"k\"}\n");
    heard(busy);
    struct timeval wait = {0, 100000};
    event_base_loopexit(T.base, &wait);
    event_base_dispatch(T.base);
    const char *a = heard(fd);
    assert_non_null(strstr(a, "idle-timeout"));
    assert_int_equal(a[strlen(a) - 1], '!');
    assert_int_equal(T.server.nsessions, 1); /* the other waits for us */
    stored(0, "C-1");
    assert_non_null(strstr(heard(busy), "C-1"));
    close(fd);
    close(busy);
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
#define T_(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
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
        T_(submit_outcomes),
        T_(outcomes_of_sessions_that_have_gone),
        T_(half_closed_peer_gets_its_answers),
        T_(outcomes_at_the_very_end),
        T_(drain_answers_what_is_open),
        T_(idle_sessions_end),
        T_(the_channel_listens_on_tcp),
        T_(the_channel_listens_on_unix_sockets),
        T_(decode_makes_the_record),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
