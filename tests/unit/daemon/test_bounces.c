/* Which notification an automatic mail speaks of: by signed names and keys of ours, wherever they stand; forged ones count for nothing. And
 * when nothing automatic is answered. No database: the look-up's answer is written by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/core/metrics.h"
#include "daemon/intake/token.h"
#include "daemon/job.h"

#define ID "018f2a6b-7c00-7000-8000-000000000001"

static const struct config cfg = {.loops_max_hops = 3, .loops_answers_per_address = 10};

static struct job *job_of(enum message_class cls, const char *recipient)
{
    struct job *j = cd_alloc(sizeof *j);
    j->env = envelope_new(CH_MAIL, CD_MIB(1));
    j->rec = record_new();
    j->rec->cls = cls;
    strlist_add(&j->env->recipients, recipient);
    return j;
}

static void drop(struct job *j)
{
    free(j->told_key);
    lookup_clear(&j->look);
    store_item_clear(&j->item);
    record_free(&j->rec);
    envelope_free(&j->env);
    free(j->handle);
    free(j);
}

static void prepare(struct uuid *id, char path[128])
{
    const struct token_key key = {.id = 'a', .secret = "sixteen bytes and more of them.."};
    char token[TOKEN_TEXT_SIZE];
    token_keys_set(&key, 1);
    assert_int_equal(uuid_parse(ID, id), 0);
    token_notification(id, '\0', token);
    snprintf(path, 128, "care+%s@example.com", token);
}

static void by_signed_names(void **state CD_UNUSED)
{
    struct uuid id;
    char path[128], forged[128];
    prepare(&id, path);
    snprintf(forged, sizeof forged, "%s", path);
    forged[30] = forged[30] == '0' ? '1' : '0';
    struct job *j = job_of(MC_BOUNCE, path);
    job_trace(j);
    assert_true(uuid_equal(&j->told_id, &id));
    assert_null(j->told_key);
    drop(j);
    j = job_of(MC_BOUNCE, forged);
    j->rec->bounced_id = cd_strdup(forged);
    j->rec->bounced_sender = cd_strdup(forged);
    job_trace(j);
    assert_true(uuid_is_nil(&j->told_id));
    assert_null(j->told_key);
    j->rec->in_reply_to = cd_strdup(path); /* the first that is true counts */
    job_trace(j);
    assert_true(uuid_equal(&j->told_id, &id));
    drop(j);
    j = job_of(MC_AUTO_REPLY, "care@example.com");
    strlist_add(&j->rec->references, "x@example.net");
    strlist_add(&j->rec->references, path);
    job_trace(j);
    assert_true(uuid_equal(&j->told_id, &id));
    drop(j);
    j = job_of(MC_BULK, "care@example.com");
    j->rec->bounced_id = cd_strdup(path);
    job_trace(j);
    assert_true(uuid_is_nil(&j->told_id));
    drop(j);
}

/* What comes to the reverse-path of a mail of ours is a machine's, whatever it looks like; but only there, and only with a true signature. */
static void persons_do_not_write_to_reverse_paths(void **state CD_UNUSED)
{
    struct uuid id;
    char path[128], complaint[TOKEN_TEXT_SIZE], ref[REF_TEXT_SIZE];
    prepare(&id, path);
    struct job *j = job_of(MC_PERSON, path);
    job_trace(j);
    assert_int_equal(j->rec->cls, MC_AUTO_REPLY);
    assert_true(j->rec->flags & REC_NO_AUTO_ANSWER);
    assert_string_equal(j->rec->signals.v[0], "signed-path");
    assert_true(uuid_equal(&j->told_id, &id));
    drop(j);
    path[20] ^= 1;
    j = job_of(MC_PERSON, path);
    job_trace(j);
    assert_int_equal(j->rec->cls, MC_PERSON);
    drop(j);
    ref_new(ref);
    token_complaint(ref, '\0', complaint); /* a reply address: that is where people write to */
    snprintf(path, sizeof path, "care+%s@example.com", complaint);
    j = job_of(MC_PERSON, path);
    job_trace(j);
    assert_int_equal(j->rec->cls, MC_PERSON);
    assert_true(uuid_is_nil(&j->told_id));
    drop(j);
}

static void by_keys(void **state CD_UNUSED)
{
    struct uuid id;
    char path[128], ref[REF_TEXT_SIZE], token[TOKEN_TEXT_SIZE], forged[128], good[128];
    prepare(&id, path);
    ref_new(ref);
    token_complaint(ref, '\0', token);
    snprintf(good, sizeof good, "ack." ID ".%s@mail.example.com", token);
    token_complaint(ref, '\0', forged);
    snprintf(forged + strlen(forged) - 1, 2, "%c", forged[strlen(forged) - 1] == '0' ? '1' : '0');
    char wrong[240];
    snprintf(wrong, sizeof wrong, "ack." ID ".%s@mail.example.com", forged);
    const struct {
        const char *message_id, *key;
    } v[] = {
        {"ack." ID "@mail.example.com", "ack." ID},
        {good, "ack." ID},
        {wrong, NULL},
        {"step." ID ".0.2.1.team.mail@h", "step." ID ".0.2.1.team.mail"},
        {"ack." ID, NULL},
        {"ack." ID "x@h", NULL},
        {"ack.018f2a6b@h", NULL},
        {"ACK." ID "@h", NULL},
        {"a1." ID "@h", NULL},
        {"@", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        struct job *j = job_of(MC_BOUNCE, "care@example.com");
        j->rec->bounced_id = cd_strdup(v[i].message_id);
        job_trace(j);
        print_message("%s\n", v[i].message_id);
        if (v[i].key)
            assert_string_equal(j->told_key, v[i].key);
        else
            assert_null(j->told_key);
        drop(j);
    }
}

static void what_a_report_means(void **state CD_UNUSED)
{
    static const struct {
        const char *status, *action, *reason, *has; /* NULL: changes nothing */
    } v[] = {
        {"5.1.1", "failed", "user-unknown", "\"final\":true,\"hard\":true"},
        {"5.2.2", "failed", "mailbox-full", "\"final\":true,\"hard\":false"},
        {"4.4.7", "failed", "expired", "\"final\":true,\"hard\":false"},
        {"4.1.1", "failed", "user-unknown", "\"final\":true,\"hard\":false"},
        {"4.4.1", "delayed", "network", "\"final\":false,\"hard\":false"},
        {"2.0.0", "delivered", "other", NULL},
        {"2.0.0", "relayed", "other", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        struct job *j = job_of(MC_BOUNCE, "care@example.com");
        struct lookup_notification *t = &j->look.told;
        json_t *reasons = NULL;
        struct bounce *b = record_add_bounce(j->rec), *other;
        b->recipient = cd_strdup("someone@else.example");
        b->status = cd_strdup("5.0.0");
        other = record_add_bounce(j->rec); /* the one that we wrote to counts */
        other->recipient = cd_strdup("Ann@example.net");
        other->status = cd_strdup(v[i].status);
        other->action = cd_strdup(v[i].action);
        other->reason = cd_strdup(v[i].reason);
        t->found = true;
        assert_int_equal(uuid_parse(ID, &t->id), 0);
        t->complaint_id = t->id;
        t->purpose = cd_strdup("acknowledgement");
        t->recipient = cd_strdup("ann@example.net");
        t->team = cd_strdup("nobody");
        int64_t nobody = metrics_get(M_ESCALATION_NOBODY);
        assert_true(job_take_report(&cfg, j, &reasons));
        assert_int_equal(metrics_get(M_ESCALATION_NOBODY), nobody + (v[i].has != NULL)); /* no such team, and somebody must hear of it */
        assert_int_equal(j->item.outcome, OUT_BOUNCE);
        assert_int_equal(uuid_is_nil(&j->item.bounce_of), v[i].has == NULL);
        if (v[i].has)
            assert_non_null(strstr(j->item.bounce, v[i].has));
        json_decref(reasons);
        drop(j);
    }
}

static void withheld(void **state CD_UNUSED)
{
    struct job *j = job_of(MC_PERSON, "care@example.com");
    struct lookup_request *q = &j->look;
    int64_t hops = metrics_get(M_WITHHELD_HOPS), budget = metrics_get(M_WITHHELD_BUDGET), address = metrics_get(M_WITHHELD_ADDRESS);
    assert_null(job_withheld(&cfg, j, false));
    j->rec->hops = 2;
    assert_null(job_withheld(&cfg, j, false));
    j->rec->hops = 3;
    assert_non_null(strstr(job_withheld(&cfg, j, false), "to and fro"));
    j->rec->hops = 0;
    q->answers = 20000; /* a stranger has no budget that could be used up */
    assert_null(job_withheld(&cfg, j, false));
    q->answer_to = "mail:ann@example.net"; /* unless a Reply-To aims at it */
    assert_non_null(strstr(job_withheld(&cfg, j, false), "for today"));
    q->answer_to = NULL;
    q->customer_found = true;
    q->answers = 9000;
    assert_null(job_withheld(&cfg, j, false));
    q->answers = 9001;
    assert_non_null(strstr(job_withheld(&cfg, j, false), "for today"));
    q->answered_ago_us = CD_MIN_US(144); /* a tenth of a day gives one */
    assert_null(job_withheld(&cfg, j, false));
    q->answers = 10001;
    assert_non_null(job_withheld(&cfg, j, false));
    q->answered_ago_us = CD_HOUR(1000);
    assert_null(job_withheld(&cfg, j, false));
    q->answers_since = 8; /* they fill it up whatever had gone before */
    assert_null(job_withheld(&cfg, j, false));
    q->answers_since = 9;
    assert_non_null(job_withheld(&cfg, j, false));
    q->answers_since = 0;
    q->address_state = cd_strdup("hard");
    assert_null(job_withheld(&cfg, j, false)); /* it writes itself */
    j->env->channel = CH_LINE;
    assert_non_null(strstr(job_withheld(&cfg, j, false), "came back"));
    assert_null(job_withheld(&cfg, j, true));
    assert_int_equal(metrics_get(M_WITHHELD_HOPS), hops + 1);
    assert_int_equal(metrics_get(M_WITHHELD_BUDGET), budget + 4);
    assert_int_equal(metrics_get(M_WITHHELD_ADDRESS), address + 1);
    drop(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_signed_names), cmocka_unit_test(persons_do_not_write_to_reverse_paths), cmocka_unit_test(by_keys),
                                       cmocka_unit_test(what_a_report_means), cmocka_unit_test(withheld)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
