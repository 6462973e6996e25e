#pragma once
/* One decided envelope on its way into the database: everything the batch writes for it, as plain values. */
#include <sys/queue.h>

#include "daemon/intake/envelope.h"
#include "daemon/intake/keys.h"
#include "daemon/intake/record.h"

struct store_item;

enum store_verdict {
    STORE_DONE,      /* committed; outcome and ref are set, `duplicate` when the ledger had it */
    STORE_AGAIN,     /* something changed since the look-up: decide anew */
    STORE_RETRY,     /* not stored (or unknown): the sender is to try again */
    STORE_POISON,    /* the database refuses this row by itself */
};
typedef void (*store_done)(struct store_item *it, enum store_verdict v);

struct store_link {
    struct uuid other;
    const char *kind; /* "possibly-related", "same-message-id" */
};

/* A row of the outbox: the acknowledgement, or what a step of the ladder tells one recipient. */
struct store_note {
    struct uuid id;
    const char *purpose, *class, *transport, *language;
    const char *reason; /* not sent, because …; NULL: to be sent */
    char *recipient, *payload, *key; /* payload: JSON or NULL; owned */
    int level;                       /* 0: none */
    int64_t life_us;                 /* tried for so long */
};
struct store_notes {
    struct store_note *v;
    size_t n;
};
/* A new one at the end, zeroed but for its id; valid until the next. */
struct store_note *store_notes_add(struct store_notes *l);
void store_notes_free(struct store_notes *l);

#define STORE_MAX_LINKS 4
#define STORE_MAX_KEYS 66

struct store_item {
    TAILQ_ENTRY(store_item) entry;
    store_done done;
    struct envelope *env; /* borrowed: owned by whoever gave the item */
    struct record *rec;   /* borrowed; NULL for pending */
    uint8_t ukey[LEDGER_KEY_SIZE];
    enum outcome outcome;
    bool pending;          /* raw and receipt only */
    const char *pending_reason;
    bool known;            /* the ledger has its key: nothing is stored, the answer is what the ledger says */
    bool alone;            /* it failed in company before: goes in a transaction of its own */
    /* the complaint */
    bool is_new;
    struct uuid complaint_id; /* env->id when new, the joined one for a follow-up, nil without one */
    char ref[REF_TEXT_SIZE];
    const char *desk, *channel, *category, *priority, *team, *calendar, *language;
    char *policy_version;     /* "standard@1a2b…", owned */
    const char *region;       /* NULL: none */
    char *tags, *desks;       /* array literals, owned */
    char *skills, *about;     /* the same; NULL: none */
    char *decision;           /* JSON, owned */
    char *event;              /* JSON, owned: data of the first event or of the follow-up's */
    const char *event_kind, *actor;
    bool degraded;
    /* the customer */
    const char *representative; /* JSON object; NULL: they complain for themselves */
    char *handle;             /* "mail:…", owned; NULL: none */
    bool handle_is_new;
    struct uuid customer_id;  /* found or proposed; nil without a handle */
    /* thread keys that this item claims for its complaint */
    uint8_t keys[STORE_MAX_KEYS][LEDGER_KEY_SIZE];
    size_t nkeys;
    struct store_link links[STORE_MAX_LINKS];
    size_t nlinks;
    /* timers, for a new complaint */
    int64_t due_us[3], next_at_us;
    int steps_fired;     /* of the first steps: due at receipt, told in the same transaction */
    int told_level;
    char *steps; /* array literal, four integers a step: seconds after receipt, level, repeat, stops; owned */
    struct store_notes notes; /* the acknowledgement, and what those steps tell; owned */
    /* the recipients of the message as an array literal, owned */
    char *recipients;
    /* a report about a notification of ours */
    struct uuid bounce_of;    /* nil: none */
    char *bounce;             /* JSON, owned: final, hard, status, reason, error (schema: bounce_received) */
    struct store_notes tasks; /* told to people once for the complaint and the address; owned */
    int64_t task_delay_us;
    bool automatic;           /* counts for the breaker */
    /* addresses */
    char *answered;           /* "mail:…" of a known customer who is answered automatically, owned; NULL: none */
    bool reached;             /* `handle` is marked as unreachable, and wrote: the mark goes */
    char *attachments;        /* JSON array, owned; NULL: none */
    /* what checkers said of it (daemon/scan); NULL: nobody was asked */
    const char *scan;         /* "clean", "unscanned", … */
    char *scan_detail;        /* JSON, owned */
    int64_t rescan_us;        /* it is checked again so much later; 0: not */
    /* the store's */
    bool duplicate;
    unsigned attempts;
    int64_t queued_mono_us;
    char dup_category[64], dup_priority[16], dup_team[64];
    int64_t dup_due_us;
};
/* Frees what the item owns, not the item, env or rec. */
void store_item_clear(struct store_item *it);
/* Appends `s` as an element of a PostgreSQL array literal that was begun with "{". */
void array_literal_add(struct buf *b, const char *s);
