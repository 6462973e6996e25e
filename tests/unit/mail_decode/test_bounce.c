/* Delivery reports of our own making, in the forms of many systems: recipient, status, action, reason, the returned mail; what is none;
 * limits. And the signals of the classifier. */
#include "fixture.h"

#include "channels/mail/bounce.h"

#define MAILER "From: Mail Delivery Subsystem <MAILER-DAEMON@mx.example.net>\r\nTo: care@example.com\r\n"
#define ID "ack.018f2a6b-7c00-7000-8000-000000000001@mail.example.com"

static struct decoded bounced(const char *raw)
{
    struct decoded d = decode_bytes(raw, strlen(raw), "");
    assert_int_equal(d.result, 0);
    if (d.r->cls != MC_BOUNCE)
        print_error("class %s: %s\n", message_class_name(d.r->cls), raw);
    assert_int_equal(d.r->cls, MC_BOUNCE);
    assert_true(d.r->flags & REC_NO_AUTO_ANSWER);
    return d;
}

static void check(const struct record *r, size_t i, const char *recipient, const char *status, const char *action, const char *reason)
{
    assert_in_range(i, 0, r->nbounces - 1);
    assert_string_equal(r->bounces[i].recipient, recipient);
    assert_string_equal(r->bounces[i].status, status);
    assert_string_equal(r->bounces[i].action, action);
    assert_string_equal(r->bounces[i].reason, reason);
}

static void report(void **state CD_UNUSED)
{
    struct decoded d = bounced(MAILER
        "Subject: Undelivered Mail\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        "--b\r\n\r\nSorry.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\nX-Postfix-Sender: rfc822; care+tok@example.com\r\n\r\n"
        "Final-Recipient: rfc822; Ann.New@example.net\r\nOriginal-Recipient: rfc822;ann@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 <ann@example.net>:\r\n    no such person\r\n\r\n"
        "Final-Recipient: rfc822;bob@example.net\r\nAction: delayed\r\nStatus: 4.4.1\r\nDiagnostic-Code: X-Postfix; connect to example.net: Connection refused\r\n\r\n"
        "Final-Recipient: rfc822;carl@example.net\r\nStatus: 5.0.0\r\nAction: failed\r\nDiagnostic-Code: smtp; 552-5.2.2 The mailbox is over quota\r\n"
        "Original-Recipient: utf-8; \\x{7532}@example.net\r\nFinal-Recipient: utf-8; \\x{7532}@example.net\r\nAction: failed\r\nStatus: 5.4.4\r\n\r\n"
        "--b\r\nContent-Type: text/rfc822-headers\r\n\r\nReturn-Path: <care+other@example.com>\r\nMessage-ID:\r\n <" ID ">\r\nFrom: care@example.com\r\n\r\n--b--\r\n");
    assert_int_equal(d.r->nbounces, 4);
    check(d.r, 0, "ann@example.net", "5.1.1", "failed", "user-unknown");
    assert_string_equal(d.r->bounces[0].diagnostic, "550 5.1.1 <ann@example.net>: no such person");
    check(d.r, 1, "bob@example.net", "4.4.1", "delayed", "network");
    check(d.r, 2, "carl@example.net", "5.2.2", "failed", "mailbox-full"); /* a vague code gives way to the one of the diagnostic */
    check(d.r, 3, "\xe7\x94\xb2@example.net", "5.4.4", "failed", "host-unknown");
    assert_string_equal(d.r->bounced_id, ID);
    assert_string_equal(d.r->bounced_sender, "care+tok@example.com");
    assert_string_equal(d.r->signals.v[0], "delivery-status");
    done(&d);
}

static void in_words(void **state CD_UNUSED)
{
    static const struct {
        const char *raw, *recipient, *status, *action, *reason;
    } v[] = {
        {"Subject: failure notice\r\n\r\nHi. This is the qmail-send program at mx.example.net.\r\nI wasn't able to deliver your message to the "
         "following addresses.\r\n\r\n<ann@example.net>:\r\n192.0.2.1 does not like recipient.\r\nRemote host said: 550 5.1.1 unknown\r\n\r\n"
         "--- Below this line is a copy of the message.\r\n\r\nReturn-Path: <care@example.com>\r\nMessage-ID: <" ID ">\r\n\r\n<no@example.org>: x\r\n",
         "ann@example.net", "5.1.1", "failed", "user-unknown"},
        {"Subject: Mail delivery failed: returning message to sender\r\nX-Failed-Recipients: ann@example.net\r\n\r\nThis message was created "
         "automatically.\r\n\r\n  ann@example.net\r\n    SMTP error from remote mail server after RCPT TO:<ann@example.net>:\r\n    host mx [192.0.2.4]: "
         "452 4.2.2 mailbox full\r\n    retry timeout exceeded\r\n\r\n------ This is a copy of the message ------\r\nMessage-Id: <" ID ">\r\n",
         "ann@example.net", "4.2.2", "failed", "mailbox-full"},
        {"Subject: Warning: message 1abc delayed 24 hours\r\n\r\nThis message was created automatically.\r\nThe message has not yet been delivered "
         "to:\r\n\r\n  ann@example.net\r\n    Delay reason: Connection timed out\r\n\r\nNo action is required on your part.\r\n",
         "ann@example.net", "4.4.1", "delayed", "network"},
        {"Subject: Undeliverable: kettle\r\n\r\nDelivery has failed to these recipients or groups:\r\n\r\nann@example.net<mailto:ann@example.net>\r\n"
         "The email address you entered couldn\xe2\x80\x99t be found.\r\n\r\nOriginal message headers:\r\nMessage-ID: <" ID ">\r\n",
         "ann@example.net", "5.1.1", "failed", "user-unknown"},
        {"Subject: =?utf-8?B?57O757uf6YCA5L+h?=\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
         "\xe5\xbe\x88\xe6\x8a\xb1\xe6\xad\x89\xef\xbc\x8c\xe6\x82\xa8\xe7\x9a\x84\xe9\x82\xae\xe4\xbb\xb6\xe8\xa2\xab\xe9\x80\x80\xe5\x9b\x9e\r\n"
         "\xe6\x94\xb6\xe4\xbb\xb6\xe4\xba\xba: ann@example.net\r\n\xe9\x80\x80\xe4\xbf\xa1\xe5\x8e\x9f\xe5\x9b\xa0: "
         "\xe6\x94\xb6\xe4\xbb\xb6\xe4\xba\xba\xe9\x82\xae\xe7\xae\xb1\xe5\xb7\xb2\xe6\xbb\xa1\r\n",
         "ann@example.net", "5.2.2", "failed", "mailbox-full"},
        {"Subject: =?utf-8?B?57O757uf6YCA5L+h?=\r\n\r\nHost mx3.example.net said: 550 Mailbox not found. http://service.example.net/cgi?id=20022\r\n"
         "RCPT TO: <ann@example.net>\r\n",
         "ann@example.net", "5.1.1", "failed", "user-unknown"},
        {"Subject: Returned mail: Host unknown\r\n\r\n   ----- The following addresses had permanent fatal errors -----\r\n<ann@nowhere.example>\r\n\r\n"
         "   ----- Transcript of session follows -----\r\n550 5.1.2 <ann@nowhere.example>... Host unknown (Name server: host not found)\r\n",
         "ann@nowhere.example", "5.1.2", "failed", "host-unknown"},
        {"Subject: Delivery failure\r\n\r\nYour message to ann@example.net\r\nwas rejected: 554 5.7.1 Message is spam\r\n", "ann@example.net", "5.7.1",
         "failed", "spam"},
    };
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        char *raw = cd_asprintf(MAILER "%s", v[i].raw);
        struct decoded d = bounced(raw);
        print_message("case %zu\n", i);
        assert_int_equal(d.r->nbounces, 1);
        check(d.r, 0, v[i].recipient, v[i].status, v[i].action, v[i].reason);
        if (strstr(v[i].raw, ID))
            assert_string_equal(d.r->bounced_id, ID);
        done(&d);
        free(raw);
    }
}

/* What a person writes about a bounce is a person's, and so is what only looks a little like one. */
static void complaints_about_bounces(void **state CD_UNUSED)
{
    static const char *const v[] = {
        "From: Ann <ann@example.net>\r\nSubject: Delivery failure of my parcel\r\n\r\nYour mail system answers:\r\n<shop@example.com>: host mx said: 550 5.1.1 "
        "User unknown\r\n",
        "From: Ann <ann@example.net>\r\nSubject: Fwd: Undelivered Mail Returned to Sender\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        "--b\r\n\r\nLook what I got.\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: MAILER-DAEMON@example.net\r\nContent-Type: multipart/report; "
        "report-type=delivery-status; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c\r\nContent-Type: message/delivery-status\r\n\r\nFinal-Recipient: rfc822;a@example.org\r\n"
        "Status: 5.1.1\r\n--c--\r\n--b--\r\n",
        "From: Postmaster Smith <postmaster@firm.example>\r\nSubject: Your invoice\r\n\r\nI complain.\r\n",
        "From: Ann <ann@example.net>\r\nSubject: Absence de r\xc3\xa9ponse\r\nIn-Reply-To: <x@example.com>\r\n\r\nToujours rien.\r\n",
        "From: Ann <ann@example.net>\r\nSubject: away from home when you came\r\nIn-Reply-To: <x@example.com>\r\n\r\nThe parcel is gone.\r\n",
        "From: Ann <ann@example.net>\r\nX-Auto-Response-Suppress: All\r\nSubject: kettle\r\n\r\nIt burns.\r\n",
        "From: no-reply@shop.example\r\nSubject: a customer wrote\r\n\r\n550 people wait\r\n",
        "From: <postmaster@ann.example>\r\nReturn-Path: <postmaster@ann.example>\r\nSubject: Delivery problem with order 4711\r\n\r\nIt never came.\r\n",
        "From: Mail Delivery Services Ltd <ann@example.net>\r\nSubject: Delivery problem with order 4712\r\n\r\nYour van blocks our gate.\r\n",
        "From: Ann <ann@example.net>\r\nX-Auto-Response-Suppress: OOF, AutoReply\r\nSubject: On vacation my luggage was lost\r\n\r\nWhere is it?\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        struct decoded d = decode_bytes(v[i], strlen(v[i]), strstr(v[i], "<postmaster@ann") ? "postmaster@ann.example" : "ann@example.net");
        print_message("case %zu: %s\n", i, message_class_name(d.r->cls));
        assert_int_equal(d.r->cls, MC_PERSON);
        assert_int_equal(d.r->nbounces, 0);
        assert_null(d.r->bounced_id);
        done(&d);
    }
}

static void automatic(void **state CD_UNUSED)
{
    static const struct {
        const char *fields, *sender, *signal;
        enum message_class cls;
    } v[] = {
        {"Auto-Submitted: auto-replied; owner-email=\"x\"\r\n", "ann@example.net", "auto-submitted", MC_AUTO_REPLY},
        {"Subject: Automatic reply: kettle\r\nX-Auto-Response-Suppress: All\r\n", "ann@example.net", "auto-response-suppress", MC_AUTO_REPLY},
        {"Subject: Out of office\r\n", "", "auto-reply-subject", MC_AUTO_REPLY},
        {"Subject: =?utf-8?B?6Ieq5Yqo5Zue5aSNOiDmipXor4k=?=\r\nIn-Reply-To: <a@example.com>\r\n", "ann@example.net", "auto-reply-subject", MC_AUTO_REPLY},
        {"X-Apple-Action: VACATION\r\n", "ann@example.net", "apple-vacation", MC_AUTO_REPLY},
        {"X-MS-Exchange-Generated-Message-Source: Mailbox Rules Agent\r\n", "ann@example.net", "exchange-agent", MC_AUTO_REPLY},
        {"Precedence: auto_reply\r\n", "ann@example.net", "precedence-auto-reply", MC_AUTO_REPLY},
        {"X-Autoreply: yes\r\n", "ann@example.net", "auto-reply-field", MC_AUTO_REPLY},
        {"X-Loop: ann@example.net\r\nSubject: on vacation\r\n", "ann@example.net", "x-loop", MC_AUTO_REPLY},
        {"Auto-Submitted: auto-replied\r\nPrecedence: bulk\r\n", "ann@example.net", "auto-submitted", MC_AUTO_REPLY},
        {"Content-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n", "ann@example.net", "disposition-notification", MC_AUTO_REPLY},
        {"Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n", "ann@example.net", "feedback-report", MC_AUTO_REPLY},
        {"List-Id: <news.example.net>\r\n", "ann@example.net", "list", MC_BULK},
        {"X-Complaintd-Instance: other\r\nX-Complaintd-Hops: 2\r\nAuto-Submitted: auto-replied\r\n", "ann@example.net", "own", MC_OWN},
    };
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        char *raw = cd_asprintf("From: Ann <ann@example.net>\r\n%s\r\nI am away.\r\n", v[i].fields);
        struct decoded d = decode_bytes(raw, strlen(raw), v[i].sender);
        print_message("case %zu: %s\n", i, message_class_name(d.r->cls));
        assert_int_equal(d.r->cls, v[i].cls);
        assert_string_equal(d.r->signals.v[0], v[i].signal);
        assert_true(d.r->flags & REC_NO_AUTO_ANSWER);
        assert_int_equal(d.r->hops, v[i].cls == MC_OWN ? 2 : 0);
        done(&d);
        free(raw);
    }
}

static void hops(void **state CD_UNUSED)
{
    static const struct {
        const char *value;
        uint32_t n;
    } v[] = {{"3", 3}, {" 1 (by x)", 1}, {"-1", 0}, {"99999999999999999999", 0}, {"x", 0}, {"", 0}};
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        char *raw = cd_asprintf("From: a@example.net\r\nX-Complaintd-Hops:%s\r\n\r\nx", v[i].value);
        struct decoded d = decode(raw);
        assert_int_equal(d.r->hops, v[i].n);
        done(&d);
        free(raw);
    }
}

/* More recipients than a record holds, more text than is looked at. */
static void limits(void **state CD_UNUSED)
{
    struct buf raw;
    buf_init(&raw, CD_MIB(4));
    buf_append_str(&raw, MAILER "Subject: failure notice\r\n\r\n");
    for (int i = 0; i < RECORD_MAX_BOUNCES + 20; i++)
        buf_printf(&raw, "<r%d@example.net>: 550 5.1.1 unknown\r\n", i);
    struct decoded d = bounced(buf_str(&raw));
    assert_int_equal(d.r->nbounces, RECORD_MAX_BOUNCES);
    check(d.r, RECORD_MAX_BOUNCES - 1, "r31@example.net", "5.1.1", "failed", "user-unknown");
    done(&d);
    buf_reset(&raw);
    buf_append_str(&raw, MAILER "Subject: failure notice\r\n\r\n");
    while (raw.len < BOUNCE_MAX_TEXT + 1000)
        buf_append_str(&raw, "a line without an address\r\n");
    buf_append_str(&raw, "<late@example.net>: 550 5.1.1 unknown\r\n");
    d = bounced(buf_str(&raw)); /* by its subject */
    assert_int_equal(d.r->nbounces, 0);
    done(&d);
    buf_free(&raw);
}

static void codes(void **state CD_UNUSED)
{
    static const struct {
        const char *text, *status;
        int reply;
    } v[] = {
        {"550 5.1.1 unknown", "5.1.1", 550},
        {"5.1.0 - Unknown 550-'5.7.1 <x>", "5.7.1", 550},
        {"smtp; 5.3.0 - other 550-'Unknown user", "5.3.0", 550},
        {"host 192.0.2.5 [5.4.3.2] said: 450 4.2.0 later", "4.2.0", 450},
        {"Postfix 5.7.1/8.14", "", 0},
        {"sorry (#5.5.0)", "5.5.0", 0},
        {"503 5.0.0 need RCPT; 550 5.1.1 no", "5.1.1", 503},
        {"port 25, id 4501234, 2026-05-12", "", 0},
        {"5.1.1234", "", 0},
        {"", "", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        char code[BOUNCE_STATUS_SIZE] = "";
        assert_int_equal(bounce_find_status(v[i].text, code), v[i].status[0] != '\0');
        assert_string_equal(code, v[i].status);
        assert_int_equal(bounce_find_reply(v[i].text), v[i].reply);
    }
    assert_null(bounce_find_reason("nothing that is known"));
    assert_string_equal(bounce_find_reason("Mailbox\n   FULL"), "mailbox-full");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(report),    cmocka_unit_test(in_words), cmocka_unit_test(complaints_about_bounces),
                                       cmocka_unit_test(automatic), cmocka_unit_test(hops),     cmocka_unit_test(limits), cmocka_unit_test(codes)};
    return cmocka_run_group_tests(tests, prepare, NULL);
}
