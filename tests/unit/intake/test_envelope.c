/* Envelopes as bytes, the names of channels and outcomes, acknowledgement slots and the gate. */
#include "daemon/intake/ack.h"
#include "daemon/intake/envelope.h"

#include "daemon/core/err.h"
#include "daemon/core/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct envelope *sample(void)
{
    struct envelope *e = envelope_new(CH_MAIL, 1000);

    e->ack.slot = 5;
    e->received_at_us = -7;
    e->client = cd_strdup("192.0.2.1");
    e->sender = cd_strdup("");
    strlist_add(&e->recipients, "care@example.com");
    strlist_add(&e->recipients, "b\xff@example.com"); /* not UTF-8: kept as it came */
    strlist_add(&e->desks, "care");
    e->key = cd_strdup("none");
    e->digest[0] = 1;
    e->from_pending = true;
    e->worker_deaths = 2;
    buf_append(&e->raw, "a\0b\r\n", 5);
    return e;
}

static void round_trip(void **state)
{
    (void)state;
    struct envelope *e = sample(), *r = NULL;
    struct buf b;

    buf_init(&b, 10000);
    envelope_write(e, &b);
    assert_false(b.failed);
    assert_int_equal(envelope_read(b.data, b.len, &r), 0);
    assert_true(uuid_equal(&e->id, &r->id));
    assert_int_equal(r->channel, CH_MAIL);
    assert_int_equal(r->ack.slot, 0); /* the way back does not travel */
    assert_true(r->received_at_us == -7);
    assert_string_equal(r->client, "192.0.2.1");
    assert_string_equal(r->sender, "");
    assert_int_equal(r->recipients.n, 2);
    assert_string_equal(r->recipients.v[1], "b\xff@example.com");
    assert_string_equal(r->desks.v[0], "care");
    assert_string_equal(r->key, "none");
    assert_memory_equal(r->digest, e->digest, SHA256_SIZE);
    assert_true(r->from_pending);
    assert_int_equal(r->worker_deaths, 2);
    assert_int_equal(r->raw.len, 5);
    assert_memory_equal(r->raw.data, "a\0b\r\n", 5);
    assert_true(envelope_bytes(r) > 5 + sizeof(*r));
    envelope_free(&r);
    envelope_free(&r);
    free(e->sender);
    e->sender = NULL; /* NULL and "" stay apart */
    buf_reset(&e->raw);
    buf_reset(&b);
    envelope_write(e, &b);
    assert_int_equal(envelope_read(b.data, b.len, &r), 0);
    assert_null(r->sender);
    assert_int_equal(r->raw.len, 0);
    envelope_free(&r);
    envelope_free(&e);
    buf_free(&b);
}

static void damaged_frames(void **state)
{
    (void)state;
    struct envelope *e = sample(), *r = NULL;
    struct buf b;

    buf_init(&b, 10000);
    envelope_write(e, &b);
    for (size_t n = 0; n < b.len; n++) {
        uint8_t *part = malloc(n ? n : 1);

        assert_non_null(part);
        memcpy(part, b.data, n);
        assert_int_equal(envelope_read(part, n, &r), CD_EINVAL);
        free(part);
    }
    for (size_t i = 0; i < b.len; i++) {
        b.data[i] ^= 0xff;
        if (envelope_read(b.data, b.len, &r) == 0)
            envelope_free(&r);
        b.data[i] ^= 0xff;
    }
    buf_append_char(&b, 0);
    assert_int_equal(envelope_read(b.data, b.len, &r), CD_EINVAL);
    buf_free(&b);
    envelope_free(&e);
}

static void names(void **state)
{
    (void)state;
    for (int c = 0; c < CH_COUNT; c++)
        assert_int_equal(channel_from_name(channel_name((enum channel_id)c)), c);
    for (int o = 0; o < OUT_COUNT; o++)
        assert_int_equal(outcome_from_name(outcome_name((enum outcome)o)), o);
    assert_string_equal(outcome_name(OUT_FOLLOW_UP), "follow-up");
    assert_int_equal(channel_from_name("fax"), -1);
    assert_int_equal(outcome_from_name(NULL), -1);
    assert_string_equal(channel_name((enum channel_id)99), "unknown");
}

static int answers;

static void count_answer(void *arg, struct ack a, const struct ack_result *r)
{
    assert_ptr_equal(arg, &answers);
    assert_int_equal(a.slot, 3);
    assert_int_equal(r->verdict, ACK_STORED);
    answers++;
}

static void acknowledgements(void **state)
{
    (void)state;
    struct ack_result r = {.verdict = ACK_STORED};
    int64_t stale = metrics_get(M_ACK_STALE);

    ack_resolve((struct ack){.slot = 3, .channel = CH_SMS}, &r);
    ack_resolve((struct ack){.slot = 3, .channel = 200}, &r);
    assert_int_equal(metrics_get(M_ACK_STALE), stale + 2);
    ack_register(CH_SMS, count_answer, &answers);
    ack_resolve((struct ack){.slot = 3, .channel = CH_SMS}, &r);
    assert_int_equal(answers, 1);
    ack_register(CH_SMS, NULL, NULL);
}

static void slot_table(void **state)
{
    (void)state;
    struct slots *s = slots_new(40);
    struct ack a[40], late = {0}, extra;
    int things[40];
    int64_t stale = metrics_get(M_ACK_STALE);

    assert_null(slots_get(s, late));
    for (int i = 0; i < 40; i++) {
        a[i].channel = CH_LINE;
        assert_int_equal(slots_take(s, &things[i], &a[i]), 0);
        assert_int_equal(a[i].channel, CH_LINE);
    }
    assert_int_equal(slots_take(s, &things[0], &extra), CD_ELIMIT);
    for (int i = 0; i < 40; i++)
        assert_ptr_equal(slots_get(s, a[i]), &things[i]);
    slots_release(s, a[7]);
    assert_null(slots_get(s, a[7]));
    assert_int_equal(metrics_get(M_ACK_STALE), stale + 2);
    slots_release(s, a[7]); /* a second release does nothing */
    assert_int_equal(slots_take(s, &things[1], &late), 0);
    assert_int_equal(late.slot, a[7].slot);
    assert_null(slots_get(s, a[7])); /* the old generation does not reach the new holder */
    slots_release(s, a[7]);
    assert_ptr_equal(slots_get(s, late), &things[1]);
    assert_int_equal(slots_take(s, &things[0], &extra), CD_ELIMIT);
    slots_free(&s);
    slots_free(&s);

    s = slots_new(0);
    assert_int_equal(slots_take(s, &things[0], &extra), CD_ELIMIT);
    slots_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),       cmocka_unit_test(damaged_frames), cmocka_unit_test(names),
        cmocka_unit_test(acknowledgements), cmocka_unit_test(slot_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
