#pragma once
/* Which complaint a message belongs to: strongest evidence first, and only for someone who takes part in it (design 8). Pure. */
#include <jansson.h>

#include "daemon/core/uuid.h"
#include "daemon/intake/record.h"

enum thread_evidence { TE_IN_REPLY_TO, TE_REFERENCES, TE_OWN_ID, TE_REFERENCE_NUMBER, TE_COUNT };
const char *thread_evidence_name(enum thread_evidence e);

/* A complaint that some evidence points to. */
struct thread_candidate {
    enum thread_evidence evidence;
    struct uuid complaint_id;
    char ref[REF_TEXT_SIZE];
    bool closed;
    int64_t closed_at_us;
    struct strlist participants; /* normalized addresses and numbers */
};

enum thread_action {
    THREAD_NEW,  /* nothing points anywhere */
    THREAD_JOIN, /* a further message of `candidate` */
    THREAD_LINK, /* a new complaint, linked with `candidate`: a stranger, or closed too long ago */
};
struct thread_decision {
    enum thread_action action;
    const struct thread_candidate *candidate;
    json_t *reasons; /* array: one object for each candidate looked at; the caller's */
};
/* `sender`: normalized address or number of who writes, NULL unknown. Automatic messages (class not person) join as well. */
void thread_decide(const struct record *r, const char *sender, const struct thread_candidate *c, size_t n, int64_t now_us,
                   int64_t reopen_window_us, struct thread_decision *ret);
