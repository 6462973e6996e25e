/* From items to statements: the columns of the batch statement, and a statement more for each kind of row that only some batches have.
 * Parameters are built, copied to the connection's buffer and freed one statement at a time. */
#include "daemon/store/run.h"

#include <string.h>

#include "daemon/store/batch_sql.h"
#include "daemon/store/columns.h"

/* The largest mail (mail.max_message, config/options.c) with its decoded text fits several times. */
#define PARAMS_CAP CD_MIB(192)

static size_t count_if(const struct run *r, bool (*want)(const struct store_item *))
{
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++)
        n += want(r->items[i]);
    return n;
}

static bool is_attached(const struct store_item *it)
{
    return !it->is_new && !uuid_is_nil(&it->complaint_id);
}

static bool has_attachments(const struct store_item *it)
{
    return it->attachments != NULL;
}

static bool has_links(const struct store_item *it)
{
    return it->nlinks > 0;
}

static bool was_pending(const struct store_item *it)
{
    return it->env->from_pending;
}

struct key_row {
    const uint8_t *key;
    const struct store_item *it;
};

static int by_key(const void *a, const void *b)
{
    return memcmp(((const struct key_row *)a)->key, ((const struct key_row *)b)->key, LEDGER_KEY_SIZE);
}

/* The thread keys of the run, each once: the first item of the run that claims a key has it (the front sees to it that later ones
 * belong to the same complaint). */
static void add_thread_keys(struct pg_params *p, const struct run *r)
{
    size_t total = 0, n = 0;
    for (size_t i = 0; i < r->n; i++)
        total += r->items[i]->nkeys;
    struct key_row *rows = cd_alloc((total + 1) * sizeof *rows);
    for (size_t i = 0; i < r->n; i++)
        for (size_t k = 0; k < r->items[i]->nkeys; k++)
            rows[n++] = (struct key_row){r->items[i]->keys[k], r->items[i]};
    qsort(rows, n, sizeof *rows, by_key);
    size_t unique = 0;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || by_key(&rows[i], &rows[i - 1]) != 0)
            rows[unique++] = rows[i];
    pg_array_begin(p, PG_BYTEA);
    for (size_t i = 0; i < unique; i++)
        pg_el_bytes(p, rows[i].key, LEDGER_KEY_SIZE);
    pg_array_end(p);
    pg_array_begin(p, PG_UUID);
    for (size_t i = 0; i < unique; i++)
        pg_el_uuid(p, &rows[i].it->complaint_id);
    pg_array_end(p);
    pg_array_begin(p, PG_UUID);
    for (size_t i = 0; i < unique; i++)
        pg_el_uuid(p, &rows[i].it->env->id);
    pg_array_end(p);
    free(rows);
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

static void step_attachments(struct pg *pg, const struct run *r, struct pg_params *p)
{
    const struct store_item *it;
    pg_array_begin(p, PG_TEXT);
    EACH(r, it, has_attachments) pg_el_text(p, it->attachments);
    pg_array_end(p);
    pg_step(pg, &batch_sql_attachments, p);
}

static bool has_told(const struct store_item *it)
{
    return it->told != NULL;
}

static void step_told(struct pg *pg, const struct run *r, struct pg_params *p)
{
    const struct store_item *it;
    pg_array_begin(p, PG_UUID);
    EACH(r, it, has_told) pg_el_uuid(p, &it->complaint_id);
    pg_array_end(p);
    pg_array_begin(p, PG_TEXT);
    EACH(r, it, has_told) pg_el_text(p, it->told);
    pg_array_end(p);
    pg_step(pg, &batch_sql_told, p);
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

static void step_unpend(struct pg *pg, const struct run *r, struct pg_params *p)
{
    const struct store_item *it;
    pg_array_begin(p, PG_UUID);
    EACH(r, it, was_pending) pg_el_uuid(p, &it->env->id);
    pg_array_end(p);
    pg_step(pg, &batch_sql_unpend, p);
}

typedef void (*add_step)(struct pg *pg, const struct run *r, struct pg_params *p);

static void with_params(struct pg *pg, const struct run *r, add_step add)
{
    struct pg_params p;
    pg_params_init(&p, PARAMS_CAP);
    add(pg, r, &p);
    pg_params_free(&p);
}

static void step_store(struct pg *pg, const struct run *r, struct pg_params *p)
{
    columns_encode(p, (const struct store_item *const *)r->items, r->n);
    add_thread_keys(p, r);
    pg_step(pg, batch_sql_store(), p);
}

static void step_pending(struct pg *pg, const struct run *r, struct pg_params *p)
{
    struct buf frame;
    buf_init(&frame, PARAMS_CAP);
#define PENDING_COLUMN(type, add)                                                                                                          \
    pg_array_begin(p, type);                                                                                                               \
    for (size_t i = 0; i < r->n; i++) {                                                                                                    \
        const struct store_item *it = r->items[i];                                                                                         \
        add;                                                                                                                               \
    }                                                                                                                                      \
    pg_array_end(p);
    PENDING_COLUMN(PG_BYTEA, pg_el_bytes(p, it->ukey, sizeof it->ukey))
    PENDING_COLUMN(PG_UUID, pg_el_uuid(p, &it->env->id))
    PENDING_COLUMN(PG_TEXT, pg_el_text(p, channel_name(it->env->channel)))
    PENDING_COLUMN(PG_TEXT, pg_el_text(p, it->env->key))
    PENDING_COLUMN(PG_BYTEA, pg_el_bytes(p, it->env->digest, sizeof it->env->digest))
    PENDING_COLUMN(PG_TIMESTAMPTZ, pg_el_time(p, it->env->received_at_us))
    PENDING_COLUMN(PG_TEXT, pg_el_text(p, it->env->desks.v[0]))
    PENDING_COLUMN(PG_BYTEA, (buf_reset(&frame), envelope_write(it->env, &frame), p->data.failed |= frame.failed, pg_el_bytes(p, frame.data, frame.len)))
    PENDING_COLUMN(PG_TEXT, pg_el_text(p, it->pending_reason))
#undef PENDING_COLUMN
    buf_free(&frame);
    pg_step(pg, &batch_sql_pending, p);
}

void run_write(const struct run *r, struct pg *pg)
{
    with_params(pg, r, r->pending ? step_pending : step_store);
    if (!r->pending) {
        if (count_if(r, is_attached))
            with_params(pg, r, step_attach);
        if (count_if(r, has_attachments))
            with_params(pg, r, step_attachments);
        if (count_if(r, has_told))
            with_params(pg, r, step_told);
        if (count_if(r, has_links))
            with_params(pg, r, step_links);
        if (count_if(r, was_pending))
            with_params(pg, r, step_unpend);
    }
}
