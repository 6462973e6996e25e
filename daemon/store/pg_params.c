/* Parameters in PostgreSQL's binary format: big-endian, arrays with one dimension and lower bound 1. */
#include "daemon/store/pg.h"

#include <stdio.h>
#include <string.h>

#define PG_EPOCH_US INT64_C(946684800000000) /* 2000-01-01 */

static void be32(struct buf *b, uint32_t v)
{
    uint8_t p[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    buf_append(b, p, 4);
}

static void be64(struct buf *b, uint64_t v)
{
    be32(b, (uint32_t)(v >> 32));
    be32(b, (uint32_t)v);
}

void pg_params_init(struct pg_params *p, size_t cap)
{
    memset(p, 0, sizeof *p);
    buf_init(&p->data, cap);
}

void pg_params_free(struct pg_params *p)
{
    buf_free(&p->data);
    p->n = 0;
}

void pg_params_reset(struct pg_params *p)
{
    bool failed = p->data.failed;
    buf_reset(&p->data);
    p->data.failed = failed;
    p->n = 0;
}

static void begin(struct pg_params *p, int format)
{
    cd_assert(p->n < PG_MAX_PARAMS);
    p->at[p->n] = p->data.len;
    p->format[p->n] = format;
}

static void end(struct pg_params *p)
{
    p->len[p->n] = (int)(p->data.len - p->at[p->n]);
    buf_append_char(&p->data, '\0'); /* text parameters are C strings */
    p->n++;
}

static void add(struct pg_params *p, int format, const void *v, size_t n)
{
    begin(p, format);
    if (!v) {
        p->len[p->n++] = -1;
        return;
    }
    buf_append(&p->data, v, n);
    end(p);
}

void pg_param_text(struct pg_params *p, const char *s)
{
    add(p, 0, s, s ? strlen(s) : 0);
}

void pg_param_int(struct pg_params *p, int64_t v)
{
    char s[24];
    snprintf(s, sizeof s, "%lld", (long long)v);
    pg_param_text(p, s);
}

void pg_param_uuid(struct pg_params *p, const struct uuid *u)
{
    char s[UUID_TEXT_SIZE];
    uuid_format(u, s);
    pg_param_text(p, s);
}

void pg_param_bytes(struct pg_params *p, const void *b, size_t n)
{
    add(p, 1, b, n);
}

void pg_array_begin(struct pg_params *p, enum pg_oid element)
{
    begin(p, 1);
    p->array_header = p->data.len;
    p->array_count = 0;
    p->array_null = p->array_values = false;
    be32(&p->data, 1); /* dimensions */
    be32(&p->data, 0); /* has NULLs, set at the end */
    be32(&p->data, (uint32_t)element);
    be32(&p->data, 0); /* count, set at the end */
    be32(&p->data, 1); /* lower bound */
}

void pg_array_end(struct pg_params *p)
{
    if (!p->data.failed) {
        uint8_t *h = p->data.data + p->array_header;
        h[7] = p->array_null;
        h[12] = (uint8_t)(p->array_count >> 24);
        h[13] = (uint8_t)(p->array_count >> 16);
        h[14] = (uint8_t)(p->array_count >> 8);
        h[15] = (uint8_t)p->array_count;
        if (p->array_count == 0)
            h[3] = 0, p->data.len = p->array_header + 12; /* an empty array has no dimension */
    }
    end(p);
}

void pg_array_end_or_null(struct pg_params *p)
{
    if (p->array_values || p->data.failed) {
        pg_array_end(p);
        return;
    }
    p->data.len = p->at[p->n];
    p->len[p->n++] = -1;
}

void pg_value_begin(struct pg_params *p)
{
    begin(p, 1);
    p->array_count = 0;
    p->array_null = false;
}

void pg_value_end(struct pg_params *p)
{
    cd_assert(p->array_count == 1);
    if (p->array_null || p->data.failed) {
        p->len[p->n++] = -1;
        return;
    }
    p->at[p->n] += 4; /* behind the length that only elements have */
    end(p);
}

static void element(struct pg_params *p, const void *v, size_t n)
{
    be32(&p->data, (uint32_t)n);
    buf_append(&p->data, v, n);
    p->array_count++;
    p->array_values = true;
}

void pg_el_null(struct pg_params *p)
{
    be32(&p->data, 0xffffffffu);
    p->array_count++;
    p->array_null = true;
}

void pg_el_text(struct pg_params *p, const char *s)
{
    if (s)
        element(p, s, strlen(s));
    else
        pg_el_null(p);
}

void pg_el_bytes(struct pg_params *p, const void *b, size_t n)
{
    element(p, b, n);
}

void pg_el_uuid(struct pg_params *p, const struct uuid *u)
{
    if (uuid_is_nil(u))
        pg_el_null(p);
    else
        element(p, u->b, sizeof u->b);
}

void pg_el_bool(struct pg_params *p, bool v)
{
    uint8_t b = v;
    element(p, &b, 1);
}

void pg_el_int4(struct pg_params *p, int32_t v)
{
    be32(&p->data, 4);
    be32(&p->data, (uint32_t)v);
    p->array_count++;
    p->array_values = true;
}

void pg_el_time(struct pg_params *p, int64_t us)
{
    if (us == 0) {
        pg_el_null(p);
        return;
    }
    be32(&p->data, 8);
    be64(&p->data, (uint64_t)(us - PG_EPOCH_US));
    p->array_count++;
    p->array_values = true;
}
