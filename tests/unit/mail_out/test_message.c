/* The messages that we build: line ends, encodings, and values that try to become headers of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "channels/mail/out_message.h"
#include "channels/mail/out_wire.h"
#include "daemon/core/err.h"

static struct config cfg = {.hostname = (char *)"complaints.example.com",
                            .instance = (char *)"main",
                            .mail_from = (char *)"complaints@example.com",
                            .mail_from_name = (char *)"Customer care"};

static struct outgoing plain_message(void)
{
    return (struct outgoing){.recipient = "ann@shop.example",
                             .subject = "Your complaint C-1",
                             .text = "Dear Ann,\n\nwe have it.\n",
                             .idempotency_key = "0190-key"};
}

/* Builds, checks what holds for every message, returns the text to free. */
static char *build(const struct outgoing *m)
{
    struct buf b;
    size_t line = 0;

    buf_init(&b, CD_MIB(1));
    assert_int_equal(mail_message_build(&cfg, m, 0, &b), 0);
    for (size_t i = 0; i < b.len; i++) {
        assert_true(b.data[i] < 0x7f && (b.data[i] >= ' ' || strchr("\r\n\t", b.data[i])));
        assert_true(b.data[i] != '\n' || (i && b.data[i - 1] == '\r'));
        assert_true(b.data[i] != '\r' || b.data[i + 1] == '\n');
        line = b.data[i] == '\n' ? 0 : line + 1;
        assert_true(line <= 998);
    }
    assert_true(b.len > 2 && b.data[b.len - 1] == '\n');
    return buf_steal(&b);
}

static void plain(void **state)
{
    struct outgoing m = plain_message();
    CD_CLEANUP_FREE char *s = build(&m);

    (void)state;
    assert_string_equal(s, "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n"
                           "From: \"Customer care\" <complaints@example.com>\r\n"
                           "To: ann@shop.example\r\n"
                           "Subject: Your complaint C-1\r\n"
                           "Message-ID: <0190-key@complaints.example.com>\r\n"
                           "Auto-Submitted: auto-generated\r\n"
                           "X-Complaintd-Instance: main\r\n"
                           "MIME-Version: 1.0\r\n"
                           "Content-Type: text/plain; charset=UTF-8; format=flowed; delsp=no\r\n"
                           "Content-Transfer-Encoding: quoted-printable\r\n"
                           "\r\n"
                           "Dear Ann,\r\n"
                           "\r\n"
                           "we have it.\r\n");
}

static void all_fields(void **state)
{
    struct outgoing m = plain_message();

    (void)state;
    m.from = "care@example.com";
    m.reply_to = "care+token@example.com";
    m.in_reply_to = "abc@shop.example";
    m.automatic = m.sandbox = true;
    m.idempotency_key = "x1@mail.example.com";
    CD_CLEANUP_FREE char *s = build(&m);
    assert_non_null(strstr(s, "\r\nFrom: \"Customer care\" <care@example.com>\r\n"));
    assert_non_null(strstr(s, "\r\nReply-To: care+token@example.com\r\n"));
    assert_non_null(strstr(s, "\r\nIn-Reply-To: <abc@shop.example>\r\nReferences: <abc@shop.example>\r\n"));
    assert_non_null(strstr(s, "\r\nMessage-ID: <x1@mail.example.com>\r\n"));
    assert_non_null(strstr(s, "\r\nAuto-Submitted: auto-replied\r\n"));
    assert_non_null(strstr(s, "\r\nX-Complaintd-Sandbox: yes\r\n"));
}

static void chinese(void **state)
{
    struct outgoing m = plain_message();
    char *at;
    size_t column = 0;

    (void)state;
    m.subject = "您的投诉已受理：热水器冒烟，我们会在两个工作日内给您答复，请保留此编号以便查询";
    m.text = "尊敬的客户：\n您的投诉已受理。\n";
    CD_CLEANUP_FREE char *s = build(&m);
    at = strstr(s, "\r\nSubject: =?UTF-8?B?");
    assert_non_null(at);
    at += 2;
    /* every encoded word is whole characters, every line of the field at most 78 */
    for (; !(at[0] == '\r' && at[2] != ' '); at++) {
        column = *at == '\n' ? 0 : column + 1;
        assert_true(column <= 78);
    }
    assert_non_null(
        strstr(s, "Content-Transfer-Encoding: base64\r\n\r\n5bCK5pWs55qE5a6i5oi377yaDQrmgqjnmoTmipXor4nlt7Ll"
                  "j5fnkIbjgIINCg==\r\n"));
    cfg.mail_from_name = (char *)"客户服务";
    free(s);
    s = build(&m);
    cfg.mail_from_name = (char *)"Customer care";
    assert_non_null(strstr(s, "\r\nFrom: =?UTF-8?B?5a6i5oi35pyN5Yqh?=\r\n <complaints@example.com>\r\n"));
}

static void quoted_printable(void **state)
{
    struct outgoing m = plain_message();

    (void)state;
    m.text = ".\nFrom here\ntrailing \ntab\t\na=b caf\xc3\xa9\r\ncr\rlf\n"
             "https://example.com/a-word-that-is-longer-than-a-line-may-be-and-has-to-be-broken-softly-is-it-not\n"
             "no end";
    CD_CLEANUP_FREE char *s = build(&m);
    const char *body = strstr(s, "\r\n\r\n") + 4;
    assert_string_equal(body,
                        "=2E\r\n"
                        " From here\r\n"
                        "trailing\r\n"
                        "tab=09\r\n"
                        "a=3Db caf=C3=A9\r\n"
                        "cr=0Dlf\r\n"
                        "https://example.com/a-word-that-is-longer-than-a-line-may-be-and-has-to-be-=\r\n"
                        "broken-softly-is-it-not\r\n"
                        "no end\r\n");
}

/* ---- format=flowed ---- */

/* What a reader that knows the format makes of it (RFC 3676 4.1 to 4.5, DelSp=no, no quoting). */
static char *unflow(const char *s)
{
    struct buf b;

    buf_init(&b, CD_MIB(1));
    while (*s) {
        size_t n = strcspn(s, "\n");
        const char *line = *s == ' ' ? s + 1 : s;
        size_t len = (size_t)(s + n - line);
        bool flowed = len && line[len - 1] == ' ' && !(len == 3 && memcmp(line, "-- ", 3) == 0);
        assert_true(*s != '>');
        buf_append(&b, line, len);
        if (!flowed)
            buf_append_char(&b, '\n');
        s += n + 1;
    }
    return buf_steal(&b);
}

static char *flow(const char *text)
{
    struct buf b;

    buf_init(&b, CD_MIB(1));
    mail_flow_text(&b, text);
    assert_false(b.failed);
    char *s = buf_steal(&b);
    return s ? s : cd_strdup("");
}

static void flowed_lines(void **state)
{
    static const struct {
        const char *text, *flowed;
    } cases[] = {
        {"", ""},
        {"\n", "\n"},
        {"one\ntwo", "one\ntwo\n"},
        {"a line with its end  \nnext\n", "a line with its end\nnext\n"},
        {"   \n", "\n"},
        {"    indented\n> quoted\n>\nFrom me\nFromage\n", "     indented\n > quoted\n >\n From me\nFromage\n"},
        {"bye\n-- \nus\n", "bye\n-- \nus\n"},
        {"A line of seventy-eight columns is left as it is, since mail allows that much!",
         "A line of seventy-eight columns is left as it is, since mail allows that much!\n"},
        {"A line of more than seventy-eight columns is broken behind the last of the spaces within seventy-two",
         "A line of more than seventy-eight columns is broken behind the last of \nthe spaces within seventy-two\n"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa > b From c",
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \n > b From c\n"},
        /* the mark of a signature is never made by breaking */
        {"-- aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "-- aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"},
        /* no space, no break: wide characters count as two, and the Latin words among them give a place */
        {"您的投诉已收到，我们会安排人员阅读并核实您反映的情况，最迟于两个工作日内与您联系，请保留此编号",
         "您的投诉已收到，我们会安排人员阅读并核实您反映的情况，最迟于两个工作日内与您联系，请保留此编号\n"},
        {"我们已于 2026-11-30 14:00 UTC 收到您的投诉，我们会安排人员阅读并核实您反映的情况，最迟于 2026-12-02 与您联系",
         "我们已于 2026-11-30 14:00 UTC \n收到您的投诉，我们会安排人员阅读并核实您反映的情况，最迟于 2026-12-02 与您联系\n"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CD_CLEANUP_FREE char *s = flow(cases[i].text);
        assert_string_equal(s, cases[i].flowed);
    }
}

/* However a text is built: no line over 78 columns that had a place to break, and readers get back what was
 * meant but for spaces at the end of a line. */
static void flowed_texts_come_back(void **state)
{
    static const char *const words[] = {"a", "the", ">", "From", "--", " ", "  ", "complaint", "投诉", "é", "\n", "\n\n",
                                        "https://example.com/a/very/long/address/that/goes/on/and/on"};
    unsigned seed = 7;

    (void)state;
    for (int round = 0; round < 2000; round++) {
        struct buf text, want;
        buf_init(&text, CD_KIB(64));
        buf_init(&want, CD_KIB(64));
        for (int i = 0; i < 60; i++) {
            seed = seed * 1103515245u + 12345u;
            buf_printf(&text, "%s%s", words[(seed >> 16) % ARRAY_LEN(words)], seed >> 28 ? " " : "");
        }
        for (const char *p = buf_str(&text); *p;) {
            size_t n = strcspn(p, "\n"), len = n;
            while (len && p[len - 1] == ' ' && !(n == 3 && memcmp(p, "-- ", 3) == 0))
                len--;
            buf_append(&want, p, len);
            buf_append_char(&want, '\n');
            p += n + (p[n] == '\n');
        }
        CD_CLEANUP_FREE char *flowed = flow(buf_str(&text)), *back = unflow(flowed);
        assert_string_equal(back ? back : "", buf_str(&want));
        buf_free(&text);
        buf_free(&want);
    }
}

static void language(void **state)
{
    struct outgoing m = plain_message();

    (void)state;
    m.language = "zh-CN";
    CD_CLEANUP_FREE char *s = build(&m);
    assert_non_null(strstr(s, "\r\nContent-Language: zh-CN\r\n"));
    assert_null(strstr(s, "\nList-"));
    assert_null(strstr(s, "\nPrecedence"));
    free(s);
    m.language = "en\r\nX-Evil: 1";
    s = build(&m);
    assert_null(strstr(s, "Content-Language"));
    assert_null(strstr(s, "X-Evil"));
}

static void header_injection(void **state)
{
    struct outgoing m = plain_message();

    (void)state;
    m.subject = "Re: x\r\nBcc: evil@example.com\r\n\r\nbody\x01\x7f";
    m.idempotency_key = "k>\r\nX-Evil: 1";
    m.in_reply_to = "a@b>\r\nX-Evil: 2";
    cfg.instance = (char *)"main\nX-Evil: 3";
    cfg.mail_from_name = (char *)"A \"B\" \\ <c@d>\r\nX-Evil: 4";
    CD_CLEANUP_FREE char *s = build(&m);
    cfg.instance = (char *)"main";
    cfg.mail_from_name = (char *)"Customer care";
    assert_null(strstr(s, "\nBcc"));
    assert_null(strstr(s, "\nX-Evil"));
    assert_null(strstr(s, "In-Reply-To")); /* not usable: left out */
    assert_non_null(strstr(s, "\r\nSubject: Re: x Bcc: evil@example.com body\r\n"));
    assert_non_null(strstr(s, "\r\nMessage-ID: <k--X-Evil--1@complaints.example.com>\r\n"));
    assert_non_null(strstr(s, "From: \"A \\\"B\\\" \\\\ <c@d>  X-Evil: 4\" <complaints@example.com>\r\n"));
}

static void fake_encoded_words(void **state)
{
    struct outgoing m = plain_message();

    (void)state;
    m.subject = "=?UTF-8?B?ZXZpbA==?=";
    CD_CLEANUP_FREE char *s = build(&m);
    assert_null(strstr(s, "ZXZpbA=="));
    free(s);
    m.subject = "bytes \xff\xfe that are no text";
    s = build(&m);
    assert_non_null(strstr(s, "Subject: =?UTF-8?B?"));
    free(s);
    CD_CLEANUP_FREE char *word = cd_alloc(2001);
    memset(word, 'x', 2000);
    m.subject = word; /* cannot be folded as it is */
    s = build(&m);
    free(s);
    m.subject = "";
    s = build(&m);
    assert_null(strstr(s, "Subject"));
}

static void folding(void **state)
{
    struct outgoing m = plain_message();

    (void)state;
    m.subject =
        "A subject of many short words that does not fit into a single line and so is folded at a space";
    CD_CLEANUP_FREE char *s = build(&m);
    assert_non_null(strstr(s,
                           "Subject: A subject of many short words that does not fit into a single line\r\n"
                           " and so is folded at a space\r\n"));
}

static void bad_addresses(void **state)
{
    static const char *const bad[] = {"",      "nobody", "a@b\r\nRCPT TO:<c@d>", "a@b>", "<a@b>",
                                      "a b@c", "a@b c",  "a@\xe2\x80\xa8.example", "a@-例.example", "a@例..example"};
    struct outgoing m = plain_message();
    struct buf b;

    (void)state;
    buf_init(&b, CD_MIB(1));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        m.recipient = bad[i];
        assert_int_equal(mail_message_build(&cfg, &m, 0, &b), CD_EINVAL);
    }
    m = plain_message();
    m.reply_to = "x@y\n";
    assert_int_equal(mail_message_build(&cfg, &m, 0, &b), CD_EINVAL);
    m.reply_to = NULL;
    m.from = "x@y\n";
    assert_int_equal(mail_message_build(&cfg, &m, 0, &b), CD_EINVAL);
    m = plain_message();
    m.from = "客@x.example"; /* configured, or read from mail: only recipients may be outside ASCII */
    assert_int_equal(mail_message_build(&cfg, &m, 0, &b), CD_EINVAL);
    buf_free(&b);
}

/* A domain outside ASCII has a form within it; a local part has none. */
static void international_addresses(void **state)
{
    static const struct {
        const char *address, *wire;
    } cases[] = {
        {"ann@shop.example", "ann@shop.example"},
        {"ann@Bücher.example", "ann@xn--bcher-kva.example"},
        {"ann@bu\xcc\x88"
         "cher.example",
         "ann@xn--bcher-kva.example"}, /* not composed */
        {"ann@例子.中国", "ann@xn--fsqu00a.xn--fiqs8s"},
        {"ann@straße.example", "ann@xn--strae-oqa.example"}, /* IDNA 2008, not 2003 */
        {"客户@例子.中国", "客户@xn--fsqu00a.xn--fiqs8s"},
        {"\"a@b\"@例子.中国", "\"a@b\"@xn--fsqu00a.xn--fiqs8s"},
        {"a@[192.0.2.1]", "a@[192.0.2.1]"},
        {"a@\xe2\x98\x83\xe2\x80\x8d.example", NULL}, /* a joiner where none may stand */
        {"nobody", NULL},
        {NULL, NULL},
    };
    struct outgoing m = plain_message();
    struct buf b;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CD_CLEANUP_FREE char *s = mail_address_on_wire(cases[i].address);
        if (!cases[i].wire)
            assert_null(s);
        else
            assert_string_equal(s, cases[i].wire);
    }
    m.recipient = "ann@例子.中国";
    CD_CLEANUP_FREE char *s = build(&m); /* all of it ASCII */
    assert_non_null(strstr(s, "\r\nTo: ann@xn--fsqu00a.xn--fiqs8s\r\n"));
    m.recipient = "客户@例子.中国";
    buf_init(&b, CD_MIB(1));
    assert_int_equal(mail_message_build(&cfg, &m, 0, &b), 0);
    assert_non_null(strstr(buf_str(&b), "\r\nTo: 客户@xn--fsqu00a.xn--fiqs8s\r\n"));
    buf_free(&b);
}

static void too_large(void **state)
{
    struct outgoing m = plain_message();
    struct buf b;

    (void)state;
    buf_init(&b, 200);
    assert_int_equal(mail_message_build(&cfg, &m, 0, &b), CD_ENOMEM);
    buf_free(&b);
}

static void hostnames(void **state)
{
    (void)state;
    assert_string_equal(mail_safe_hostname("mail.example.com"), "mail.example.com");
    assert_string_equal(mail_safe_hostname(""), "localhost");
    assert_string_equal(mail_safe_hostname("-x"), "localhost");
    assert_string_equal(mail_safe_hostname("a b"), "localhost");
    assert_string_equal(mail_safe_hostname("a\r\nMAIL"), "localhost");
}

/* ---- frames ---- */

static void frames(void **state)
{
    struct out_message v[OUT_BATCH_MAX];
    size_t relay;
    struct buf b;

    (void)state;
    buf_init(&b, CD_KIB(64));
    job_begin(&b, 1, 2);
    job_add(&b, "", "a@b.example", "text", 4);
    job_add(&b, "x@y.example", "c@d.example", "", 0);
    assert_int_equal(job_read(b.data, b.len, &relay, v), 2);
    assert_int_equal(relay, 1);
    assert_string_equal(v[0].from, "");
    assert_string_equal(v[1].rcpt, "c@d.example");
    assert_memory_equal(v[0].text, "text", 4);
    job_free(v);
    for (size_t n = 0; n < b.len; n++) { /* cut anywhere */
        assert_true(job_read(b.data, n, &relay, v) < 0);
        job_free(v);
    }
    buf_reset(&b);
    job_begin(&b, 0, OUT_BATCH_MAX + 1);
    assert_int_equal(job_read(b.data, b.len, &relay, v), CD_EINVAL);
    job_free(v);
    buf_reset(&b);
    struct part p = {.kind = PART_OUTCOME, .index = 3, .outcome = SEND_RETRY, .detail = (char *)"why"}, q;
    part_write(&b, &p);
    assert_int_equal(part_read(b.data, b.len, &q), 0);
    assert_int_equal(q.outcome, SEND_RETRY);
    assert_string_equal(q.detail, "why");
    free(q.detail);
    b.data[5] = 9; /* no such outcome */
    assert_int_equal(part_read(b.data, b.len, &q), CD_EINVAL);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(all_fields),
        cmocka_unit_test(chinese),
        cmocka_unit_test(quoted_printable),
        cmocka_unit_test(flowed_lines),
        cmocka_unit_test(flowed_texts_come_back),
        cmocka_unit_test(language),
        cmocka_unit_test(header_injection),
        cmocka_unit_test(fake_encoded_words),
        cmocka_unit_test(folding),
        cmocka_unit_test(bad_addresses),
        cmocka_unit_test(international_addresses),
        cmocka_unit_test(too_large),
        cmocka_unit_test(hostnames),
        cmocka_unit_test(frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
