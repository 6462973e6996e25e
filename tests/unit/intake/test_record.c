/* Records: what a worker writes comes back whole; what an attacker in a worker's place writes does not come
 * in. */
#include "daemon/intake/record.h"

#include "daemon/core/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void set(char **field, const char *value)
{
    free(*field);
    *field = cd_strdup(value);
}

static struct record *sample(void)
{
    struct record *r = record_new();

    r->flags = REC_HTML_ONLY | REC_TRUNCATED_MATCH;
    r->cls = MC_AUTO_REPLY;
    set(&r->name, "李伟");
    set(&r->email, "li.wei@example.com");
    set(&r->phone, "+8613800138000");
    set(&r->subject, "水壶冒烟");
    set(&r->text, "It burns.\nTwice.\n");
    set(&r->text_new, "It burns.");
    set(&r->language, "zh");
    set(&r->message_id, "a@b");
    set(&r->in_reply_to, "c@d");
    strlist_add(&r->references, "e@f");
    strlist_add(&r->references, "g@h");
    set(&r->reply_to, "other@example.com");
    r->sent_at_us = 1704074400000000;
    ref_new(r->refs[r->nrefs++]);
    struct attachment *a = record_add_attachment(r);
    set(&a->filename, "照片.jpg");
    set(&a->content_type, "image/jpeg");
    set(&a->encoding, "base64");
    a->offset = 100;
    a->length = 50;
    a->size_bytes = 37;
    a->sha256[31] = 9;
    a->is_inline = true;
    record_add_hit(r, 7, 1, "burns!", 5);
    set(&r->said_channel, "phone");
    set(&r->external_id, "X-1");
    set(&r->remedy_sought, "my money\nback");
    set(&r->representative, "{\"name\":\n\"Li\"}");
    a->kind = AT_CALENDAR;
    set(&a->magic_type, "image/webp");
    set(&a->content_id, "part1@example.com");
    set(&a->inner, "tnef:2");
    set(&r->charset_note, "gb2312 read as gb18030");
    set(&r->security, "pgp-signed");
    record_add_signal(r, "auto-submitted");
    record_add_signal(r, "auto-submitted");
    r->hops = 3;
    struct bounce *b = record_add_bounce(r);
    set(&b->recipient, "gone@example.net");
    set(&b->status, "5.1.1");
    set(&b->action, "failed");
    set(&b->diagnostic, "550 no such user");
    set(&b->reason, "user-unknown");
    set(&r->bounced_id, "m9@example.com");
    set(&r->bounced_sender, "care@example.com");
    struct auth_result *auth = record_add_auth(r);
    set(&auth->server, "mx.example.com");
    auth->spf = AUTH_PASS;
    auth->arc = AUTH_OTHER;
    return r;
}

static int read_back(const struct record *r, struct record **ret)
{
    struct buf b;

    buf_init(&b, CD_MIB(64));
    record_write(r, &b);
    assert_false(b.failed);
    int rc = record_read(b.data, b.len, ret);
    buf_free(&b);
    return rc;
}

static void expect_refused(struct record *r)
{
    struct record *back = NULL;

    assert_int_equal(read_back(r, &back), CD_EINVAL);
    assert_null(back);
    record_free(&r);
}

static void round_trip(void **state)
{
    (void)state;
    struct record *r = sample(), *b = NULL;

    assert_int_equal(read_back(r, &b), 0);
    assert_int_equal(b->flags, r->flags);
    assert_int_equal(b->cls, MC_AUTO_REPLY);
    assert_string_equal(b->name, "李伟");
    assert_string_equal(b->email, r->email);
    assert_string_equal(b->phone, r->phone);
    assert_string_equal(b->subject, "水壶冒烟");
    assert_string_equal(b->text, r->text);
    assert_string_equal(b->text_new, "It burns.");
    assert_null(b->text_quoted);
    assert_string_equal(b->language, "zh");
    assert_string_equal(b->message_id, "a@b");
    assert_int_equal(b->references.n, 2);
    assert_string_equal(b->references.v[1], "g@h");
    assert_true(b->sent_at_us == r->sent_at_us);
    assert_int_equal(b->nrefs, 1);
    assert_string_equal(b->refs[0], r->refs[0]);
    assert_int_equal(b->nattachments, 1);
    assert_string_equal(b->attachments[0].filename, "照片.jpg");
    assert_int_equal(b->attachments[0].length, 50);
    assert_int_equal(b->attachments[0].sha256[31], 9);
    assert_true(b->attachments[0].is_inline);
    assert_int_equal(b->nhits, 1);
    assert_int_equal(b->hits[0].pattern, 7);
    assert_string_equal(b->hits[0].word, "burns");
    assert_string_equal(b->said_channel, "phone");
    assert_null(b->category);
    assert_string_equal(b->external_id, "X-1");
    assert_string_equal(b->remedy_sought, "my money\nback");
    assert_string_equal(b->representative, "{\"name\": \"Li\"}"); /* on one line */
    record_free(&r);
    record_free(&b);
    record_free(&b); /* NULL is taken */
}

static void facts_of_a_mail(void **state)
{
    (void)state;
    struct record *r = sample(), *b = NULL;

    assert_int_equal(read_back(r, &b), 0);
    assert_int_equal(b->attachments[0].kind, AT_CALENDAR);
    assert_string_equal(b->attachments[0].magic_type, "image/webp");
    assert_string_equal(b->attachments[0].content_id, "part1@example.com");
    assert_string_equal(b->attachments[0].inner, "tnef:2");
    assert_string_equal(b->charset_note, "gb2312 read as gb18030");
    assert_string_equal(b->security, "pgp-signed");
    assert_int_equal(b->signals.n, 1); /* once each */
    assert_string_equal(b->signals.v[0], "auto-submitted");
    assert_int_equal(b->hops, 3);
    assert_int_equal(b->nbounces, 1);
    assert_string_equal(b->bounces[0].recipient, "gone@example.net");
    assert_string_equal(b->bounces[0].status, "5.1.1");
    assert_string_equal(b->bounces[0].action, "failed");
    assert_string_equal(b->bounces[0].diagnostic, "550 no such user");
    assert_string_equal(b->bounces[0].reason, "user-unknown");
    assert_string_equal(b->bounced_id, "m9@example.com");
    assert_string_equal(b->bounced_sender, "care@example.com");
    assert_int_equal(b->nauths, 1);
    assert_string_equal(b->auths[0].server, "mx.example.com");
    assert_int_equal(b->auths[0].spf, AUTH_PASS);
    assert_int_equal(b->auths[0].arc, AUTH_OTHER);
    record_free(&b);
    set(&r->bounces[0].recipient, "not an address"); /* a stranger's report may say anything */
    set(&r->bounced_sender, "two words@b");
    assert_int_equal(read_back(r, &b), 0);
    assert_null(b->bounces[0].recipient);
    assert_null(b->bounced_sender);
    record_free(&b);
    record_free(&r);
}

static void refuses_what_is_out_of_range(void **state)
{
    (void)state;
    struct record *r;

    r = sample(), r->flags = 1u << 30, expect_refused(r);
    r = sample(), r->cls = MC_COUNT, expect_refused(r);
    r = sample(), set(&r->text, "\xff\xfe"), expect_refused(r);
    r = sample(), set(&r->text, NULL), expect_refused(r);
    r = sample(), set(&r->subject, NULL), expect_refused(r);
    r = sample(), set(&r->language, NULL), expect_refused(r);
    r = sample(), set(&r->language, "e\n"), expect_refused(r);
    r = sample(), set(&r->email, "a@b\r\nBcc: x@y"), expect_refused(r);
    r = sample(), set(&r->reply_to, "two words@b"), expect_refused(r);
    r = sample(), set(&r->phone, "13800138000"), expect_refused(r);
    r = sample(), set(&r->phone, "+86 138 0013 8000"), expect_refused(r);
    r = sample(), strcpy(r->refs[0], "C-0000-0000-0001"), expect_refused(r);
    r = sample(), r->attachments[0].offset = UINT64_MAX, expect_refused(r);
    r = sample(), r->attachments[0].length = INT64_MAX, expect_refused(r);
    r = sample(), r->attachments[0].size_bytes = UINT64_MAX, expect_refused(r);
    r = sample(), r->attachments[0].kind = AT_KIND_COUNT, expect_refused(r);
    r = sample(), r->auths[0].dkim = AUTH_OTHER + 1, expect_refused(r);
    r = sample(), set(&r->bounces[0].diagnostic, "\xff"), expect_refused(r);

    r = sample();
    char *big = cd_alloc(RECORD_MAX_TEXT + 2);
    memset(big, 'x', RECORD_MAX_TEXT + 1);
    set(&r->text, big);
    expect_refused(r);
    big[RECORD_MAX_TEXT] = '\0';
    struct record *b = NULL;
    r = sample();
    set(&r->text, big);
    assert_int_equal(read_back(r, &b), 0);
    record_free(&b);
    record_free(&r);
    free(big);
}

static void refuses_too_many(void **state)
{
    (void)state;
    struct record *r = sample(), *b = NULL;

    while (r->references.n <= RECORD_MAX_THREAD_IDS)
        strlist_add(&r->references, "x@y");
    expect_refused(r);

    r = sample();
    while (record_add_attachment(r))
        ;
    assert_int_equal(r->nattachments, RECORD_MAX_ATTACHMENTS);
    for (int i = 0; i < RECORD_MAX_HITS + 10; i++)
        record_add_hit(r, 1, 0, "word", 4);
    assert_int_equal(r->nhits, RECORD_MAX_HITS);
    while (record_add_bounce(r))
        ;
    while (record_add_auth(r))
        ;
    for (int i = 0; i < RECORD_MAX_SIGNALS + 10; i++) {
        char name[32];
        snprintf(name, sizeof name, "signal-%d", i);
        record_add_signal(r, name);
    }
    assert_int_equal(r->nbounces, RECORD_MAX_BOUNCES);
    assert_int_equal(r->nauths, RECORD_MAX_AUTHS);
    assert_int_equal(r->signals.n, RECORD_MAX_SIGNALS);
    assert_int_equal(read_back(r, &b), 0); /* the limits themselves pass */
    assert_int_equal(b->nattachments, RECORD_MAX_ATTACHMENTS);
    assert_int_equal(b->nhits, RECORD_MAX_HITS);
    assert_int_equal(b->nbounces, RECORD_MAX_BOUNCES);
    assert_int_equal(b->nauths, RECORD_MAX_AUTHS);
    assert_int_equal(b->signals.n, RECORD_MAX_SIGNALS);
    record_free(&b);
    record_free(&r);
}

static void makes_lines_harmless(void **state)
{
    (void)state;
    struct record *r = sample(), *b = NULL;

    set(&r->subject, "a\r\nBcc: x@y");
    set(&r->name, "a\nb");
    set(&r->message_id, "a\r\nX: y");
    set(&r->attachments[0].filename, "../a\\b\x01");
    r->sent_at_us = -5;
    assert_int_equal(read_back(r, &b), 0);
    assert_string_equal(b->subject, "a  Bcc: x@y");
    assert_string_equal(b->name, "a b");
    assert_null(b->message_id);
    assert_string_equal(b->attachments[0].filename, ".._a_b_");
    assert_true(b->sent_at_us == 0);
    record_free(&b);
    record_free(&r);
}

/* Every cut and every flipped byte: no crash, no leak, no reading outside. */
static void damaged_frames(void **state)
{
    (void)state;
    struct record *r = sample(), *b = NULL;
    struct buf out;

    buf_init(&out, CD_MIB(1));
    record_write(r, &out);
    for (size_t n = 0; n < out.len; n++) {
        uint8_t *part = malloc(n ? n : 1);

        assert_non_null(part);
        memcpy(part, out.data, n);
        assert_int_equal(record_read(part, n, &b), CD_EINVAL);
        free(part);
    }
    for (size_t i = 0; i < out.len; i++) {
        static const uint8_t bits[] = {0x01, 0x80, 0xff};

        for (size_t k = 0; k < ARRAY_LEN(bits); k++) {
            out.data[i] ^= bits[k];
            if (record_read(out.data, out.len, &b) == 0)
                record_free(&b);
            out.data[i] ^= bits[k];
        }
    }
    buf_append_char(&out, 'x');
    assert_int_equal(record_read(out.data, out.len, &b), CD_EINVAL);
    buf_free(&out);
    record_free(&r);
}

static void places_against_the_envelope(void **state)
{
    (void)state;
    struct envelope *e = envelope_new(CH_MAIL, 1000);
    struct record *r = sample();

    while (e->raw.len < 150)
        buf_append_char(&e->raw, 'x');
    assert_true(record_fits(r, e));
    r->attachments[0].length = 51;
    assert_false(record_fits(r, e));
    r->attachments[0].offset = 151;
    r->attachments[0].length = 0;
    assert_false(record_fits(r, e));
    record_free(&r);
    envelope_free(&e);
}

static struct record *degraded(const char *sender, const char *raw)
{
    struct envelope *e = envelope_new(CH_MAIL, 10000);

    e->sender = cd_strdup(sender);
    e->key = cd_strdup("own@id");
    buf_append_str(&e->raw, raw);
    struct record *r = record_degraded(e, "worker-died");
    envelope_free(&e);
    assert_true(r->flags & REC_DEGRADED);
    assert_string_equal(r->degraded_reason, "worker-died");
    struct record *b = NULL;
    assert_int_equal(read_back(r, &b), 0); /* it meets its own rules */
    record_free(&r);
    return b;
}

static void degraded_records(void **state)
{
    (void)state;
    struct record *r = degraded("Li@Example.com", "Subject: kettle\r\nIn-Reply-To: <a@b>\r\n"
                                                  "References: <x@y>\r\n <a@b> junk <\r\n\r\n\xff\xff");
    assert_string_equal(r->email, "li@example.com");
    assert_string_equal(r->subject, "kettle");
    assert_string_equal(r->message_id, "own@id");
    assert_string_equal(r->in_reply_to, "a@b");
    assert_int_equal(r->references.n, 2);
    assert_true(strlen(r->text) > 10);
    assert_int_equal(r->cls, MC_PERSON);
    assert_false(r->flags & REC_NO_AUTO_ANSWER);
    record_free(&r);

    static const struct {
        const char *sender, *raw, *reason;
    } silent[] = {
        {"", "Subject: =?utf-8?B?xx?=\r\n\r\n", "null-sender"},
        {"a@b.c", "Auto-Submitted: auto-replied\r\n\r\n", "auto-submitted"},
        {"a@b.c", "Precedence: bulk\r\n\r\n", "precedence"},
        {"a@b.c", "List-Id: <news.example>\r\n\r\n", "list"},
    };
    for (size_t i = 0; i < ARRAY_LEN(silent); i++) {
        r = degraded(silent[i].sender, silent[i].raw);
        assert_true(r->flags & REC_NO_AUTO_ANSWER);
        assert_string_equal(r->no_answer_reason, silent[i].reason);
        assert_string_equal(r->subject, "");
        record_free(&r);
    }
    r = degraded("a@b.c", "Auto-Submitted: no\r\n\r\n");
    assert_false(r->flags & REC_NO_AUTO_ANSWER);
    record_free(&r);

    struct envelope *e = envelope_new(CH_SMS, 10);
    e->sender = cd_strdup("+8613800138000");
    r = record_degraded(e, "timeout");
    assert_string_equal(r->phone, "+8613800138000");
    record_free(&r);
    envelope_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),       cmocka_unit_test(facts_of_a_mail), cmocka_unit_test(refuses_what_is_out_of_range),
        cmocka_unit_test(refuses_too_many), cmocka_unit_test(makes_lines_harmless),
        cmocka_unit_test(damaged_frames),   cmocka_unit_test(places_against_the_envelope),
        cmocka_unit_test(degraded_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
