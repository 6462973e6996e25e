#pragma once
/* Which complaint a message belongs to. Each complaint that some evidence points to gets a score: points for the evidence, less what
 * speaks against it (docs/adr/0005-threads.md). The best one is joined by who holds a token of it or takes part in it, if it has points
 * enough; otherwise the message begins a complaint, linked with the best one. Pure. */
#include <jansson.h>

#include "daemon/core/uuid.h"
#include "daemon/intake/record.h"

/* Strongest first. */
enum thread_evidence {
    TE_TOKEN_ADDRESS, /* a token that we signed in the address it was sent to */
    TE_TOKEN_ID,      /* one in a Message-ID of ours that it answers */
    TE_IN_REPLY_TO,
    TE_REFERENCES,
    TE_OWN_ID, /* others mention its Message-ID, or have it */
    TE_REFERENCE_NUMBER,
    TE_COUNT
};
const char *thread_evidence_name(enum thread_evidence e);

/* A complaint that some evidence points to. */
struct thread_candidate {
    enum thread_evidence evidence;
    struct uuid complaint_id;
    char ref[REF_TEXT_SIZE];
    bool named; /* its reference stands in the message's subject */
    bool done;  /* resolved or closed */
    bool closed;
    int64_t closed_at_us;
    int64_t last_us;             /* service time of the last thing said in it */
    struct strlist participants; /* normalized addresses and numbers */
    struct strlist subjects;     /* of its first and its last message */
    struct strlist desks;        /* that have to do with it */
};
void thread_candidate_clear(struct thread_candidate *c);

/* What the configuration says (section threads). */
struct thread_weights {
    int64_t fresh_us, max_age_us, reopen_window_us;
    int drift, age, done; /* points lost at most */
    int join_at;          /* points needed */
};

struct thread_message {
    const struct record *record;
    const char *sender; /* normalized address or number of who writes, NULL unknown */
    bool staff;         /* one of our own people */
    const struct strlist *desks; /* the only ones that the client has to do with who hands it in; NULL or empty: all */
    bool unproven;      /* somebody looked who the sender is, and it may be another */
    int64_t at_us;      /* received */
};

enum thread_action {
    THREAD_NEW,  /* nothing points anywhere */
    THREAD_JOIN, /* a further message of `candidate` */
    THREAD_LINK, /* a new complaint, linked with `candidate`: a stranger, another matter, or closed too long ago */
};
#define THREAD_MAX_SAME 4
struct thread_decision {
    enum thread_action action;
    const struct thread_candidate *candidate;
    /* Complaints that it belongs to as well as to the one that it joins, by what its thread says: the mail between them was missing until
     * now. They are linked, and people decide. */
    const struct thread_candidate *same[THREAD_MAX_SAME];
    size_t nsame;
    bool stranger;   /* joined by a token alone */
    bool new_matter; /* linked because too much speaks against it */
    json_t *reasons; /* array: one object for each candidate, the best first; the caller's */
};
/* Automatic messages (class not person) and our own people's lose no points: they begin nothing. */
void thread_decide(const struct thread_message *m, const struct thread_candidate *c, size_t n, const struct thread_weights *w,
                   struct thread_decision *ret);
