#pragma once
/* Private to channels/web: an HTTP/1.1 server on evhttp, fenced. One request a connection; odd framing is
 * refused with 400 and closed; every request has an absolute deadline; connections are capped by not
 * accepting more. */
#include "channels/channel.h"
#include "channels/web/head.h"

/* What a head is let in with. */
struct web_admission {
    uint64_t max_body;  /* as it is given to `admit`: the server's */
    int64_t timeout_us; /* for the body, from now on; 0: the server's */
    void *ticket;       /* given to `leave` exactly once: after the answer, or when the connection ends before it */
};

struct web_server;
struct web_server_options {
    const char *name; /* for logs and hints: "http", "metrics" */
    const struct listen_addr *listen;
    size_t nlisten;
    size_t max_body, max_header;
    size_t max_any_body; /* the largest that `admit` allows; 0: max_body */
    unsigned max_connections;
    bool (*hurry)(void *arg); /* NULL, or asked at each connection: hurry_us holds for it if that is shorter */
    int64_t hurry_us;
    int64_t timeout_us;  /* from the connection to the last byte of the request */
    struct slots *slots; /* of exchanges; may be shared by servers, outlives them */
    /* NULL, or asked when the head of a request is there and sound, before any of its body is read. A verdict that is not API_OK is
     * answered at once; the body is never kept. */
    struct web_verdict (*admit)(void *arg, const char *peer, const struct web_head *h, struct web_admission *a);
    void (*leave)(void *arg, void *ticket);
    http_handler
        handler; /* gets every request whose framing is sound and answers it by web_server_answer() */
    void *arg;
};
/* 0, or CD_EIO (logged with what to do). */
int web_server_start(struct event_base *base, const struct web_server_options *o,
                     struct web_server **ret) CD_MUSTUSE;
uint16_t web_server_port(const struct web_server *s, size_t i); /* of the i-th address, for port 0 */
void web_server_drain(struct web_server *s);                    /* stops listening */
bool web_server_idle(const struct web_server *s);               /* no request without an answer */
void web_server_stop(struct web_server **s);

/* What `admit` gave for this request; NULL: nothing. */
void *web_server_ticket(const struct http_exchange *x);
/* Its body is needed no more: x->body is NULL from now on. */
void web_server_drop_body(const struct http_exchange *x);

/* Answers the exchange of a token once; ignored (and counted) when the peer or the server has gone. */
void web_server_answer(struct slots *slots, struct ack token, int status, const char *content_type,
                       const void *body, size_t n);
/* The same with a Location; NULL: without. */
void web_server_answer_at(struct slots *slots, struct ack token, int status, const char *content_type, const void *body, size_t n,
                          const char *location);
/* A problem as JSON (api.h). `detail` is for people, NULL: the title; `field` may be NULL. */
void web_server_problem(struct slots *slots, struct ack token, enum api_problem p, const char *detail, const char *field);
