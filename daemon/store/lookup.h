#pragma once
/* One batched look-up for whatever waits: receipts by ledger key, customers by handle, complaints by thread key and by reference. */
#include <event2/event.h>
#include <sys/queue.h>

#include "config/config.h"
#include "daemon/intake/keys.h"
#include "daemon/triage/thread.h"

#define LOOKUP_MAX_CANDIDATES 8
#define LOOKUP_MAX_KEYS 66

/* A notification of ours that an automatic mail speaks of. Texts are owned. */
struct lookup_notification {
    bool found;
    struct uuid id, complaint_id; /* the complaint that it leads to now */
    char ref[REF_TEXT_SIZE];
    char *purpose, *recipient, *team;
};

/* A reference that somebody wrote or that a token holds. */
struct lookup_ref {
    char ref[REF_TEXT_SIZE];
    enum thread_evidence evidence;
    bool in_subject;
};
struct lookup_request {
    TAILQ_ENTRY(lookup_request) entry;
    void (*done)(struct lookup_request *q, bool ok); /* once, never from inside lookup_put */
    /* asked; borrowed until done */
    const uint8_t *ukey;
    const char *handle; /* or NULL */
    const uint8_t (*keys)[LEDGER_KEY_SIZE];
    const enum thread_evidence *key_evidence;
    size_t nkeys;
    const struct lookup_ref *refs;
    size_t nrefs;
    const struct uuid *ids; /* of complaints whose messages of ours are answered */
    size_t nids;
    const struct uuid *told_id; /* of a notification, or NULL */
    const char *told_key;       /* of one whose idempotency key is WORD.COMPLAINT…, or NULL */
    const char *answer_to;      /* a handle, where an answer would go to another than `handle`; or NULL */
    /* found; freed by lookup_clear */
    bool in_thread, threads_asked; /* private */
    bool receipt_found;
    struct uuid receipt_id;  /* of the envelope that the receipt was given for */
    bool receipt_pending;    /* accepted, not triaged yet */
    bool customer_found;
    struct uuid customer_id;
    struct strlist customer_flags;
    char *customer_language;
    char *address_state, *address_status; /* of `handle`, when mail to it came back (schema: addresses); NULL otherwise */
    int64_t answers, answered_ago_us;     /* automatic answers that it got (or answer_to), in thousandths, as of so long ago */
    uint64_t answers_since;               /* and those that the batch has still to count; the pipeline's */
    struct lookup_notification told;
    bool key_known[LOOKUP_MAX_KEYS]; /* keys[i] belongs to a complaint already */
    struct thread_candidate candidates[LOOKUP_MAX_CANDIDATES]; /* each complaint once, with its strongest evidence */
    size_t ncandidates;
};
void lookup_clear(struct lookup_request *q);

struct lookup;
struct lookup *lookup_new(struct event_base *base, const struct config *c);
void lookup_free(struct lookup **l);
bool lookup_usable(const struct lookup *l); /* connected: what is put waits for others only */
void lookup_put(struct lookup *l, struct lookup_request *q);
