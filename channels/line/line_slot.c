/* Reply slots: each request's place in the queue of its session, and how an answer gets into it. An outcome from outside finds its slot
 * by {slot, generation}, so that one for a session that has gone is a counted no-op. A slot belongs to its session's queue. */
#include "channels/line/line_session.h"
#include "channels/line/line_verbs.h"
#include "daemon/core/err.h"
#include "daemon/core/metrics.h"

struct line_slot *line_slot_new(struct line_session *s)
{
    struct line_slot *slot = cd_alloc(sizeof *slot);
    slot->session = s;
    buf_init(&slot->text, LINE_MAX_ANSWER);
    TAILQ_INSERT_TAIL(&s->queue, slot, link);
    s->nqueue++;
    return slot;
}

void line_slot_free(struct line_slot *slot)
{
    struct line_session *s = slot->session;
    if (slot->waiting)
        slots_release(s->server->slots, slot->ack);
    s->nreads -= slot->read;
    TAILQ_REMOVE(&s->queue, slot, link);
    s->nqueue--;
    buf_free(&slot->text);
    free(slot);
}

int line_slot_wait(struct line_slot *slot)
{
    int r = slots_take(slot->session->server->slots, slot, &slot->ack);
    if (r < 0)
        return r;
    slot->ack.channel = CH_LINE;
    slot->waiting = true;
    return 0;
}

void line_slot_cancel(struct line_slot *slot)
{
    slots_release(slot->session->server->slots, slot->ack);
    slot->waiting = false;
}

static void slot_done(struct line_slot *slot)
{
    if (slot->text.failed) {
        buf_reset(&slot->text);
        json_t *body =
            line_error_body("too-large", "the answer is over the limit: ask for less", NULL, false);
        line_put_err(&slot->text, body);
        json_decref(body);
    }
    slot->open = false;
    slot->done = true;
}

void line_answer_ok(struct line_slot *slot, json_t *body)
{
    line_put_ok(&slot->text, body);
    json_decref(body);
    slot_done(slot);
}

void line_answer_err(struct line_slot *slot, const char *code, const char *message, const char *field,
                     bool retry)
{
    json_t *body = line_error_body(code, message, field, retry);
    metrics_inc(M_LINE_ERRORS);
    line_put_err(&slot->text, body);
    json_decref(body);
    slot_done(slot);
}

void line_session_flush(struct line_session *s)
{
    struct line_slot *slot;
    while ((slot = TAILQ_FIRST(&s->queue)) && slot->done) {
        if (evbuffer_add(s->conn.out, slot->text.data, slot->text.len) != 0) {
            s->closing = true;
            s->reason = "memory";
        }
        line_slot_free(slot);
    }
    line_conn_written(&s->conn);
}

/* An outcome has arrived. Only answers leave now: a turn of the session may submit further requests, which the ack interface forbids
 * inside a call from the store, so that waits for the loop. */
static void after_outcome(struct line_session *s)
{
    line_session_flush(s);
    line_session_touch(s);
    line_session_wake(s);
}

void line_on_ack(void *server, struct ack a, const struct ack_result *r)
{
    struct line_server *srv = server;
    struct line_slot *slot = slots_get(srv->slots, a);
    if (!slot || !slot->submit)
        return;
    line_slot_cancel(slot);
    line_answer_submit(slot, r);
    after_outcome(slot->session);
}

void line_on_reply(struct line_server *srv, struct ack a, const struct reply *r)
{
    struct line_slot *slot = slots_get(srv->slots, a);
    size_t i;
    json_t *row;

    if (!slot || slot->submit)
        return;
    line_slot_cancel(slot);
    json_array_foreach(r->rows, i, row)
        line_put_row(&slot->text, row);
    if (r->ok) {
        line_put_ok(&slot->text, r->body);
    } else {
        metrics_inc(M_LINE_ERRORS);
        line_put_err(&slot->text, r->body);
    }
    slot_done(slot);
    after_outcome(slot->session);
}
