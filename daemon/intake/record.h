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
#define RECORD_MAX_SIGNALS 24
#define RECORD_MAX_BOUNCES 32
#define RECORD_MAX_AUTHS 4

/* What an attachment is to a reader, whatever its sender called it. */
enum attachment_kind {
    AT_FILE,
    AT_INLINE,    /* shown within the text */
    AT_MESSAGE,   /* a mail within the mail */
    AT_CALENDAR,  /* an invitation or the answer to one */
    AT_SIGNATURE, /* S/MIME or OpenPGP, detached */
    AT_ENCRYPTED, /* S/MIME or OpenPGP: kept, not opened */
    AT_CONTAINER, /* winmail.dat, whose members follow */
    AT_KIND_COUNT
};
const char *attachment_kind_name(enum attachment_kind k); /* "file", "inline", … */

struct attachment {
    char *filename;     /* safe, UTF-8, never NULL, may be "" */
    char *content_type; /* "image/jpeg" */
    char *encoding;     /* "base64", "quoted-printable", "7bit", "8bit", "binary" */
    uint64_t offset, length; /* place of the encoded body in the raw message */
    uint64_t size_bytes;     /* decoded */
    uint8_t sha256[SHA256_SIZE]; /* of the decoded bytes */
    bool is_inline;
    enum attachment_kind kind;
    char *magic_type; /* what the bytes are by libmagic, NULL: not looked at */
    char *content_id; /* without <>, NULL when absent */
    char *inner;      /* "tnef:2": a member of what stands at this place, which is then decoded as `encoding` says; NULL: that itself */
};

/* One recipient that a bounce speaks of (RFC 3464, or what came near it). Texts are one line; NULL unknown. */
struct bounce {
    char *recipient;  /* normalized */
    char *status;     /* "5.1.1" (RFC 3463) */
    char *action;     /* "failed", "delayed", "delivered", "relayed", "expanded" */
    char *diagnostic; /* the other system's words */
    char *reason;     /* a word of ours: "user-unknown", "mailbox-full", … */
};

/* One Authentication-Results field (RFC 8601), as said; whether its author is trusted is for the front to know. */
enum auth_verdict { AUTH_NONE, AUTH_PASS, AUTH_FAIL, AUTH_OTHER }; /* none, pass, fail, and softfail, neutral, temperror, … */
struct auth_result {
    char *server; /* authserv-id */
    enum auth_verdict spf, dkim, dmarc, arc;
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
    char *remedy_sought;  /* what the complainant wants, in their words */
    char *representative; /* who complains for them: a JSON object of texts, on one line */
    /* how it was read: NULL when there is nothing to say */
    char *charset_note; /* "gb2312 read as gb18030" */
    char *security;     /* "smime-signed", "smime-encrypted", "pgp-signed", "pgp-encrypted" */
    /* why it has its class: "auto-submitted", "null-sender", … strongest first */
    struct strlist signals;
    uint32_t hops; /* X-Complaintd-Hops, 0 when absent */
    /* of a bounce */
    struct bounce *bounces;
    size_t nbounces;
    char *bounced_id;     /* Message-ID of the mail that came back, without <> */
    char *bounced_sender; /* its reverse-path or From, which may hold a token of ours */
    struct auth_result *auths; /* the topmost first */
    size_t nauths;
};

struct record *record_new(void);
void record_free(struct record **r);
struct attachment *record_add_attachment(struct record *r); /* NULL at the limit */
struct bounce *record_add_bounce(struct record *r);         /* the same */
struct auth_result *record_add_auth(struct record *r);      /* the same */
void record_add_signal(struct record *r, const char *name); /* once each; dropped at the limit */
void record_add_hit(struct record *r, uint32_t pattern, uint8_t field, const char *word, size_t nword); /* dropped at the limit */
void record_write(const struct record *r, struct buf *out);
int record_read(const void *p, size_t n, struct record **ret) CD_MUSTUSE;
/* true when every attachment's place lies inside the envelope's raw bytes; to be asked after record_read(). */
bool record_fits(const struct record *r, const struct envelope *e);
/* The record of an envelope that no worker could decode: flag degraded, sender from the envelope, text a fixed sentence. */
struct record *record_degraded(const struct envelope *e, const char *reason);
