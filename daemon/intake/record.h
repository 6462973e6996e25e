#pragma once
/* What a triage worker returns for an envelope: facts, texts and pattern hits. The front trusts nothing in it:
 * record_read() checks every count, length and encoding. */
#include "daemon/intake/envelope.h"

enum message_class { MC_PERSON, MC_AUTO_REPLY, MC_BOUNCE, MC_BULK, MC_OWN, MC_COUNT };
const char *message_class_name(enum message_class c); /* "person", "auto-reply", … */

enum record_flag {
    REC_DEGRADED = 1 << 0,     /* not decoded in full; `degraded_reason` says why */
    REC_NO_AUTO_ANSWER = 1 << 1, /* RFC 3834 and friends: send nothing automatic back; `no_answer_reason` */
    REC_HTML_ONLY = 1 << 2,
    REC_TRUNCATED_MATCH = 1 << 3, /* more text stored than was matched */
};

#define RECORD_MAX_TEXT CD_MIB(8)
#define RECORD_MAX_REFS 8
#define RECORD_MAX_THREAD_IDS 64
#define RECORD_MAX_ATTACHMENTS 500
#define RECORD_MAX_HITS 1024
#define RECORD_MAX_ADDR 320

struct attachment {
    char *filename;     /* safe, UTF-8, never NULL, may be "" */
    char *content_type; /* "image/jpeg" */
    char *encoding;     /* "base64", "quoted-printable", "7bit", "8bit", "binary" */
    uint64_t offset, length; /* place of the encoded body in the raw message */
    uint64_t size_bytes;     /* decoded */
    uint8_t sha256[SHA256_SIZE]; /* of the decoded bytes */
    bool is_inline;
};

/* A pattern that occurred: which one, and the matched words as folded text for the reasons. */
struct hit {
    uint32_t pattern; /* index in the compiled set */
    uint8_t field;    /* enum match_field of triage/match.h */
    char *word;
};

struct record {
    uint32_t flags;
    char *degraded_reason, *no_answer_reason;
    enum message_class cls;
    /* the complainant, as far as the message says */
    char *name, *email, *phone; /* email normalized (intake/handle.h), phone E.164 */
    char *subject;              /* decoded, may be "" */
    char *text;                 /* the body as readable text, valid UTF-8, never NULL */
    char *text_new, *text_quoted; /* NULL while not separated */
    char *language;             /* "en", "zh" or "und" */
    char *message_id, *in_reply_to; /* without <>, NULL when absent */
    struct strlist references;      /* without <>, at most RECORD_MAX_THREAD_IDS */
    char *reply_to;                 /* normalized address for answers, NULL: email */
    int64_t sent_at_us;             /* Date header, 0 when absent */
    char refs[RECORD_MAX_REFS][REF_TEXT_SIZE]; /* references with a right check symbol, in subject then text */
    size_t nrefs;
    struct attachment *attachments;
    size_t nattachments;
    struct hit *hits;
    size_t nhits;
    /* what a client of the line protocol or web may say itself; NULL otherwise */
    char *said_channel; /* "phone", "counter", … */
    char *category, *priority, *external_id;
};

struct record *record_new(void);
void record_free(struct record **r);
struct attachment *record_add_attachment(struct record *r); /* NULL at the limit */
void record_add_hit(struct record *r, uint32_t pattern, uint8_t field, const char *word, size_t nword); /* dropped at the limit */
void record_write(const struct record *r, struct buf *out);
int record_read(const void *p, size_t n, struct record **ret) CD_MUSTUSE;
/* true when every attachment's place lies inside the envelope's raw bytes; to be asked after record_read(). */
bool record_fits(const struct record *r, const struct envelope *e);
/* The record of an envelope that no worker could decode: flag degraded, sender from the envelope, text a fixed sentence. */
struct record *record_degraded(const struct envelope *e, const char *reason);
