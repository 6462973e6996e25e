/* From items to statements: rows for each table (tables.c), in the order in which every instance writes them, and a statement more for
 * what only some items have. Parameters are built, copied to the connection's buffer and freed one statement at a time. */
#include "daemon/store/run.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "daemon/store/batch_sql.h"
#include "daemon/store/tables.h"

/* The largest mail (mail.max_message, config/options.c) with its decoded text fits several times. */
#define PARAMS_CAP CD_MIB(192)

typedef bool (*item_test)(const struct store_item *it);

static bool is_any(const struct store_item *it CD_UNUSED)
{
    return true;
}

static bool is_first(const struct store_item *it) /* no receipt yet */
{
    return !it->env->from_pending;
}

static bool was_pending(const struct store_item *it)
{
    return it->env->from_pending;
}

static bool is_new(const struct store_item *it)
{
    return it->is_new;
}

static bool is_bounce(const struct store_item *it)
{
    return !uuid_is_nil(&it->bounce_of);
}

static bool is_attached(const struct store_item *it)
{
    return !it->is_new && !uuid_is_nil(&it->complaint_id) && !is_bounce(it);
}

static bool is_automatic(const struct store_item *it)
{
    return it->automatic;
}

static bool is_reached(const struct store_item *it)
{
    return it->reached;
}

static bool has_new_handle(const struct store_item *it)
{
    return it->handle_is_new;
}

static bool has_attachments(const struct store_item *it)
{
    return it->attachments != NULL;
}

static bool has_scan(const struct store_item *it)
{
    return it->scan != NULL;
}

static bool has_links(const struct store_item *it)
{
    return it->nlinks > 0;
}

/* ---- plain inserts ---- */

struct rows {
    struct table_row *v;
    size_t n;
};

/* A row for each item that passes; `count` gives how many, NULL: one. */
static struct rows collect(const struct run *r, item_test want, size_t (*count)(const struct store_item *it))
{
    struct rows l = {0};
    size_t max = 0;
    for (size_t i = 0; i < r->n; i++)
        max += count ? count(r->items[i]) : 1;
    l.v = cd_alloc((max + 1) * sizeof *l.v);
    for (size_t i = 0; i < r->n; i++) {
        size_t k = want(r->items[i]) ? (count ? count(r->items[i]) : 1) : 0;
        for (size_t j = 0; j < k; j++)
            l.v[l.n++] = (struct table_row){r->items[i], j};
    }
    return l;
}

static size_t key_count(const struct store_item *it)
{
    return it->nkeys;
}

static size_t note_count(const struct store_item *it)
{
    return it->notes.n;
}

typedef int (*row_order)(const void *a, const void *b);

static int by_ukey(const void *a, const void *b)
{
    return memcmp(((const struct table_row *)a)->it->ukey, ((const struct table_row *)b)->it->ukey, LEDGER_KEY_SIZE);
}

static int by_handle(const void *a, const void *b)
{
    return strcmp(((const struct table_row *)a)->it->handle, ((const struct table_row *)b)->it->handle);
}

static int by_key(const void *a, const void *b)
{
    const struct table_row *x = a, *y = b;
    return memcmp(x->it->keys[x->k], y->it->keys[y->k], LEDGER_KEY_SIZE);
}

/* Sorted, each key once: where several items of the run bring the same handle or thread key, they agree on whose it is (inflight.h). */
static void sort_unique(struct rows *l, row_order order)
{
    size_t n = 0;
    if (l->n < 2)
        return;
    qsort(l->v, l->n, sizeof *l->v, order);
    for (size_t i = 0; i < l->n; i++)
        if (i == 0 || order(&l->v[i], &l->v[n - 1]) != 0)
            l->v[n++] = l->v[i];
    l->n = n;
}

static void insert(struct pg *pg, enum table t, const struct rows *l)
{
    struct pg_params p;
    if (!l->n)
        return;
    pg_params_init(&p, PARAMS_CAP);
    table_insert(pg, t, l->v, l->n, &p);
    pg_params_free(&p);
}

static void insert_all(const struct run *r, struct pg *pg, enum table t, item_test want, size_t (*count)(const struct store_item *it), row_order order)
{
    struct rows l = collect(r, want, count);
    if (order)
        sort_unique(&l, order);
    insert(pg, t, &l);
    free(l.v);
}

static void insert_customers(const struct run *r, struct pg *pg)
{
    struct rows l = collect(r, has_new_handle, NULL);
    sort_unique(&l, by_handle);
    insert(pg, TABLE_HANDLES, &l);
    insert(pg, TABLE_CUSTOMERS, &l);
    free(l.v);
}

/* ---- the others ---- */

static size_t count_if(const struct run *r, item_test want)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++)
        n += want(r->items[i]);
    return n;
}

#define EACH(r, it, want)                                                                                                                  \
    for (size_t each_i = 0; each_i < (r)->n; each_i++)                                                                                     \
        if (((it) = (r)->items[each_i]) && want(it))

static void step_attach(struct pg *pg, const struct run *r, struct pg_params *p)
{
    const struct store_item *it;
    pg_array_begin(p, PG_UUID);
    EACH(r, it, is_attached) pg_el_uuid(p, &it->complaint_id);
    pg_array_end(p);
    pg_array_begin(p, PG_UUID);
    EACH(r, it, is_attached) pg_el_uuid(p, &it->env->id);
    pg_array_end(p);
    pg_array_begin(p, PG_TIMESTAMPTZ);
    EACH(r, it, is_attached) pg_el_time(p, it->env->received_at_us);
    pg_array_end(p);
    pg_array_begin(p, PG_TEXT);
    EACH(r, it, is_attached) pg_el_text(p, it->actor);
    pg_array_end(p);
    pg_array_begin(p, PG_TEXT);
    EACH(r, it, is_attached) pg_el_text(p, it->event_kind);
    pg_array_end(p);
    pg_array_begin(p, PG_TEXT);
    EACH(r, it, is_attached) pg_el_text(p, it->event);
    pg_array_end(p);
    pg_step(pg, &batch_sql_attach, p);
}

/* ---- what comes back ---- */

static char *tasks_json(const struct store_notes *l)
{
    json_t *list = json_array();
    for (size_t i = 0; i < l->n; i++) {
        const struct store_note *n = &l->v[i];
        char id[UUID_TEXT_SIZE];
        uuid_format(&n->id, id);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:I, s:s}", "id", id, "purpose", n->purpose, "class", n->class,
                                              "transport", n->transport, "recipient", n->recipient, "language", n->language, "payload",
                                              json_loads(n->payload, 0, NULL), "life", (json_int_t)(n->life_us / CD_SEC(1)), "key", n->key));
    }
    char *text = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    return text;
}

static void step_bounces(struct pg *pg, const struct run *r, struct pg_params *p)
{
    const struct store_item *it;
#define COLUMN(type, add)                                                                                                                  \
    pg_array_begin(p, type);                                                                                                               \
    EACH(r, it, is_bounce) add;                                                                                                            \
    pg_array_end(p);
    COLUMN(PG_UUID, pg_el_uuid(p, &it->bounce_of))
    COLUMN(PG_UUID, pg_el_uuid(p, &it->complaint_id))
    COLUMN(PG_UUID, pg_el_uuid(p, &it->env->id))
    COLUMN(PG_TIMESTAMPTZ, pg_el_time(p, it->env->received_at_us))
    COLUMN(PG_TEXT, pg_el_text(p, it->actor))
    COLUMN(PG_TEXT, pg_el_text(p, it->event_kind))
    COLUMN(PG_TEXT, pg_el_text(p, it->event))
    COLUMN(PG_TEXT, pg_el_text(p, it->bounce))
    pg_array_begin(p, PG_TEXT);
    EACH(r, it, is_bounce) {
        char *tasks = tasks_json(&it->tasks);
        pg_el_text(p, tasks);
        free(tasks);
    }
    pg_array_end(p);
    COLUMN(PG_INT4, pg_el_int4(p, (int32_t)(it->task_delay_us / 1000)))
#undef COLUMN
    pg_step(pg, &batch_sql_bounces, p);
}

static void step_automatic(struct pg *pg, const struct run *r, struct pg_params *p)
{
    char secs[32];
    snprintf(secs, sizeof secs, "%.3f", (double)r->cfg->loops_storm_window_us / 1e6);
    pg_param_int(p, (int64_t)count_if(r, is_automatic));
    pg_param_int(p, (int64_t)r->cfg->loops_storm_mails);
    pg_param_text(p, secs);
    pg_step(pg, &batch_sql_automatic, p);
}

static void step_answers(struct pg *pg, const struct run *r)
{
    const struct answers_taken *t = r->answers;
    struct pg_params p;
    pg_params_init(&p, PARAMS_CAP);
    pg_array_begin(&p, PG_TEXT);
    for (size_t i = 0; i < t->n; i++)
        pg_el_text(&p, t->v[i].address);
    pg_array_end(&p);
    pg_array_begin(&p, PG_INT4);
    for (size_t i = 0; i < t->n; i++)
        pg_el_int4(&p, (int32_t)CD_MIN(t->v[i].n, (uint64_t)INT32_MAX));
    pg_array_end(&p);
    pg_param_int(&p, (int64_t)r->cfg->loops_answers_per_address);
    pg_step(pg, &batch_sql_answered, &p);
    pg_params_free(&p);
}

static void step_reached(struct pg *pg, const struct run *r, struct pg_params *p)
{
    const struct store_item *it;
    pg_array_begin(p, PG_TEXT);
    EACH(r, it, is_reached) pg_el_text(p, it->handle);
    pg_array_end(p);
    pg_step(pg, &batch_sql_reached, p);
}

static void step_attachments(struct pg *pg, const struct run *r, struct pg_params *p)
{
    const struct store_item *it;
    pg_array_begin(p, PG_TEXT);
    EACH(r, it, has_attachments) pg_el_text(p, it->attachments);
    pg_array_end(p);
    pg_step(pg, &batch_sql_attachments, p);
}

static void step_links(struct pg *pg, const struct run *r, struct pg_params *p)
{
    const struct store_item *it;
    pg_array_begin(p, PG_UUID);
    EACH(r, it, has_links) for (size_t l = 0; l < it->nlinks; l++) pg_el_uuid(p, &it->complaint_id);
    pg_array_end(p);
    pg_array_begin(p, PG_UUID);
    EACH(r, it, has_links) for (size_t l = 0; l < it->nlinks; l++) pg_el_uuid(p, &it->links[l].other);
    pg_array_end(p);
    pg_array_begin(p, PG_TEXT);
    EACH(r, it, has_links) for (size_t l = 0; l < it->nlinks; l++) pg_el_text(p, it->links[l].kind);
    pg_array_end(p);
    pg_step(pg, &batch_sql_links, p);
}

static void step_settle(struct pg *pg, const struct run *r, struct pg_params *p)
{
    const struct store_item *it;
    pg_array_begin(p, PG_BYTEA);
    EACH(r, it, was_pending) pg_el_bytes(p, it->ukey, LEDGER_KEY_SIZE);
    pg_array_end(p);
    pg_array_begin(p, PG_UUID);
    EACH(r, it, was_pending) pg_el_uuid(p, &it->env->id);
    pg_array_end(p);
    pg_array_begin(p, PG_TEXT);
    EACH(r, it, was_pending) pg_el_text(p, outcome_name(it->outcome));
    pg_array_end(p);
    pg_array_begin(p, PG_UUID);
    EACH(r, it, was_pending) pg_el_uuid(p, &it->complaint_id);
    pg_array_end(p);
    pg_step(pg, &batch_sql_settle, p);
}

static void step_known(struct pg *pg, const struct run *r, struct pg_params *p)
{
    pg_array_begin(p, PG_BYTEA);
    for (size_t i = 0; i < r->n; i++)
        for (size_t d = 0; d < r->items[i]->env->desks.n; d++)
            pg_el_bytes(p, r->items[i]->ukey, LEDGER_KEY_SIZE);
    pg_array_end(p);
    pg_array_begin(p, PG_TEXT);
    for (size_t i = 0; i < r->n; i++)
        for (size_t d = 0; d < r->items[i]->env->desks.n; d++)
            pg_el_text(p, r->items[i]->env->desks.v[d]);
    pg_array_end(p);
    pg_step(pg, &batch_sql_known, p);
}

typedef void (*add_step)(struct pg *pg, const struct run *r, struct pg_params *p);

static void step(struct pg *pg, const struct run *r, item_test want, add_step add)
{
    struct pg_params p;
    if (!count_if(r, want))
        return;
    pg_params_init(&p, PARAMS_CAP);
    add(pg, r, &p);
    pg_params_free(&p);
}

enum run_kind run_kind_of(const struct store_item *it)
{
    return it->known ? RUN_KNOWN : it->pending ? RUN_PENDING : RUN_STORE;
}

static void write_store(const struct run *r, struct pg *pg)
{
    step(pg, r, was_pending, step_settle);
    insert_all(r, pg, TABLE_RECEIPTS, is_first, NULL, by_ukey);
    insert_customers(r, pg);
    insert_all(r, pg, TABLE_KEYS, is_any, key_count, by_key);
    insert_all(r, pg, TABLE_COMPLAINT, is_new, NULL, NULL);
    insert_all(r, pg, TABLE_MESSAGE, is_any, NULL, NULL);
    insert_all(r, pg, TABLE_SCANS, has_scan, NULL, NULL);
    insert_all(r, pg, TABLE_EVENT, is_new, NULL, NULL);
    insert_all(r, pg, TABLE_TIMERS, is_new, NULL, NULL);
    insert_all(r, pg, TABLE_NOTIFICATIONS, is_any, note_count, NULL);
    step(pg, r, is_reached, step_reached);
    step(pg, r, is_bounce, step_bounces);
    step(pg, r, is_attached, step_attach);
    step(pg, r, has_attachments, step_attachments);
    step(pg, r, has_links, step_links);
    step(pg, r, is_automatic, step_automatic); /* last: all instances wait for this row */
}

void run_write(const struct run *r, struct pg *pg)
{
    switch (r->kind) {
    case RUN_STORE:
        write_store(r, pg);
        break;
    case RUN_PENDING:
        insert_all(r, pg, TABLE_RECEIPTS, is_any, NULL, by_ukey);
        insert_all(r, pg, TABLE_PENDING, is_any, NULL, NULL);
        break;
    case RUN_KNOWN:
        step(pg, r, is_any, step_known);
        break;
    }
    if (r->answers)
        step_answers(pg, r);
    if (r->asks_time)
        pg_step(pg, &batch_sql_time, NULL);
}
