#pragma once
/* The verbs of the line protocol: one table, the only dispatch. */
#include "channels/line/line_session.h"

enum verb_result {
    VERB_DONE,    /* the slot holds its answer */
    VERB_WAITING, /* the answer comes through line_on_ack or line_on_reply */
};
typedef enum verb_result (*verb_handler)(struct line_session *s, struct line_slot *slot,
                                         const struct line_request *rq);

struct line_verb {
    const char *name;
    enum role role; /* the least role that may use it; ROLE_NONE: before AUTH as well */
    verb_handler handler;
};
extern const struct line_verb line_verbs[];
extern const size_t line_verb_count;

enum verb_result line_dispatch(struct line_session *s, struct line_slot *slot, const struct line_request *rq);

/* SUBMIT (line_submit.c) */
enum verb_result line_verb_submit(struct line_session *s, struct line_slot *slot,
                                  const struct line_request *rq);
void line_answer_submit(struct line_slot *slot, const struct ack_result *r);

/* The channel's decoder, for the worker (line_decode.c). */
int line_decode(const struct envelope *e, struct record *r);
