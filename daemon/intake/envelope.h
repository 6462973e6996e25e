#pragma once
/* What a channel hands to the front: the raw bytes as received and what the transport knows about them. */
#include "daemon/core/buf.h"
#include "daemon/core/crypto.h"
#include "daemon/core/ref.h"
#include "daemon/core/str.h"
#include "daemon/core/uuid.h"
#include "daemon/core/wire.h"

enum channel_id { CH_MAIL, CH_SMS, CH_LINE, CH_WEB, CH_COUNT };

/* receipts.outcome and the conservation counters use these words (envelope.c names them). */
enum outcome {
    OUT_NEW,       /* a new complaint */
    OUT_FOLLOW_UP, /* a further message of one */
    OUT_DUPLICATE, /* seen before: nothing created */
    OUT_AUTO_REPLY,
    OUT_BOUNCE,
    OUT_BULK,
    OUT_OWN,
    OUT_CONTROL,
    OUT_PENDING, /* raw and receipt stored, triage later */
    OUT_SPOOLED,
    OUT_COUNT
};
const char *channel_name(enum channel_id c); /* "mail", "sms", "line", "web" */
const char *outcome_name(enum outcome o);    /* "new", "follow-up", … */
int channel_from_name(const char *s);        /* -1 when unknown */
int outcome_from_name(const char *s);

/* Where an answer goes back to: opaque to everyone but the channel. A stale generation is counted and ignored. */
struct ack {
    uint32_t slot, gen;
    uint8_t channel; /* enum channel_id */
};

/* What was odd about a mail that was taken nevertheless. */
enum envelope_note { NOTE_BARE_LF = 1, NOTE_BARE_CR = 2, NOTE_NUL = 4 };

struct envelope {
    struct uuid id;
    enum channel_id channel;
    struct ack ack;
    int64_t received_at_us; /* service time of the last byte */
    char *client;           /* peer address of mail; client name of line; provider name of sms */
    char *sender;           /* mail: reverse-path without <>, "" when null; sms: number as sent; line: NULL */
    struct strlist recipients;
    struct strlist desks; /* names from the configuration, at least one */
    /* The ledger's key: Message-ID or "none" (mail), provider message id (sms), client ":" key (line, web). */
    char *key;
    uint8_t digest[SHA256_SIZE]; /* over the content, see intake/keys.h */
    struct buf raw;              /* mail: with Return-Path and Received in front; sms: form body; line: the JSON object */
    char *tls;                   /* mail: "TLSv1.3/CIPHER", NULL without TLS; as the next one */
    unsigned notes;              /* enum envelope_note bits; told in the log only, not part of the frames */
    bool from_pending;           /* read back from the table of pending envelopes */
    unsigned worker_deaths;      /* how often a worker died with it */
};

struct envelope *envelope_new(enum channel_id channel, size_t raw_cap);
void envelope_free(struct envelope **e);
size_t envelope_bytes(const struct envelope *e);
/* Frames for the worker and for the table of pending envelopes (`ack` is not part of it). */
void envelope_write(const struct envelope *e, struct buf *out);
/* All of the frame but the raw bytes, which follow it directly: for writers that can take them from where they are. */
void envelope_write_head(const struct envelope *e, struct buf *out);
int envelope_read(const void *p, size_t n, struct envelope **ret) CD_MUSTUSE;
