/* The SMS channel against a fake front: webhooks in, the decoder, and sends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "channels/channel.h"
#include "channels/sms/sms_private.h"
#include "channels/sms/twilio.h"
#include "daemon/core/err.h"
#include "daemon/core/metrics.h"
#include "daemon/intake/keys.h"

static struct {
    struct channel_host host;
    struct config cfg;
    void *state;
    /* what the fake front saw */
    int answers, status;
    char type[64], body[256];
    struct envelope *submitted;
    int submit_result;
    bool ready;
    char *url, *form, *user;
    http_fetch_done done;
    void *done_arg;
    int fetch_result;
    int outcomes;
    struct send_result last;
} t;

static char signature[TWILIO_SIGNATURE_SIZE];
static const char *content_type;

static const char *fake_header(const struct http_exchange *x, const char *name)
{
    (void)x;
    if (str_ieq(name, "X-Twilio-Signature"))
        return signature[0] ? signature : NULL;
    return str_ieq(name, "Content-Type") ? content_type : NULL;
}

static void fake_answer(void *front, struct ack token, int status, const char *type, const void *body,
                        size_t n)
{
    (void)front;
    assert_int_equal(token.slot, 7);
    t.answers++;
    t.status = status;
    snprintf(t.type, sizeof t.type, "%s", type ? type : "");
    snprintf(t.body, sizeof t.body, "%.*s", (int)n, (const char *)body);
}

static int fake_submit(void *front, struct envelope *e)
{
    (void)front;
    if (t.submit_result == 0)
        t.submitted = e;
    return t.submit_result;
}

static bool fake_ready(void *front, size_t bytes)
{
    (void)front;
    (void)bytes;
    return t.ready;
}

static int fake_fetch(void *front, const struct http_fetch *f, http_fetch_done done, void *arg)
{
    (void)front;
    if (t.fetch_result < 0)
        return t.fetch_result;
    t.url = cd_strdup(f->url);
    t.form = cd_strndup(f->body, f->nbody);
    t.user = cd_asprintf("%s:%s", f->username, f->password);
    t.done = done;
    t.done_arg = arg;
    return 0;
}

static void fake_send_done(void *front, const struct uuid *id, const struct send_result *r)
{
    (void)front;
    assert_int_equal(id->b[0], 9);
    t.outcomes++;
    t.last = *r;
}

static int set_up(void **state)
{
    static struct cfg_sms_provider provider = {
        .name = (char *)"main",
        .provider = (char *)"twilio",
        .public_url = (char *)"https://c.example.com/",
        .account_sid = (char *)"AC00",
        .auth_token = (char *)"secret",
        .auth_token_old = (char *)"",
        .from = (char *)"+15005550006",
        .api_url = (char *)"https://api.example.com/",
        .desk = (char *)"care",
    };

    (void)state;
    memset(&t, 0, sizeof t);
    t.cfg.sms_providers = &provider;
    t.cfg.nsms_providers = 1;
    t.ready = true;
    t.host = (struct channel_host){.base = event_base_new(),
                                   .cfg = &t.cfg,
                                   .submit = fake_submit,
                                   .ready = fake_ready,
                                   .send_done = fake_send_done,
                                   .fetch = fake_fetch,
                                   .http_answer = fake_answer};
    content_type = "application/x-www-form-urlencoded; charset=UTF-8";
    return channel_sms.start(&t.host, &t.state);
}

static int tear_down(void **state)
{
    (void)state;
    if (t.state)
        channel_sms.stop(&t.state);
    envelope_free(&t.submitted);
    free(t.url);
    free(t.form);
    free(t.user);
    event_base_free(t.host.base);
    return 0;
}

/* ---- in ---- */

#define INBOUND                                                                                              \
    "MessageSid=SM0123456789abcdef0123456789abcdef&SmsStatus=received&From=%2B8613800138000&To=%"            \
    "2B15005550006"

static void post(const char *path, const char *body, bool sign)
{
    struct http_exchange x = {.method = "POST",
                              .path = path,
                              .uri = path,
                              .peer = "192.0.2.1",
                              .body = body,
                              .nbody = strlen(body),
                              .header = fake_header,
                              .token = {.slot = 7, .gen = 1, .channel = CH_WEB}};
    struct form *f = NULL;

    signature[0] = '\0';
    if (sign && form_parse(body, strlen(body), &f) == 0) {
        CD_CLEANUP_FREE char *url = cd_asprintf("https://c.example.com%s", path);
        twilio_sign("secret", url, f, signature);
        form_free(&f);
    }
    channel_sms.http(t.state, &x);
}

static void accepted_when_stored(void **state)
{
    uint8_t digest[SHA256_SIZE];
    static const char content[] = "+8613800138000\0+15005550006\0Hello";

    (void)state;
    post("/sms/twilio/main", INBOUND "&Body=Hello", true);
    assert_non_null(t.submitted);
    assert_int_equal(t.answers, 0); /* nothing before it is durable */
    assert_false(channel_sms.idle(t.state));
    assert_string_equal(t.submitted->key, "twilio:SM0123456789abcdef0123456789abcdef");
    assert_string_equal(t.submitted->sender, "+8613800138000");
    assert_string_equal(t.submitted->client, "main");
    assert_string_equal(t.submitted->desks.v[0], "care");
    assert_string_equal(t.submitted->recipients.v[0], "+15005550006");
    assert_string_equal(buf_str(&t.submitted->raw), INBOUND "&Body=Hello");
    keys_of_text(content, sizeof content - 1, digest);
    assert_memory_equal(t.submitted->digest, digest, sizeof digest);
    ack_resolve(t.submitted->ack, &(struct ack_result){.verdict = ACK_STORED});
    assert_int_equal(t.status, 200);
    assert_string_equal(t.type, "text/xml");
    assert_string_equal(t.body, "<Response/>");
    assert_true(channel_sms.idle(t.state));
    ack_resolve(t.submitted->ack, &(struct ack_result){.verdict = ACK_STORED}); /* stale */
    assert_int_equal(t.answers, 1);
}

static void try_again(void **state)
{
    (void)state;
    post("/sms/twilio/main", INBOUND "&Body=x", true);
    ack_resolve(t.submitted->ack, &(struct ack_result){.verdict = ACK_RETRY_LATER, .reason = "busy"});
    assert_int_equal(t.status, 503);
    envelope_free(&t.submitted);
    t.submit_result = CD_EAGAIN;
    post("/sms/twilio/main", INBOUND "&Body=x", true);
    assert_int_equal(t.status, 503);
    t.ready = false;
    post("/sms/twilio/main", INBOUND "&Body=x", true);
    assert_int_equal(t.status, 503);
    assert_int_equal(t.answers, 3);
    assert_true(channel_sms.idle(t.state));
}

static void refused(void **state)
{
    int64_t before = metrics_get(M_SMS_UNSIGNED);

    (void)state;
    post("/sms/twilio/main", INBOUND "&Body=x", false); /* no signature */
    assert_int_equal(t.status, 403);
    post("/sms/twilio/main", INBOUND "&Body=%", true); /* not a form */
    assert_int_equal(t.status, 403);
    assert_int_equal(metrics_get(M_SMS_UNSIGNED), before + 2);
    post("/sms/twilio/other", INBOUND, true);
    assert_int_equal(t.status, 404);
    post("/sms/vonage/main", INBOUND, true);
    assert_int_equal(t.status, 404);
    post("/sms/twilio/main", "From=%2B1&Body=x", true);
    assert_int_equal(t.status, 400);
    post("/sms/twilio/main", INBOUND "&From=%2B1500", true); /* From twice */
    assert_int_equal(t.status, 400);
    post("/sms/twilio/main", "MessageSid=a%0Ab&From=%2B1", true);
    assert_int_equal(t.status, 400);
    content_type = "application/json";
    post("/sms/twilio/main", INBOUND, true);
    assert_int_equal(t.status, 415);
    assert_null(t.submitted);
}

static void receipts_are_taken(void **state)
{
    (void)state;
    post("/sms/twilio/main", "MessageSid=SM1&MessageStatus=delivered&SmsStatus=delivered&From=%2B1", true);
    assert_int_equal(t.status, 204);
    assert_null(t.submitted);
}

/* ---- decode ---- */

static struct record *decode(const char *body)
{
    struct envelope *e = envelope_new(CH_SMS, CD_KIB(64));
    struct record *r = record_new();

    buf_append_str(&e->raw, body);
    assert_int_equal(sms_decode(e, r), 0);
    envelope_free(&e);
    return r;
}

static void decoding(void **state)
{
    struct record *r =
        decode("From=%2B8613800138000&Body=%E7%83%AD%E6%B0%B4%E5%99%A8%E5%86%92%E7%83%9F%E4%BA%86");

    (void)state;
    assert_string_equal(r->language, "zh");
    assert_string_equal(r->phone, "+8613800138000");
    assert_string_equal(r->text, "热水器冒烟了");
    assert_int_equal(r->cls, MC_PERSON);
    record_free(&r);
    r = decode("From=%2B14155550100&Body=The+kettle+smokes&NumMedia=1&MediaUrl0=https%3A%2F%2Fm%2F1&"
               "MediaContentType0="
               "image%2Fjpeg");
    assert_string_equal(r->language, "en");
    assert_string_equal(r->text, "The kettle smokes\n[attachment: image/jpeg https://m/1]");
    record_free(&r);
    r = decode("From=12345&Body=a%00%FFb"); /* short code, bytes that are no text */
    assert_null(r->phone);
    assert_true(utf8_valid(r->text, strlen(r->text)));
    record_free(&r);
    r = decode("From=%2B14155550100&Body=+stop.");
    assert_int_equal(r->cls, MC_PERSON);
    assert_true(r->flags & REC_NO_AUTO_ANSWER);
    record_free(&r);
    r = decode("From=%2B14155550100");
    assert_string_equal(r->text, "");
    assert_string_equal(r->language, "und");
    record_free(&r);
}

/* ---- out ---- */

static int send_text(const char *to)
{
    struct outgoing o = {
        .id = {.b = {9}}, .transport = TR_SMS, .recipient = to, .text = "您好 50%", .desk = "care"};

    return channel_sms.send(t.state, &o);
}

static void finish(enum http_fetch_outcome outcome, int status, const char *body)
{
    struct http_fetch_result r = {
        .outcome = outcome, .status = status, .body = body, .nbody = strlen(body), .error = "why"};

    t.done(t.done_arg, &r);
    free(t.url);
    free(t.form);
    free(t.user);
    t.url = t.form = t.user = NULL;
}

static void sending(void **state)
{
    static const struct {
        enum http_fetch_outcome outcome;
        int status;
        const char *body;
        enum send_outcome expect;
    } v[] = {
        {FETCH_ANSWERED, 201, "{\"sid\":\"SM9\"}", SEND_SENT},
        {FETCH_ANSWERED, 200, "not json", SEND_SENT},
        {FETCH_ANSWERED, 400, "{\"code\":21211,\"message\":\"bad number\"}", SEND_REJECTED},
        {FETCH_ANSWERED, 401, "{}", SEND_RETRY},
        {FETCH_ANSWERED, 429, "{\"code\":20429,\"message\":1}", SEND_RETRY},
        {FETCH_ANSWERED, 503, "", SEND_RETRY},
        {FETCH_NOT_SENT, 0, "", SEND_RETRY},
        {FETCH_UNKNOWN, 0, "", SEND_UNKNOWN},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        assert_int_equal(send_text("+8613800138000"), 0);
        assert_string_equal(t.url, "https://api.example.com/2010-04-01/Accounts/AC00/Messages.json");
        assert_string_equal(t.user, "AC00:secret");
        assert_string_equal(t.form,
                            "To=%2B8613800138000&From=%2B15005550006&Body=%E6%82%A8%E5%A5%BD%2050%25");
        assert_false(channel_sms.idle(t.state));
        finish(v[i].outcome, v[i].status, v[i].body);
        assert_int_equal(t.outcomes, i + 1);
        assert_int_equal(t.last.outcome, v[i].expect);
    }
    assert_true(channel_sms.idle(t.state));
}

static void not_sendable(void **state)
{
    (void)state;
    assert_int_equal(send_text("123\r\n"), 0);
    assert_int_equal(t.outcomes, 0); /* not from inside */
    event_base_loop(t.host.base, EVLOOP_NONBLOCK);
    assert_int_equal(t.outcomes, 1);
    assert_int_equal(t.last.outcome, SEND_REJECTED);
    t.fetch_result = CD_EAGAIN;
    assert_int_equal(send_text("+8613800138000"), CD_EAGAIN);
    assert_true(channel_sms.idle(t.state));
}

static void answer_after_stop(void **state)
{
    (void)state;
    assert_int_equal(send_text("+8613800138000"), 0);
    channel_sms.stop(&t.state);
    finish(FETCH_UNKNOWN, 0, "");
    assert_int_equal(t.outcomes, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(accepted_when_stored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(try_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(receipts_are_taken, set_up, tear_down),
        cmocka_unit_test(decoding),
        cmocka_unit_test_setup_teardown(sending, set_up, tear_down),
        cmocka_unit_test_setup_teardown(not_sendable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(answer_after_stop, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
