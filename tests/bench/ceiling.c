/* complaint-ceiling: what the database alone would take. Writes the rows of new mail complaints with the
 * product's own statements, `--batch` at a time, one transaction after the other on one connection: no
 * session, no look-up, no decoding, no rules. Also fills a database with complaints (--count 2000000 --batch
 * 1000). Prints one line of JSON; ends with 1 at the first batch that the database refuses. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/intake/keys.h"
#include "daemon/store/batch_sql.h"
#include "daemon/store/run.h"
#include "tests/bench/report.h"
#include "tests/bench/text.h"

struct row {
    struct store_item item;
    struct envelope *env;
    struct record *rec;
};

struct ceiling {
    struct event_base *base;
    struct pg *pg;
    struct run run;
    struct row *rows;
    size_t batch;
    uint64_t count, written;
    struct text text;
    struct report report;
    int64_t batch_begin_us;
    char prefix[20];
    struct uuid *customers; /* nil: not written yet */
    bool started, failed;
};

static const char decision[] =
    "{\"rules\":[{\"id\":\"billing-double-charge\",\"gave\":{\"tags\":[\"double-charge\"],\"category\":"
    "\"billing\","
    "\"priority\":\"high\"},\"words\":[\"charged "
    "twice\"]},{\"id\":\"billing-invoice\",\"gave\":{\"tags\":[\"invoice\"],"
    "\"category\":\"billing\"},\"words\":[\"invoice\"]},{\"id\":\"after-sales-refund\",\"gave\":{\"tags\":["
    "\"refund\"],"
    "\"category\":\"after-sales\"},\"words\":[\"money back\"]}],\"thread\":[],\"team_from\":\"category\","
    "\"category_from\":\"rule:billing-double-charge\",\"priority_from\":\"rule:billing-double-charge\","
    "\"rules_version\":\"0000000000000000\",\"acknowledgement\":\"pending\"}";

/* ---- a row as the front would have decided it ---- */

static void make_message(struct ceiling *c, struct row *r, uint64_t i, const struct text_item *who)
{
    struct envelope *e = r->env = envelope_new(CH_MAIL, CD_MIB(16));
    struct record *rec = r->rec = record_new();
    char when[CLOCK_TEXT_SIZE], id[UUID_TEXT_SIZE];
    struct buf body;

    e->id = uuid_new();
    e->received_at_us = clock_real_us();
    e->client = cd_strdup("127.0.0.1");
    e->sender = cd_strdup(who->sender);
    strlist_add(&e->recipients, "care@example.com");
    strlist_add(&e->desks, "care");
    clock_format_mail(e->received_at_us, when);
    uuid_format(&e->id, id);
    buf_printf(&e->raw,
               "Return-Path: <%s>\r\nReceived: from load.example ([127.0.0.1])\r\n\tby "
               "complaints.example.com with ESMTP id %s;\r\n\t%s\r\n",
               who->sender, id, when);
    text_mail(&c->text, i, who, &e->raw);
    keys_of_mail(e->raw.data, e->raw.len, &e->key, e->digest);
    rec->name = cd_strdup(who->name);
    rec->email = cd_strdup(who->sender);
    rec->subject = cd_strdup(who->subject);
    rec->language = cd_strdup("en");
    rec->message_id = cd_strdup(who->key);
    rec->sent_at_us = e->received_at_us;
    buf_init(&body, CD_MIB(16));
    text_plain(&c->text, i, who, c->text.size > 5000 ? c->text.size / 10 : c->text.size / 4, &body);
    free(rec->text);
    rec->text = buf_steal(&body);
}

static void make_steps(struct store_item *it, int64_t at_us)
{
    it->steps = cd_strdup(
        "{{0,1,0,15},{12600,2,0,15},{14400,3,0,15},{16200,3,1,15},{18000,3,2,15},{21600,4,0,12},{244800,5,0,8},"
        "{259200,6,0,8},{345600,6,1,8},{432000,6,2,8}}");
    it->steps_fired = it->told_level = 1;
    it->next_at_us = at_us + CD_SEC(12600);
    it->due_us[0] = at_us + CD_HOUR(1);
    it->due_us[1] = at_us + CD_HOUR(4);
    it->due_us[2] = at_us + CD_HOUR(72);
}

static void make_event(struct store_item *it)
{
    char digest[2 * SHA256_SIZE + 1];
    hex_encode(it->env->digest, SHA256_SIZE, digest);
    it->event =
        cd_asprintf("{\"channel\":\"mail\",\"class\":\"person\",\"digest\":\"%s\",\"desk\":\"care\","
                    "\"category\":\"billing\","
                    "\"priority\":\"high\",\"team\":\"billing\",\"policy\":\"standard@0000000000000000\"}",
                    digest);
    it->event_kind = "message-received";
    it->actor = "intake";
    it->decision = cd_strdup(decision);
}

/* The first mail of a sender brings a customer along, as it does in the front. */
static void make_customer(struct ceiling *c, struct store_item *it, const struct text_item *who)
{
    unsigned n = (unsigned)strtoul(who->phone + 5, NULL, 10) - 100000000;
    it->handle = cd_asprintf("mail:%s", who->sender);
    it->handle_is_new = uuid_is_nil(&c->customers[n]);
    if (it->handle_is_new)
        c->customers[n] = uuid_new();
    it->customer_id = c->customers[n];
}

/* The acknowledgement, and the owning team told, as config/policies/standard.yaml has it. */
static void make_notes(struct store_item *it)
{
    char id[UUID_TEXT_SIZE];
    uuid_format(&it->env->id, id);
    for (int i = 0; i < 2; i++) {
        struct store_note *n = store_notes_add(&it->notes);
        n->purpose = i ? "escalation" : "acknowledgement";
        n->class = i ? "operational" : "statutory";
        n->transport = "mail";
        n->recipient = cd_strdup(i ? "billing@example.com" : it->rec->email);
        n->language = "en";
        n->payload = i ? cd_strdup("{\"step\":\"receipt\",\"due_us\":0,\"repeat\":0,\"contact\":\"billing\"}") : NULL;
        n->level = i;
        n->life_us = CD_HOUR(i ? 24 : 120);
        n->key = cd_asprintf("%s.%s", i ? "step" : "ack", id);
    }
}

static void make_row(struct ceiling *c, struct row *r, uint64_t i)
{
    struct store_item *it = &r->item;
    struct text_item who;
    text_item(&c->text, "ceiling.", i, &who);
    snprintf(who.key + strlen(who.key), sizeof who.key - strlen(who.key), "@load.example");
    /* senders of its own: their customers are new to the database, and of this run */
    memmove(who.sender + strlen(c->prefix), who.sender, strlen(who.sender) + 1);
    memcpy(who.sender, c->prefix, strlen(c->prefix));
    memset(it, 0, sizeof *it);
    make_message(c, r, i, &who);
    it->env = r->env;
    it->rec = r->rec;
    keys_ledger(it->env, it->ukey);
    it->outcome = OUT_NEW;
    it->is_new = true;
    it->complaint_id = it->env->id;
    ref_new(it->ref);
    it->desk = "care";
    it->channel = "mail";
    it->category = it->team = "billing";
    it->priority = "high";
    it->policy_version = cd_strdup("standard@0000000000000000");
    it->calendar = "always";
    it->language = "en";
    it->tags = cd_strdup("{double-charge,invoice,refund}");
    it->desks = cd_strdup("{care}");
    it->recipients = cd_strdup("{care@example.com}");
    make_event(it);
    make_customer(c, it, &who);
    make_steps(it, it->env->received_at_us);
    keys_thread(who.key, it->keys[it->nkeys++]);
    make_notes(it);
}

/* ---- one batch after the other ---- */

static void drop_rows(struct ceiling *c)
{
    for (size_t i = 0; i < c->run.n; i++) {
        store_item_clear(&c->rows[i].item);
        envelope_free(&c->rows[i].env);
        record_free(&c->rows[i].rec);
    }
    c->run.n = 0;
}

static void on_written(struct pg_unit *u, enum pg_status s);

static void write_batch(struct ceiling *c)
{
    for (c->run.n = 0; c->run.n < c->batch && c->written + c->run.n < c->count; c->run.n++) {
        make_row(c, &c->rows[c->run.n], c->written + c->run.n);
        c->run.items[c->run.n] = &c->rows[c->run.n].item;
    }
    c->batch_begin_us = clock_mono_us();
    pg_begin(c->pg, &c->run.unit, on_written);
    run_write(&c->run, c->pg);
    pg_send(c->pg);
}

static void on_written(struct pg_unit *u, enum pg_status s)
{
    struct ceiling *c = (struct ceiling *)((char *)u - offsetof(struct ceiling, run.unit));
    if (s != PG_OK)
        fprintf(stderr, "complaint-ceiling: %s %s\n", u->sqlstate, u->error);
    c->failed = s != PG_OK;
    for (size_t i = 0; i < c->run.n; i++)
        report_add(&c->report, c->failed ? REPORT_ERROR : REPORT_ACCEPTED, c->batch_begin_us, u->error);
    c->written += c->run.n;
    drop_rows(c);
    if (c->failed || c->written == c->count)
        event_base_loopbreak(c->base);
    else
        write_batch(c);
}

static void on_ready(void *arg)
{
    struct ceiling *c = arg;
    if (c->started)
        return;
    c->started = true;
    c->report.begin_us = clock_mono_us();
    write_batch(c);
}

static void run_all(struct ceiling *c, const char *dsn)
{
    char more[80];
    struct timeval limit = {3600, 0};
    snprintf(c->prefix, sizeof c->prefix, "c%llu.", (unsigned long long)(c->text.seed % 1000000000));
    c->base = event_base_new();
    c->rows = cd_alloc(c->batch * sizeof *c->rows);
    c->customers = cd_alloc(c->text.senders * sizeof *c->customers);
    report_begin(&c->report, c->count, NULL);
    c->pg = pg_new(c->base, &(struct pg_options){
                                .name = "ceiling",
                                .dsn = dsn,
                                .statements = batch_sql_all(),
                                .max_in_flight = 2,
                                .reconnect_max_us = CD_SEC(1),
                                .ready = on_ready,
                                .arg = c});
    event_base_loopexit(c->base, &limit);
    event_base_dispatch(c->base);
    pg_free(&c->pg);
    snprintf(more, sizeof more, ",\"batch\":%zu,\"size\":%zu", c->batch, c->text.size);
    report_end(&c->report, more);
    free(c->rows);
    free(c->customers);
    event_base_free(c->base);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"dsn", 1, NULL, 'd'},
                                            {"count", 1, NULL, 'n'},
                                            {"batch", 1, NULL, 'b'},
                                            {"size", 1, NULL, 's'},
                                            {"seed", 1, NULL, 'e'},
                                            {"senders", 1, NULL, 'w'},
                                            {0}};
    struct ceiling c = {
        .batch = 50, .count = 10000, .text = {.seed = 1, .size = 1500, .senders = TEXT_SENDERS}};
    const char *dsn = NULL;
    int opt;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        unsigned long v = optarg ? strtoul(optarg, NULL, 10) : 0;
        if (opt == 'd')
            dsn = optarg;
        else if (opt == 'n')
            c.count = v;
        else if (opt == 'b')
            c.batch = v;
        else if (opt == 's')
            c.text.size = v;
        else if (opt == 'e')
            c.text.seed = v;
        else if (opt == 'w')
            c.text.senders = (unsigned)v;
    }
    if (!dsn || !c.count || c.batch < 1 || c.batch > RUN_MAX || c.text.senders < 1 ||
        c.text.senders > 100000000) {
        fprintf(stderr,
                "usage: complaint-ceiling --dsn DSN [--count N] [--batch 1..%d] [--size BYTES] [--seed N] "
                "[--senders N]\n",
                RUN_MAX);
        return 2;
    }
    run_all(&c, dsn);
    return c.failed;
}
