/* The web channel as the intake's door: what the host is given, what each outcome becomes, and that a place in the budget is given back
 * however a request ends. The host is a fake that keeps envelopes and requests until the test answers. */
#include "tests/unit/web/web_fixture.h"

#include "channels/web/web.h"
#include "daemon/core/crypto.h"

#define TOKEN "a token of eight"
#define HEAD "POST /v1/complaints HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " TOKEN "\r\nContent-Type: application/json\r\n"
#define ASK(body, n) HEAD "Idempotency-Key: k-1\r\nContent-Length: " n "\r\n\r\n" body
#define GOOD ASK("{\"text\":\"t\",\"customer\":{\"phone\":\"13800138000\"}}", "47")

static struct {
    struct event_base *base;
    struct config cfg;
    struct cfg_desk desk;
    struct cfg_client client;
    struct listen_addr addr;
    struct channel_host host;
    void *web;
    struct peer peer;
    struct envelope *env;
    struct ack slot;
    char verb[20], ref[64], actor[40];
    enum role role;
    size_t asked; /* of ready() */
    bool ready, full;
    enum gate_mode mode;
} T;

static int fake_submit(void *front CD_UNUSED, struct envelope *e)
{
    if (T.full)
        return CD_EAGAIN;
    assert_null(T.env);
    T.env = e;
    gate_enter(e->raw.len); /* as the pipeline does */
    return 0;
}

static bool fake_ready(void *front CD_UNUSED, size_t bytes)
{
    T.asked = bytes;
    return T.ready;
}

static enum gate_mode fake_gate(void *front CD_UNUSED)
{
    return T.mode;
}

static void fake_request(void *front CD_UNUSED, const struct request *rq)
{
    snprintf(T.verb, sizeof T.verb, "%s", rq->verb);
    snprintf(T.ref, sizeof T.ref, "%s", json_string_value(json_object_get(rq->args, "ref")));
    snprintf(T.actor, sizeof T.actor, "%s", rq->actor);
    T.role = rq->role;
    T.slot = rq->slot;
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

static int set_up(void **state CD_UNUSED)
{
    memset(&T, 0, sizeof T);
    signal(SIGPIPE, SIG_IGN);
    T.base = event_base_new();
    T.ready = true;
    T.desk = (struct cfg_desk){.name = (char *)"care", .phone_country = (char *)"86"};
    T.client = (struct cfg_client){.name = (char *)"kiosk", .desk = (char *)"", .role = (enum cfg_role)ROLE_INTAKE};
    sha256(TOKEN, strlen(TOKEN), T.client.token_sha256);
    T.addr = (struct listen_addr){.text = (char *)"http", .host = (char *)"127.0.0.1", .port = free_port()};
    T.cfg = (struct config){.http_listen = &T.addr,
                            .nhttp_listen = 1,
                            .http_max_body_bytes = 1024,
                            .http_max_header_bytes = 4096,
                            .http_max_connections = 10,
                            .http_request_timeout_us = CD_SEC(5),
                            .intake_tight_timeout_us = CD_MSEC(300),
                            .web_max_body_bytes = CD_KIB(64),
                            .web_max_json_bytes = 4096,
                            .web_max_files = 3,
                            .web_body_timeout_us = CD_SEC(5),
                            .web_max_client_requests = 1,
                            .web_max_client_bytes = CD_KIB(64),
                            .clients = &T.client,
                            .nclients = 1,
                            .desks = &T.desk,
                            .ndesks = 1};
    T.host = (struct channel_host){.base = T.base, .cfg = &T.cfg, .submit = fake_submit, .ready = fake_ready, .gate = fake_gate, .request = fake_request};
    return channel_web.start(&T.host, &T.web);
}

static void done_with(struct envelope **e)
{
    if (*e)
        gate_leave((*e)->raw.len);
    envelope_free(e);
}

static int tear_down(void **state CD_UNUSED)
{
    channel_web.stop(&T.web);
    done_with(&T.env);
    assert_int_equal(metrics_get(M_INTAKE_READING_BYTES), 0);
    assert_int_equal(metrics_get(M_INTAKE_QUEUED), 0);
    event_base_free(T.base);
    return 0;
}

static void say(const char *text)
{
    peer_start(&T.peer, T.addr.port, text, strlen(text));
}

static int heard(void)
{
    run_loop(T.base, &T.peer, CD_SEC(10));
    pthread_join(T.peer.thread, NULL);
    return status_of(&T.peer);
}

static int ask(const char *text)
{
    say(text);
    return heard();
}

static void until_submitted(void)
{
    for (int i = 0; i < 500 && !T.env; i++)
        run_loop(T.base, NULL, CD_MSEC(10));
    assert_non_null(T.env);
}

/* One complaint and its outcome. */
static int outcome(const struct ack_result *r)
{
    say(GOOD);
    until_submitted();
    struct ack_result mine = *r;
    mine.envelope_id = T.env->id;
    ack_resolve(T.env->ack, &mine);
    done_with(&T.env);
    return heard();
}

static bool says(const char *part)
{
    return strstr(T.peer.answer, part) != NULL;
}

static void the_envelope(void **state CD_UNUSED)
{
    say(GOOD);
    until_submitted();
    assert_int_equal(T.env->channel, CH_WEB);
    assert_string_equal(T.env->client, "kiosk");
    assert_string_equal(T.env->key, "kiosk:k-1");
    assert_string_equal(T.env->sender, "+8613800138000");
    assert_string_equal(T.env->desks.v[0], "care");
    assert_int_equal(T.env->raw.len, 47);
    assert_true(T.env->received_at_us > 0);
    assert_int_equal(T.asked, 47);
    assert_int_equal(metrics_get(M_INTAKE_READING_BYTES), 0); /* the front counts it now */
    assert_false(channel_web.idle(T.web));
    struct ack_result r = {.verdict = ACK_STORED, .outcome = OUT_NEW, .ref = "C-7KQ2-M9D4-T0XY"};
    ack_resolve(T.env->ack, &r);
    assert_int_equal(heard(), 201);
    assert_true(channel_web.idle(T.web));
}

static void every_outcome_has_its_status(void **state CD_UNUSED)
{
    int64_t busy = metrics_get(M_INTAKE_BUSY_WEB), refused = metrics_get(M_WEB_REFUSED);

    assert_int_equal(outcome(&(struct ack_result){.verdict = ACK_STORED, .outcome = OUT_NEW, .ref = "C-7KQ2-M9D4-T0XY", .category = "billing"}), 201);
    assert_true(says("\r\nLocation: /v1/complaints/C-7KQ2-M9D4-T0XY\r\n") && says("{\"ref\":\"C-7KQ2-M9D4-T0XY\",\"outcome\":\"new\",\"category\":\"billing\"}"));
    assert_int_equal(outcome(&(struct ack_result){.verdict = ACK_STORED, .outcome = OUT_FOLLOW_UP, .ref = "C-7KQ2-M9D4-T0XY"}), 200);
    assert_true(says("\"outcome\":\"follow-up\"") && !says("Location"));
    assert_int_equal(outcome(&(struct ack_result){.verdict = ACK_STORED, .outcome = OUT_DUPLICATE, .ref = "C-7KQ2-M9D4-T0XY"}), 200);
    assert_true(says("\"outcome\":\"duplicate\""));
    assert_int_equal(outcome(&(struct ack_result){.verdict = ACK_STORED, .outcome = OUT_DUPLICATE}), 202);
    assert_true(says("{\"outcome\":\"accepted\"}"));
    assert_int_equal(outcome(&(struct ack_result){.verdict = ACK_STORED, .outcome = OUT_PENDING}), 202);
    assert_true(says("\"outcome\":\"accepted\",\"id\":\""));
    assert_int_equal(outcome(&(struct ack_result){.verdict = ACK_STORED, .outcome = OUT_SPOOLED}), 202);
    assert_true(says("\"spooled\":true"));
    assert_int_equal(outcome(&(struct ack_result){.verdict = ACK_RETRY_LATER, .reason = "busy"}), 503);
    assert_true(says("\r\nRetry-After: 5\r\n") && says("\"retry\":true"));
    assert_int_equal(metrics_get(M_INTAKE_BUSY_WEB), busy + 1);
    assert_int_equal(outcome(&(struct ack_result){.verdict = ACK_REJECTED, .reason = "key-reused"}), 422);
    assert_true(says("\"code\":\"key-reused\"") && says("\"field\":\"Idempotency-Key\""));
    assert_int_equal(outcome(&(struct ack_result){.verdict = ACK_REJECTED, .reason = "else"}), 422);
    assert_true(says("\"code\":\"rejected\""));
    assert_int_equal(metrics_get(M_WEB_REFUSED), refused + 2);
}

static void not_taken_is_busy(void **state CD_UNUSED)
{
    T.full = true;
    assert_int_equal(ask(GOOD), 503);
    T.full = false;
    T.ready = false;
    T.asked = 0;
    assert_int_equal(ask(HEAD "Idempotency-Key: k\r\nContent-Length: 4000\r\n\r\n"), 503); /* and does not wait for the 4000 */
    assert_true(T.peer.took_us < CD_SEC(2));
    assert_int_equal(T.asked, 4000);
    T.ready = true;
    assert_int_equal(outcome(&(struct ack_result){.verdict = ACK_STORED, .outcome = OUT_NEW, .ref = "C-7KQ2-M9D4-T0XY"}), 201);
}

/* The client may have one request under way: each of these would shut it out if it kept its place. */
static void every_end_gives_the_place_back(void **state CD_UNUSED)
{
    static const char half[] = HEAD "Idempotency-Key: k\r\nContent-Length: 4000\r\n\r\n{";
    int64_t limit = metrics_get(M_WEB_LIMIT_CLIENT_REQUESTS);

    assert_int_equal(ask(ASK("{}", "2")), 422);
    assert_int_equal(ask(ASK("{", "1")), 400);
    int fd = peer_connect(T.addr.port); /* goes away within its body: noticed within a second */
    assert_true(send(fd, half, sizeof half - 1, 0) > 0);
    run_loop(T.base, NULL, CD_MSEC(200));
    assert_int_equal(metrics_get(M_INTAKE_READING_BYTES), 4000);
    assert_int_equal(ask(GOOD), 429);
    assert_int_equal(metrics_get(M_WEB_LIMIT_CLIENT_REQUESTS), limit + 1);
    close(fd);
    run_loop(T.base, NULL, CD_MSEC(1300));
    assert_int_equal(metrics_get(M_INTAKE_READING_BYTES), 0);
    fd = peer_connect(T.addr.port); /* goes away before its answer */
    assert_true(send(fd, GOOD, strlen(GOOD), 0) > 0);
    until_submitted();
    close(fd);
    run_loop(T.base, NULL, CD_MSEC(100));
    ack_resolve(T.env->ack, &(struct ack_result){.verdict = ACK_STORED, .outcome = OUT_NEW, .ref = "C-7KQ2-M9D4-T0XY"});
    run_loop(T.base, NULL, CD_MSEC(100));
    done_with(&T.env);
    assert_int_equal(outcome(&(struct ack_result){.verdict = ACK_STORED, .outcome = OUT_NEW, .ref = "C-7KQ2-M9D4-T0XY"}), 201);
}

static void time_for_a_body(void **state CD_UNUSED)
{
    static const char half[] = HEAD "Idempotency-Key: k\r\nContent-Length: 4000\r\n\r\n{";
    int64_t before = metrics_get(M_HTTP_TIMEOUT);

    T.cfg.web_body_timeout_us = CD_MSEC(400);
    assert_int_equal(ask(half), 0);
    assert_true(T.peer.closed && T.peer.took_us > CD_MSEC(300) && T.peer.took_us < CD_SEC(2));
    T.cfg.web_body_timeout_us = CD_SEC(60);
    T.mode = GATE_TIGHT;
    assert_int_equal(ask(half), 0);
    assert_true(T.peer.closed && T.peer.took_us < CD_SEC(2));
    assert_int_equal(metrics_get(M_HTTP_TIMEOUT), before + 2);
}

static void stopped_with_work_under_way(void **state CD_UNUSED)
{
    static const char half[] = HEAD "Idempotency-Key: k\r\nContent-Length: 4000\r\n\r\n{";

    T.cfg.web_max_client_requests = 5;
    say(GOOD);
    until_submitted();
    int fd = peer_connect(T.addr.port);
    assert_true(send(fd, half, sizeof half - 1, 0) > 0);
    run_loop(T.base, NULL, CD_MSEC(100));
    assert_int_equal(metrics_get(M_INTAKE_READING_BYTES), 4000);
    channel_web.stop(&T.web);
    assert_int_equal(metrics_get(M_INTAKE_READING_BYTES), 0);
    ack_resolve(T.env->ack, &(struct ack_result){.verdict = ACK_STORED, .outcome = OUT_NEW}); /* nobody is there */
    pthread_join(T.peer.thread, NULL);
    close(fd);
    assert_int_equal(channel_web.start(&T.host, &T.web), 0);
}

static int show(const char *ref, const struct reply *r)
{
    char text[300];

    snprintf(text, sizeof text, "GET /v1/complaints/%s HTTP/1.1\r\nHost: h\r\nAuthorization: bearer  " TOKEN "\r\n\r\n", ref);
    T.verb[0] = '\0';
    say(text);
    for (int i = 0; i < 500 && !T.verb[0]; i++)
        run_loop(T.base, NULL, CD_MSEC(10));
    channel_web.on_reply(T.web, T.slot, r);
    int status = heard();
    json_decref(r->body);
    return status;
}

static void the_state_of_a_complaint(void **state CD_UNUSED)
{
    T.client.role = (enum cfg_role)ROLE_ADMIN;
    assert_int_equal(show("c7kq2m9d4t0xy", &(struct reply){.ok = true, .body = json_pack("{s:s}", "status", "new")}), 200);
    assert_true(says("{\"status\":\"new\"}"));
    assert_string_equal(T.verb, "SHOW");
    assert_string_equal(T.ref, "c7kq2m9d4t0xy");
    assert_string_equal(T.actor, "kiosk");
    assert_int_equal(T.role, ROLE_INTAKE); /* an admin too sees no more this way */
    static const struct {
        const char *code;
        int status;
    } rows[] = {{"not-found", 404}, {"bad-argument", 422}, {"busy", 503}, {"internal", 500}, {"too-large", 500}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(show("x", &(struct reply){.body = json_pack("{s:s, s:s}", "code", rows[i].code, "message", "why")}), rows[i].status);
        assert_true(says("\"detail\":\"why\""));
    }
}

static void a_configuration_without_desks(void **state CD_UNUSED)
{
    T.cfg.ndesks = 0;
    assert_int_equal(ask(GOOD), 422);
    assert_true(says("\"field\":\"desk\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T_(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        T_(the_envelope),
        T_(every_outcome_has_its_status),
        T_(not_taken_is_busy),
        T_(every_end_gives_the_place_back),
        T_(time_for_a_body),
        T_(stopped_with_work_under_way),
        T_(the_state_of_a_complaint),
        T_(a_configuration_without_desks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
