#pragma once
/* One asynchronous connection to PostgreSQL on the loop, in pipeline mode, with its statements prepared when it opens. Work is
 * sent in units: a few statements and one Sync, which is one transaction unless the unit opens its own. Units are answered in order. */
#include <event2/event.h>
#include <libpq-fe.h>

#include "daemon/core/buf.h"
#include "daemon/core/uuid.h"

/* ---- parameters, binary where it matters ---- */

#define PG_MAX_PARAMS 32
struct pg_params {
    struct buf data;
    size_t at[PG_MAX_PARAMS];
    int len[PG_MAX_PARAMS]; /* -1: NULL */
    int format[PG_MAX_PARAMS];
    int n;
    size_t array_header; /* of the array that is open */
    uint32_t array_count;
    bool array_null, array_values; /* has one, has something else */
};
enum pg_oid { PG_BOOL = 16, PG_BYTEA = 17, PG_INT4 = 23, PG_TEXT = 25, PG_UUID = 2950, PG_TIMESTAMPTZ = 1184 };

void pg_params_init(struct pg_params *p, size_t cap);
void pg_params_free(struct pg_params *p);
void pg_params_reset(struct pg_params *p); /* for the next statement; keeps the memory and a failure */
void pg_param_text(struct pg_params *p, const char *s); /* NULL allowed */
void pg_param_int(struct pg_params *p, int64_t v);      /* as text: the statement casts */
void pg_param_uuid(struct pg_params *p, const struct uuid *u);
void pg_param_bytes(struct pg_params *p, const void *b, size_t n);
void pg_array_begin(struct pg_params *p, enum pg_oid element);
void pg_array_end(struct pg_params *p);
/* A NULL instead of an array that has nothing but NULLs, or is empty. */
void pg_array_end_or_null(struct pg_params *p);
/* The parameter between them is one pg_el_…, not an array. */
void pg_value_begin(struct pg_params *p);
void pg_value_end(struct pg_params *p);
void pg_el_null(struct pg_params *p);
void pg_el_text(struct pg_params *p, const char *s); /* NULL allowed */
void pg_el_bytes(struct pg_params *p, const void *b, size_t n);
void pg_el_uuid(struct pg_params *p, const struct uuid *u); /* nil is NULL */
void pg_el_bool(struct pg_params *p, bool v);
void pg_el_int4(struct pg_params *p, int32_t v);
void pg_el_time(struct pg_params *p, int64_t us); /* 0 is NULL */

/* ---- units ---- */

struct pg_stmt {
    const char *name, *sql; /* static */
};

enum pg_status {
    PG_OK,
    PG_LOST,        /* the connection went: whether it was committed is unknown */
    PG_TEMPORARY,   /* try again: lock time-outs, serialization, resources, read-only */
    PG_RACE,        /* CD001, CD404, unique violation: decide anew and try again */
    PG_POISON,      /* this data will never be taken (classes 22, 23, 42 and unknown ones) */
    PG_NOT_DURABLE, /* committed here, but a standby did not confirm (SQLSTATE 01000): not to be acknowledged */
};

#define PG_UNIT_MAX 32
struct pg_unit;
typedef void (*pg_unit_done)(struct pg_unit *u, enum pg_status s);
/* Embed it; valid until `done`, which is called exactly once, never from inside pg_send(). */
struct pg_unit {
    pg_unit_done done;
    PGresult *result[PG_UNIT_MAX]; /* freed after `done` */
    int nsteps;                    /* results expected; set by pg_send */
    char sqlstate[6];
    char error[256]; /* first line of the server's message */
    /* private */
    int got;
    enum pg_status status;
    int64_t sent_us;
    struct pg_unit *next;
};

struct pg;
struct pg_options {
    const char *name;   /* for logs: "intake" */
    const char *dsn;
    const char *setup;  /* statements for the beginning of a connection, after those of all; borrowed; NULL: none */
    const struct pg_stmt *const *statements; /* NULL-terminated; prepared at connect */
    unsigned max_in_flight; /* units */
    int64_t reconnect_max_us;
    int64_t answer_limit_us; /* a unit without an answer for so long means a dead connection; 0: 30 s */
    void (*ready)(void *arg); /* connected, or a place for a unit became free */
    void *arg;
};
struct pg *pg_new(struct event_base *base, const struct pg_options *o);
void pg_free(struct pg **c); /* open units are answered with PG_LOST */
bool pg_usable(const struct pg *c); /* connected and prepared */
bool pg_can_send(const struct pg *c);

/* Starts a unit: pg_begin, pg_step for each statement (parameters are copied to the connection's buffer), pg_send. Only when
 * pg_can_send(). A step whose parameters went over their cap makes the whole unit fail with PG_POISON. A step may be a statement of `statements` or, with stmt->name "", an unprepared one. */
void pg_begin(struct pg *c, struct pg_unit *u, pg_unit_done done);
void pg_step(struct pg *c, const struct pg_stmt *s, const struct pg_params *p);
void pg_send(struct pg *c);

/* Field access without surprises: NULL when out of range or SQL NULL. */
const char *pg_text(const PGresult *r, int row, int col);
int64_t pg_i64(const PGresult *r, int row, int col, int64_t otherwise);
int pg_uuid(const PGresult *r, int row, int col, struct uuid *ret);
