#pragma once
/* Answers travel back without an include: the store resolves an ack, the channel that owns the slot answers its peer. */
#include "daemon/intake/envelope.h"

enum ack_verdict {
    ACK_STORED,      /* durable: answer "accepted" */
    ACK_RETRY_LATER, /* nothing kept: answer "try again" */
    ACK_REJECTED,    /* will never be taken; `reason` says why */
};

struct ack_result {
    enum ack_verdict verdict;
    enum outcome outcome;
    struct uuid envelope_id;
    char ref[REF_TEXT_SIZE];     /* "" when there is no complaint */
    const char *category, *priority, *team; /* NULL when unknown; valid during the call */
    int64_t due_at_us;           /* when the complainant hears from us; 0 when unknown */
    const char *reason;          /* for RETRY_LATER and REJECTED: a code such as "busy" or "key-reused" */
};

typedef void (*ack_fn)(void *arg, struct ack a, const struct ack_result *r);
/* One resolver a channel; called by the channel at its start. */
void ack_register(enum channel_id channel, ack_fn fn, void *arg);
/* Calls the channel's resolver. Never frees the caller; the channel must not submit from inside. */
void ack_resolve(struct ack a, const struct ack_result *r);

/* A table of slots with generations: pointers stay inside the channel, only {slot, gen} travels. */
struct slots;
struct slots *slots_new(uint32_t max);
void slots_free(struct slots **s);
/* CD_ELIMIT when `max` slots are taken. `ptr` must not be NULL. Sets slot and gen; `channel` stays as it was. */
int slots_take(struct slots *s, void *ptr, struct ack *ret) CD_MUSTUSE;
/* The pointer, or NULL (counted in M_ACK_STALE) when the slot was released meanwhile. */
void *slots_get(struct slots *s, struct ack a);
void slots_release(struct slots *s, struct ack a);
