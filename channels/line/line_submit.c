/* SUBMIT: every field is checked before anything is kept (channels/submit.h), then the object becomes an envelope, and the outcome the
 * answer. The raw bytes are the JSON text as received; the digest is taken over a canonical form of it, so that a repeat whose fields
 * come in another order is still the same. The envelope belongs to the host once host->submit returned 0. */
#include <string.h>

#include "channels/line/line_verbs.h"
#include "channels/submit.h"
#include "daemon/core/clock.h"
#include "daemon/core/metrics.h"
#include "daemon/intake/keys.h"

/* ---- the envelope ---- */

static struct envelope *make_envelope(struct line_session *s, const struct line_request *rq,
                                      struct submit_check *k)
{
    char *canonical CD_CLEANUP_FREE = json_dumps(rq->args, JSON_SORT_KEYS | JSON_COMPACT);
    struct envelope *e = canonical ? envelope_new(CH_LINE, rq->njson) : NULL;
    if (!e)
        return NULL;
    if (buf_append(&e->raw, rq->json, rq->njson) < 0) {
        envelope_free(&e);
        return NULL;
    }
    keys_of_text(canonical, strlen(canonical), e->digest);
    e->received_at_us = clock_service_us();
    free(e->client);
    e->client = cd_strdup(s->client);
    free(e->key);
    e->key = cd_asprintf("%s:%s", s->client, json_string_value(json_object_get(rq->args, "key")));
    /* The worker that decodes has no configuration: a number without its country is completed here. */
    free(e->sender);
    e->sender = k->phone;
    k->phone = NULL;
    strlist_add(&e->desks, k->desk->name);
    return e;
}

static enum verb_result busy(struct line_slot *slot)
{
    metrics_inc(M_INTAKE_BUSY_LINE);
    line_answer_err(slot, "busy", "no durable place for it now: send it again with the same key", NULL, true);
    return VERB_DONE;
}

enum verb_result line_verb_submit(struct line_session *s, struct line_slot *slot,
                                  const struct line_request *rq)
{
    const struct channel_host *h = s->server->host;
    struct submit_check k = {.cfg = h->cfg, .desk = submit_desk(h->cfg, rq->args, s->desk), .scope = &s->desks};

    if (!k.desk) { /* who may come without being named in the configuration finds a daemon without desks as well */
        line_answer_err(slot, "bad-argument", "there is no desk in the configuration", "desk", false);
        return VERB_DONE;
    }
    if (submit_check(&k, rq->args) < 0) {
        line_answer_err(slot, "bad-argument", k.message, k.field, false);
        free(k.phone);
        return VERB_DONE;
    }
    struct envelope *e = h->ready(h->front, rq->njson) ? make_envelope(s, rq, &k) : NULL;
    free(k.phone);
    if (!e || line_slot_wait(slot) < 0) {
        envelope_free(&e);
        return busy(slot);
    }
    e->ack = slot->ack;
    slot->submit = true;
    if (h->submit(h->front, e) == 0)
        return VERB_WAITING;
    line_slot_cancel(slot);
    envelope_free(&e);
    return busy(slot);
}

/* ---- the answer ---- */

void line_answer_submit(struct line_slot *slot, const struct ack_result *r)
{
    const char *reason = r->reason;
    switch (r->verdict) {
    case ACK_STORED:
        line_answer_ok(slot, submit_answer(r));
        return;
    case ACK_RETRY_LATER:
        metrics_inc(M_INTAKE_BUSY_LINE);
        line_answer_err(slot, "busy", "no durable place for it now: send it again with the same key", NULL,
                        true);
        return;
    case ACK_REJECTED:
        if (str_eq(reason, "key-reused"))
            line_answer_err(slot, reason, "this key was used for another content", "key", false);
        else
            line_answer_err(slot, reason ? reason : "rejected", "the complaint cannot be taken", NULL, false);
        return;
    }
}
