#pragma once
/* One envelope on its way from channel to commit, and everything that is worked out for it. Private to the front. */
#include "daemon/inflight.h"
#include "daemon/intake/ack.h"
#include "daemon/pipeline.h"
#include "daemon/store/item.h"
#include "daemon/store/lookup.h"
#include "daemon/triage/rules.h"

enum job_stage {
    JOB_TURN, /* large, waits for its turn at the workers */
    JOB_WORKER,
    JOB_SCAN,
    JOB_LOOKUP,
    JOB_STORE,
    JOB_WAITING, /* for another job with the same key */
};

#define JOB_MAX_KEYS STORE_MAX_KEYS
TAILQ_HEAD(waiters, job);
#define JOB_MAX_OWN_IDS 4
#define JOB_MAX_TOKENS 4 /* complaints that tokens of a message name; what it shows besides is counted and not looked at */
/* A message whose keys were lost to others this often is stored without claiming any: rather unthreaded than late. */
#define JOB_CLAIM_ROUNDS 4
struct job {
    TAILQ_ENTRY(job) entry;   /* all jobs, oldest first */
    TAILQ_ENTRY(job) turn;    /* among large ones, in JOB_TURN */
    TAILQ_ENTRY(job) waiter;  /* behind the job with the same ledger key */
    struct waiters waiters;
    uint64_t number;
    enum job_stage stage;
    int64_t since_mono_us;
    int64_t worker_since_us;  /* monotonic; given to the workers */
    size_t charged_bytes;     /* at the gate */
    unsigned rounds;          /* how often it was decided */
    struct envelope *env;
    struct record *rec;
    unsigned rules_generation; /* of the workers that made the record */
    uint8_t ukey[LEDGER_KEY_SIZE];
    char *handle;             /* "mail:…" */
    char *answer_to;          /* the same of its Reply-To, where that is another; NULL otherwise */
    char *sender;             /* normalized address or number; part of `handle` */
    struct job_scan *scan;    /* pipeline_scan.h; NULL: no checker was asked */
    bool sender_unproven;     /* somebody looked who the sender is, and it is not proven */
    bool staff;               /* `sender` belongs to a team or contact of the configuration */
    uint8_t keys[JOB_MAX_KEYS][LEDGER_KEY_SIZE];
    enum thread_evidence key_evidence[JOB_MAX_KEYS];
    size_t nkeys;
    struct uuid own_ids[JOB_MAX_OWN_IDS]; /* complaints whose messages of ours it answers */
    size_t nown_ids;
    struct uuid told_id; /* of the notification that an automatic mail speaks of; nil: none */
    char *told_key;      /* the same by its key; NULL: none */
    struct lookup_ref refs[JOB_MAX_TOKENS + RECORD_MAX_REFS]; /* of tokens, then those that somebody wrote */
    size_t nrefs;
    bool false_token[TE_TOKEN_ID + 1]; /* one that no key of ours signed */
    bool tokens_skipped;               /* it shows more than are looked at */
    bool by_stranger, new_matter;      /* of the decision on its thread, for the counters */
    struct lookup_request look;
    struct decision decision;
    bool decided;
    struct store_item item;
    struct inflight_entry *ledger; /* held from submit to finish */
    pipeline_read_done read_done; /* it is stored already, and ends with its record; NULL: a job like any other */
    void *read_arg;
    struct inflight_entry *used[JOB_MAX_KEYS + 1];
    size_t nused;
};

/* decide.c: the attachments that the record names and the envelope holds, as JSON for the database; NULL: none. */
char *job_attachments_json(const struct record *r, const struct envelope *e);
/* "mail:…", whom the message is of; NULL: nobody knows. */
char *job_handle_of(const struct record *r, const struct envelope *e);
/* decide.c: from look-up to store item; to be called again after STORE_AGAIN. */
void job_decide(const struct config *c, struct job *j);
/* Undoes job_decide: releases in-flight keys and what the decision owns. */
void job_undecide(struct job *j);
/* job_thread.c: works out handle, sender, thread keys, tokens and references from the record. */
void job_prepare(struct job *j);
/* job_thread.c: the look-up's questions, from what job_prepare() found; its earlier answers go. */
void job_ask(struct job *j);

/* bounces.c: which notification an automatic mail speaks of, by what only its recipient can know; part of job_prepare(). */
void job_trace(struct job *j);
/* An automatic mail about a notification that the look-up found: joins its complaint, and says what becomes of the notification. false:
 * there is none. */
bool job_take_report(const struct config *c, struct job *j, json_t **ret_reasons);
/* Mail to the sender's address came back for good. Not for who writes from it just now: somebody is there. */
bool job_came_back(const struct job *j);
/* Why no automatic answer goes to the sender now: hops, an address that came back, the day's budget; NULL: one may. Counts it. */
const char *job_withheld(const struct config *c, const struct job *j, bool by_sms);
/* What an acknowledgement that was just added to the notes brings along: its hops, its place in the budget, and a task for people when it
 * is owed and cannot be sent. Returns its reason; `n` is not valid any more. */
const char *job_count_answer(const struct config *c, struct job *j, struct store_note *n, const char *mail);
/* The decision on the thread, with the candidates that it points into. */
struct job_thread {
    struct thread_candidate candidates[2 * LOOKUP_MAX_CANDIDATES];
    size_t n;
    struct thread_decision decision;
};
void job_thread_decide(const struct config *c, struct job *j, struct job_thread *ret);
/* The kind of link from a new complaint to the candidate. */
const char *job_thread_link(const struct job_thread *t);
void job_thread_free(struct job_thread *t);

/* job_answer.c: resolves the ack of a finished job, writes its log line, counts it. Once a job; a key that came with other content is
 * rejected whatever `v` says. */
void job_answer(struct job *j, enum ack_verdict v);
/* `a` is the same message as `b`, for no desk that `b` was not for. */
bool job_same_content(const struct job *a, const struct job *b);
/* Gives `to` the answer that `from` had, as a duplicate. */
void job_copy_answer(struct job *to, const struct job *from);
