/* Complaints by HTTP: POST /v1/complaints and the state of one, once the body is there (the head: intake_admit.c). A ticket belongs to
 * the server (server.h: leave); the envelope to the host once host->submit returned 0. Answers find their exchange by its token, or
 * find that it has gone. */
#include "channels/web/intake.h"

#include <string.h>

#include "channels/json_read.h"
#include "channels/submit.h"
#include "channels/web/intake_impl.h"
#include "daemon/core/clock.h"
#include "daemon/core/metrics.h"

struct intake *intake_new(const struct channel_host *host, struct slots *slots)
{
    struct intake *i = cd_alloc(sizeof *i);

    i->host = host;
    i->slots = slots;
    LIST_INIT(&i->loads);
    return i;
}

void intake_free(struct intake **pi)
{
    struct intake *i = *pi;

    if (!i)
        return;
    *pi = NULL;
    cd_assert(LIST_EMPTY(&i->loads));
    free(i);
}

bool intake_owns(const char *path)
{
    return str_eq(path, API_COMPLAINTS) || str_starts(path, API_COMPLAINTS "/");
}

/* ---- at the body ---- */

static void problem(struct intake *i, struct ack token, enum api_problem p, const char *detail, const char *field)
{
    metrics_inc(p == API_BUSY ? M_INTAKE_BUSY_WEB : M_WEB_REFUSED);
    web_server_problem(i->slots, token, p, detail, field);
}

static void busy(struct intake *i, struct ack token)
{
    problem(i, token, API_BUSY, "no durable place for it now: send it again with the same key", NULL);
}

/* NULL without memory for it. */
static struct envelope *make_envelope(const struct http_exchange *x, const struct ticket *t, const json_t *complaint, struct submit_check *k)
{
    struct envelope *e = envelope_new(CH_WEB, x->nbody);

    if (buf_append(&e->raw, x->body, x->nbody) < 0) {
        envelope_free(&e);
        return NULL;
    }
    intake_body_digest(complaint, x->body, x->nbody, t->boundary, e->digest);
    e->received_at_us = clock_service_us();
    free(e->client);
    e->client = cd_strdup(t->load->client);
    free(e->key);
    e->key = cd_asprintf("%s:%s", t->load->client, t->key);
    free(e->sender); /* a number without its country is completed here: the worker that decodes has no configuration */
    e->sender = k->phone;
    k->phone = NULL;
    strlist_add(&e->desks, k->desk->name);
    return e;
}

/* From here on the front counts the bytes. */
static void hand_over(struct intake *i, const struct http_exchange *x, struct ticket *t, struct envelope *e)
{
    const struct ack token = x->token;

    e->ack = token;
    web_server_drop_body(x);
    gate_hand_over(t->bytes);
    t->load->bytes -= t->bytes;
    t->bytes = 0;
    if (i->host->submit(i->host->front, e) == 0)
        return;
    gate_unread(0);
    envelope_free(&e);
    busy(i, token);
}

static void submit(struct intake *i, const struct http_exchange *x, struct ticket *t, const json_t *complaint)
{
    struct submit_check k = {.cfg = i->host->cfg, .desk = submit_desk(i->host->cfg, complaint, t->desk), .scope = &t->desks, .keyless = true};

    if (!k.desk)
        problem(i, x->token, API_BAD_ARGUMENT, "there is no desk in the configuration", "desk");
    else if (submit_check(&k, complaint) < 0)
        problem(i, x->token, API_BAD_ARGUMENT, k.message, k.field);
    else {
        struct envelope *e = make_envelope(x, t, complaint, &k);
        if (e)
            hand_over(i, x, t, e);
        else
            busy(i, x->token);
    }
    free(k.phone);
}

static void on_submit(struct intake *i, const struct http_exchange *x, struct ticket *t)
{
    const struct config *c = i->host->cfg;
    struct intake_body b;
    json_t *complaint;
    char message[JSON_READ_MESSAGE];

    intake_body_read(x->body, x->nbody, t->boundary, (size_t)c->web_max_json_bytes, (size_t)c->web_max_files, &b);
    if (b.problem)
        problem(i, x->token, b.problem, b.detail, NULL);
    else if (memchr(b.json, '\0', b.njson) || !utf8_valid(b.json, b.njson))
        problem(i, x->token, API_BAD_JSON, "not valid UTF-8 without NUL", NULL);
    else if (json_read_object(b.json, b.njson, &complaint, message) < 0)
        problem(i, x->token, API_BAD_JSON, message, NULL);
    else {
        submit(i, x, t, complaint);
        json_decref(complaint);
    }
}

static void on_show(struct intake *i, const struct http_exchange *x, struct ticket *t)
{
    json_t *args = json_pack("{s:s}", "ref", x->path + strlen(API_COMPLAINTS "/"));

    if (!args) { /* not UTF-8 */
        problem(i, x->token, API_NOT_FOUND, "no complaint has this reference", NULL);
        return;
    }
    i->host->request(i->host->front, &(struct request){.verb = "SHOW",
                                                       .args = args,
                                                       .role = ROLE_INTAKE, /* its state only */
                                                       .actor = t->load->client,
                                                       .slot = x->token,
                                                       .desks = &t->desks});
    json_decref(args);
}

void intake_on_http(struct intake *i, const struct http_exchange *x)
{
    struct ticket *t = web_server_ticket(x);

    if (!t) /* its head was not seen as one of ours */
        web_server_problem(i->slots, x->token, API_BAD_REQUEST, "framing", NULL);
    else if (t->key)
        on_submit(i, x, t);
    else
        on_show(i, x, t);
}

/* ---- answers ---- */

static void answer(struct intake *i, struct ack token, int status, json_t *o, const char *location)
{
    CD_CLEANUP_FREE char *text = json_dumps(o, JSON_COMPACT);

    json_decref(o);
    web_server_answer_at(i->slots, token, status, API_JSON, text ? text : "{}", text ? strlen(text) : 2, location);
}

static void on_stored(struct intake *i, struct ack a, const struct ack_result *r)
{
    bool later = r->outcome == OUT_PENDING || r->outcome == OUT_SPOOLED || (r->outcome == OUT_DUPLICATE && !r->ref[0]);
    json_t *o = submit_answer(r);
    CD_CLEANUP_FREE char *location = r->outcome == OUT_NEW ? cd_asprintf(API_COMPLAINTS "/%s", r->ref) : NULL;

    if (later) /* also the repetition of what nobody has looked at yet */
        json_object_set_new(o, "outcome", json_string("accepted"));
    answer(i, a, later ? 202 : r->outcome == OUT_NEW ? 201 : 200, o, location);
}

void intake_on_ack(void *arg, struct ack a, const struct ack_result *r)
{
    struct intake *i = arg;

    switch (r->verdict) {
    case ACK_STORED:
        on_stored(i, a, r);
        return;
    case ACK_RETRY_LATER:
        busy(i, a);
        return;
    case ACK_REJECTED:
        if (str_eq(r->reason, "key-reused"))
            problem(i, a, API_KEY_REUSED, "this key was used for another content", "Idempotency-Key");
        else
            problem(i, a, API_REJECTED, "the complaint cannot be taken", NULL);
        return;
    }
}

void intake_on_reply(struct intake *i, struct ack slot, const struct reply *r)
{
    const char *code = json_string_value(json_object_get(r->body, "code")),
               *message = json_string_value(json_object_get(r->body, "message"));

    if (r->ok)
        answer(i, slot, 200, json_incref(r->body), NULL);
    else if (str_eq(code, "not-found"))
        web_server_problem(i->slots, slot, API_NOT_FOUND, message, NULL);
    else if (str_eq(code, "bad-argument"))
        web_server_problem(i->slots, slot, API_BAD_ARGUMENT, message, "ref");
    else
        web_server_problem(i->slots, slot, str_eq(code, "busy") ? API_BUSY : API_INTERNAL, message, NULL);
}
