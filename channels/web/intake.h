#pragma once
/* Private to channels/web: complaints by HTTP. Two looks at a request: at its head, when the client, the key, the kind and the size are
 * known and the budget says whether there is room; and at its body, which then becomes an envelope. */
#include "channels/web/server.h"

struct intake;
/* `slots` are those of the exchanges. Both outlive it. */
struct intake *intake_new(const struct channel_host *host, struct slots *slots);
void intake_free(struct intake **i);
/* Whether the path is one of ours. */
bool intake_owns(const char *path);
/* For web_server_options: admit and leave. */
struct web_verdict intake_admit(struct intake *i, const char *peer, const struct web_head *h, struct web_admission *a);
void intake_leave(struct intake *i, void *ticket);
/* A request that was admitted: answers it, now or when its outcome has come. */
void intake_on_http(struct intake *i, const struct http_exchange *x);
void intake_on_ack(void *intake, struct ack a, const struct ack_result *r);
void intake_on_reply(struct intake *i, struct ack slot, const struct reply *r);

/* What a body is: the complaint's JSON object, and what else counts for the digest. Pure; views into the body. */
struct intake_body {
    const char *json;
    size_t njson;
    enum api_problem problem; /* API_OK: none */
    const char *detail;       /* static */
};
/* `boundary` NULL: the body is the object. */
void intake_body_read(const void *p, size_t n, const char *boundary, size_t max_json, size_t max_files, struct intake_body *ret);
/* The digest of what was sent: two sendings of one complaint agree whatever the order of the fields and the boundary. */
void intake_body_digest(const json_t *complaint, const void *p, size_t n, const char *boundary, uint8_t digest[SHA256_SIZE]);

/* The channel's decoder, in the worker (web_decode.c). */
int web_decode(const struct envelope *e, struct record *r);
