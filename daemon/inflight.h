#pragma once
/* What is decided but not yet committed: ledger keys, thread keys and handles of envelopes on their way. Without it two mails of one
 * thread, or of one new customer, that share a batch would each believe to be the first. */
#include "daemon/core/uuid.h"
#include "daemon/intake/keys.h"

enum inflight_kind { IF_LEDGER = 'L', IF_THREAD = 'T', IF_HANDLE = 'H' };

struct inflight_entry {
    uint8_t key[1 + LEDGER_KEY_SIZE];
    unsigned users;
    struct uuid id; /* complaint of a thread key, proposed customer of a handle */
    void *owner;    /* the job that claimed it; NULL once that one is done and others still use the entry */
};
struct inflight_entry *inflight_find(enum inflight_kind kind, const uint8_t key[LEDGER_KEY_SIZE]);
/* Finds or makes the entry and counts one more user. */
struct inflight_entry *inflight_use(enum inflight_kind kind, const uint8_t key[LEDGER_KEY_SIZE]);
void inflight_release(struct inflight_entry *e);
