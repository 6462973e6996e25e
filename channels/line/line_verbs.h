#pragma once
/* The verbs of the line protocol: one table, the only dispatch. */
#include "channels/line/line_session.h"

enum verb_result {
    VERB_DONE,    /* the slot holds its answer */
    VERB_WAITING, /* the answer comes through line_on_ack or line_on_reply, or the slot is `open` */
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
/* Whether its subscription may go on, by what it is now. */
bool line_may_follow(const struct line_session *s);

/* Who it is (line_auth.c) */
enum verb_result line_verb_hello(struct line_session *s, struct line_slot *slot, const struct line_request *rq);
enum verb_result line_verb_starttls(struct line_session *s, struct line_slot *slot, const struct line_request *rq);
enum verb_result line_verb_auth(struct line_session *s, struct line_slot *slot, const struct line_request *rq);
const char *line_role_name(enum role r); /* static */
/* The session is this client's, with what it may do; NULL: nobody's. */
void line_principal_set(struct line_session *s, const struct cfg_client *client);
/* Root and our own user are admins on a unix socket; `uid` -1: TCP. */
void line_principal_of_peer(struct line_session *s, long uid);
/* After a reload. False: its client is no longer there, or has another token. */
bool line_principal_refresh(struct line_session *s);

/* For handlers. */
enum verb_result line_bad_argument(struct line_slot *slot, const char *field, const char *message);
/* The first field that is not in `known` (NULL-terminated), the name cut to a fair length in `ret`; false when all are known. */
bool line_unknown_field(const json_t *args, const char *const *known, char ret[64]);

/* SUBMIT (line_submit.c) */
enum verb_result line_verb_submit(struct line_session *s, struct line_slot *slot,
                                  const struct line_request *rq);
void line_answer_submit(struct line_slot *slot, const struct ack_result *r);

/* The channel's decoder, for the worker (line_decode.c). */
int line_decode(const struct envelope *e, struct record *r);
