/* The asynchronous connection. States: WAITING (back-off) -> CONNECTING -> SETTING_UP -> PREPARING -> READY; any fault closes the
 * connection, answers the open units with PG_LOST and goes back to WAITING. Nothing here blocks, except that libpq looks a host name
 * up when it connects: name hosts by address (hostaddr) where the resolver may be slow. */
#include "daemon/store/pg.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/core/str.h"

#define CONNECT_TIMEOUT_US CD_SEC(5)
#define BACKOFF_FIRST_US CD_MSEC(50)
#define ANSWER_LIMIT_US CD_SEC(30)

enum state { WAITING, CONNECTING, SETTING_UP, PREPARING, READY };

struct pg {
    struct event_base *base;
    struct pg_options o;
    char *dsn;
    PGconn *conn;
    enum state state;
    struct event *io, *timer;
    int fd;
    short want;
    int64_t backoff_us;
    unsigned in_flight;
    int prepares_left;
    bool not_durable, closing, announced_down;
    bool broken; /* a send failed: libpq may have closed the socket, so nothing more will be heard; the timer drops it */
    struct pg_unit *head, *tail; /* open units, oldest first */
    struct pg_unit *building;
};

static void on_io(evutil_socket_t fd, short what, void *arg);
static void read_results(struct pg *c);

static void set_timer(struct pg *c, int64_t us)
{
    struct timeval tv = {us / 1000000, us % 1000000};
    event_add(c->timer, &tv);
}

/* To be dropped from the loop, not from inside the call that noticed. */
static void give_up(struct pg *c)
{
    c->broken = true;
    set_timer(c, 0);
}

static void watch(struct pg *c, short want)
{
    int fd = PQsocket(c->conn);
    if (fd < 0) {
        give_up(c);
        return;
    }
    if (c->io && fd == c->fd && want == c->want)
        return;
    if (c->io)
        event_free(c->io);
    c->fd = fd;
    c->want = want;
    c->io = event_new(c->base, fd, (short)(want | EV_PERSIST), on_io, c);
    cd_assert(c->io && event_add(c->io, NULL) == 0);
}

/* While units are open the timer waits for the oldest one's limit. */
static void set_answer_timer(struct pg *c)
{
    if (c->broken)
        return;
    if (c->head)
        set_timer(c, CD_MAX(c->head->sent_us + c->o.answer_limit_us - clock_mono_us(), 0));
    else
        event_del(c->timer);
}

static void answer_head(struct pg *c)
{
    struct pg_unit *u = c->head;
    c->head = u->next;
    if (!c->head)
        c->tail = NULL;
    c->in_flight--;
    u->done(u, u->status);
    /* `u` may be gone: its results were moved out before, see finish_unit */
}

static void finish_unit(struct pg *c)
{
    struct pg_unit *u = c->head;
    PGresult *results[PG_UNIT_MAX];
    int n = u->got;
    memcpy(results, u->result, sizeof results);
    answer_head(c);
    for (int i = 0; i < n; i++)
        PQclear(results[i]);
}

static void drop(struct pg *c, const char *why)
{
    if (c->conn) {
        if (!c->announced_down)
            log_event(LOG_L_ERROR, EV_STORE_CONNECTION_LOST, "connection=%s error=%s retry_in_ms=%lld", c->o.name, log_quote(why),
                      (long long)(c->backoff_us / 1000));
        c->announced_down = true;
        metrics_add(M_STORE_LOST, !c->closing);
    }
    if (c->io)
        event_free(c->io);
    c->io = NULL;
    PQfinish(c->conn);
    c->conn = NULL;
    c->state = WAITING;
    c->not_durable = c->broken = false;
    if (!c->closing) {
        set_timer(c, c->backoff_us);
        c->backoff_us = CD_MIN(c->backoff_us * 2, c->o.reconnect_max_us);
    }
    while (c->head) {
        c->head->status = PG_LOST;
        snprintf(c->head->error, sizeof c->head->error, "connection lost");
        finish_unit(c);
    }
}

/* The first line of a libpq message, which may have several. */
static void first_line(const char *message, char *out, size_t size)
{
    snprintf(out, size, "%.*s", (int)strcspn(message, "\n"), message);
}

static void fault(struct pg *c)
{
    char text[256];
    first_line(PQerrorMessage(c->conn), text, sizeof text);
    drop(c, text[0] ? text : "connection closed");
}

static void notice(void *arg, const PGresult *r)
{
    struct pg *c = arg;
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE), *fn = PQresultErrorField(r, PG_DIAG_SOURCE_FUNCTION);
    if (str_eq(state, "01000") && str_eq(fn, "SyncRepWaitForLSN"))
        c->not_durable = true;
    else
        log_event(LOG_L_DEBUG, EV_STORE_NOTICE, "connection=%s sqlstate=%s", c->o.name, state ? state : "-");
}

static void start_connect(struct pg *c)
{
    static const char *const keys[] = {"dbname", "application_name", "client_encoding", "tcp_user_timeout", "keepalives_idle",
                                       "keepalives_interval", "keepalives_count", NULL};
    const char *values[] = {c->dsn, "complaintd", "UTF8", "10000", "10", "5", "3", NULL};
    c->conn = PQconnectStartParams(keys, values, 1);
    cd_assert(c->conn);
    if (PQstatus(c->conn) == CONNECTION_BAD) {
        fault(c);
        return;
    }
    PQsetNoticeReceiver(c->conn, notice, c);
    c->state = CONNECTING;
    set_timer(c, CONNECT_TIMEOUT_US);
    watch(c, EV_WRITE);
}

static void flush(struct pg *c)
{
    int r = PQflush(c->conn);
    if (r < 0)
        fault(c);
    else
        watch(c, (short)(r ? EV_READ | EV_WRITE : EV_READ));
}

static void prepare_all(struct pg *c)
{
    c->state = PREPARING;
    if (!PQenterPipelineMode(c->conn)) {
        fault(c);
        return;
    }
    c->prepares_left = 0;
    for (const struct pg_stmt *const *s = c->o.statements; *s; s++, c->prepares_left++)
        if (!PQsendPrepare(c->conn, (*s)->name, (*s)->sql, 0, NULL)) {
            fault(c);
            return;
        }
    if (!PQpipelineSync(c->conn))
        fault(c);
    else
        flush(c);
}

static void become_ready(struct pg *c)
{
    event_del(c->timer);
    c->state = READY;
    c->backoff_us = BACKOFF_FIRST_US;
    metrics_inc(M_STORE_CONNECTS);
    log_event(c->announced_down ? LOG_L_NOTICE : LOG_L_INFO, EV_STORE_CONNECTED, "connection=%s", c->o.name);
    c->announced_down = false;
    c->o.ready(c->o.arg);
}

static void connected(struct pg *c)
{
    if (PQsetnonblocking(c->conn, 1) != 0) {
        fault(c);
        return;
    }
    c->state = SETTING_UP;
    /* All that the daemon asks goes by keys. A plan made while the tables are small must serve when they are large, and one for
     * partitioned tables is dear to make: so one plan each, of index look-ups and nested loops. */
    static const char base[] = "set synchronous_commit = on; set timezone = 'UTC'; set jit = off; set lock_timeout = '5s'; "
                              "set idle_in_transaction_session_timeout = '30s'; set plan_cache_mode = force_generic_plan; "
                              "set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off";
    char sql[640];
    int n = snprintf(sql, sizeof sql, "%s; %s", base, c->o.setup ? c->o.setup : "");
    cd_assert(n > 0 && (size_t)n < sizeof sql);
    int ok = PQsendQuery(c->conn, sql);
    if (!ok)
        fault(c);
    else
        flush(c);
}

static void poll_connect(struct pg *c)
{
    switch (PQconnectPoll(c->conn)) {
    case PGRES_POLLING_READING:
        c->fd = -1; /* the number may stand for another socket now */
        watch(c, EV_READ);
        break;
    case PGRES_POLLING_WRITING:
        c->fd = -1;
        watch(c, EV_WRITE);
        break;
    case PGRES_POLLING_OK:
        c->fd = -1;
        connected(c);
        break;
    default:
        fault(c);
    }
}

/* SQLSTATE to what can be done about it (classes of the PostgreSQL manual, appendix A). */
static enum pg_status classify(const char *s)
{
    static const char *const temporary[] = {"08", "53", "57", "40", "55", "25", "58", "XX"};
    if (!s)
        return PG_TEMPORARY;
    if (str_eq(s, "CD001") || str_eq(s, "CD404") || str_eq(s, "23505"))
        return PG_RACE;
    for (size_t i = 0; i < ARRAY_LEN(temporary); i++)
        if (strncmp(s, temporary[i], 2) == 0)
            return PG_TEMPORARY;
    return PG_POISON;
}

static void note_error(struct pg *c, struct pg_unit *u, const PGresult *r)
{
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE), *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    u->status = classify(state);
    snprintf(u->sqlstate, sizeof u->sqlstate, "%s", state ? state : "");
    first_line(text ? text : PQerrorMessage(c->conn), u->error, sizeof u->error);
}

static void take_setup_result(struct pg *c, PGresult *r)
{
    ExecStatusType s = PQresultStatus(r);
    if (s == PGRES_FATAL_ERROR) {
        char text[256];
        first_line(PQresultErrorMessage(r), text, sizeof text);
        PQclear(r);
        drop(c, text);
        return;
    }
    PQclear(r);
    if (c->state == PREPARING && s == PGRES_PIPELINE_SYNC)
        become_ready(c);
}

static void take_unit_result(struct pg *c, PGresult *r)
{
    struct pg_unit *u = c->head;
    ExecStatusType s = PQresultStatus(r);
    if (s == PGRES_PIPELINE_SYNC) {
        PQclear(r);
        if (u->status == PG_OK && c->not_durable) {
            u->status = PG_NOT_DURABLE;
            metrics_inc(M_STORE_NOT_DURABLE);
        }
        c->not_durable = false;
        finish_unit(c);
        set_answer_timer(c);
        return;
    }
    if (s == PGRES_FATAL_ERROR && u->status == PG_OK)
        note_error(c, u, r);
    cd_assert(u->got < PG_UNIT_MAX);
    u->result[u->got++] = r;
}

/* Takes whatever is complete. A NULL result ends one statement of the pipeline; two in a row mean nothing more is there. */
static void read_results(struct pg *c)
{
    int nulls = 0;
    while (c->conn && !PQisBusy(c->conn)) {
        PGresult *r = PQgetResult(c->conn);
        if (!r) {
            if (c->state == SETTING_UP) {
                prepare_all(c);
                return;
            }
            if (++nulls == 2)
                break;
            continue;
        }
        nulls = 0;
        if (c->state != READY)
            take_setup_result(c, r);
        else if (c->head)
            take_unit_result(c, r);
        else
            PQclear(r);
    }
    if (c->conn && c->state == READY && pg_can_send(c))
        c->o.ready(c->o.arg);
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
    struct pg *c = arg;
    (void)fd;
    if (c->state == CONNECTING) {
        poll_connect(c);
        return;
    }
    if (what & EV_READ) {
        if (!PQconsumeInput(c->conn)) {
            fault(c);
            return;
        }
        read_results(c);
    }
    if (c->conn && c->state != WAITING && (c->want & EV_WRITE))
        flush(c);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct pg *c = arg;
    (void)fd;
    (void)what;
    if (c->state == WAITING)
        start_connect(c);
    else if (c->state != READY)
        drop(c, "timed out while connecting");
    else if (c->broken)
        fault(c);
    else if (c->head && clock_mono_us() - c->head->sent_us >= c->o.answer_limit_us)
        drop(c, "no answer in time");
    else
        set_answer_timer(c);
}

struct pg *pg_new(struct event_base *base, const struct pg_options *o)
{
    struct pg *c = cd_alloc(sizeof *c);
    c->base = base;
    c->o = *o;
    if (!c->o.answer_limit_us)
        c->o.answer_limit_us = ANSWER_LIMIT_US;
    c->dsn = cd_strdup(o->dsn);
    c->fd = -1;
    c->backoff_us = BACKOFF_FIRST_US;
    c->timer = event_new(base, -1, 0, on_timer, c);
    cd_assert(c->timer);
    set_timer(c, 1); /* from the loop, so that `ready` never runs inside pg_new */
    return c;
}

void pg_free(struct pg **pc)
{
    struct pg *c = *pc;
    if (!c)
        return;
    *pc = NULL;
    c->closing = true;
    c->announced_down = true;
    drop(c, "closing");
    event_free(c->timer);
    free(c->dsn);
    free(c);
}

bool pg_usable(const struct pg *c)
{
    return c && c->state == READY && !c->broken;
}

bool pg_can_send(const struct pg *c)
{
    return c && c->state == READY && !c->broken && c->in_flight < c->o.max_in_flight && !c->building;
}

void pg_begin(struct pg *c, struct pg_unit *u, pg_unit_done done)
{
    cd_assert(pg_can_send(c));
    memset(u->result, 0, sizeof u->result);
    u->done = done;
    u->nsteps = u->got = 0;
    u->status = PG_OK;
    u->sqlstate[0] = u->error[0] = '\0';
    u->next = NULL;
    c->building = u;
}

void pg_step(struct pg *c, const struct pg_stmt *s, const struct pg_params *p)
{
    static const struct pg_stmt refuse = {"", "select 1/0"}; /* so that nothing of the unit is kept */
    const char *values[PG_MAX_PARAMS];
    if (p && p->data.failed) {
        log_event(LOG_L_ERROR, EV_STORE_TOO_LARGE, "connection=%s statement=%s", c->o.name, s->name);
        s = &refuse;
        p = NULL;
    }
    int n = p ? p->n : 0;
    cd_assert(c->building && c->building->nsteps < PG_UNIT_MAX);
    for (int i = 0; i < n; i++)
        values[i] = p->len[i] < 0 ? NULL : (const char *)p->data.data + p->at[i];
    const int *len = p ? p->len : NULL, *format = p ? p->format : NULL;
    int ok = s->name[0] ? PQsendQueryPrepared(c->conn, s->name, n, values, len, format, 0)
                        : PQsendQueryParams(c->conn, s->sql, n, NULL, values, len, format, 0);
    if (!ok) {
        log_event(LOG_L_ERROR, EV_STORE_SEND_FAILED, "connection=%s error=%s", c->o.name, log_quote(PQerrorMessage(c->conn)));
        give_up(c);
    }
    c->building->nsteps++;
}

void pg_send(struct pg *c)
{
    struct pg_unit *u = c->building;
    c->building = NULL;
    if (c->tail)
        c->tail->next = u;
    else
        c->head = u;
    c->tail = u;
    c->in_flight++;
    u->sent_us = clock_mono_us();
    int ok = PQpipelineSync(c->conn), r = ok ? PQflush(c->conn) : -1;
    if (r < 0)
        give_up(c);
    else if (r > 0)
        watch(c, EV_READ | EV_WRITE);
    if (c->head == u)
        set_answer_timer(c);
}

const char *pg_text(const PGresult *r, int row, int col)
{
    return r && row < PQntuples(r) && col < PQnfields(r) && !PQgetisnull(r, row, col) ? PQgetvalue(r, row, col) : NULL;
}

int64_t pg_i64(const PGresult *r, int row, int col, int64_t otherwise)
{
    const char *s = pg_text(r, row, col);
    if (!s)
        return otherwise;
    char *end;
    long long v = strtoll(s, &end, 10);
    return *s && !*end ? v : otherwise;
}

int pg_uuid(const PGresult *r, int row, int col, struct uuid *ret)
{
    const char *s = pg_text(r, row, col);
    *ret = (struct uuid){0};
    return s ? uuid_parse(s, ret) : -1;
}
