#pragma once
/* Private to decode*.c: the state of one decoding and what its parts offer each other. */
#include <gmime/gmime.h>

#include "channels/mail/charset.h"
#include "channels/mail/decode_scan.h"
#include "daemon/intake/envelope.h"
#include "daemon/intake/record.h"

#define DECODE_MAX_DEPTH 20    /* deeper nesting is still read, but flagged */
#define DECODE_MAX_REPARSED 10 /* messages inside an encoded part, each parsed on its own */
#define DECODE_MAX_NAME 500
#define DECODE_MAX_ID 255

struct decoding {
    const struct envelope *e;
    struct record *r;
    const struct mail_view *view;
    const uint8_t *raw; /* what `view` is of: e->raw, or the decoded content of a part */
    size_t nraw;
    bool places; /* raw is e->raw: attachments have a place in it */
    unsigned depth, reparsed;
};

/* Flags the record REC_DEGRADED and adds a reason, once each. */
void decode_degrade(struct record *r, const char *fmt, ...) CD_PRINTF(2, 3);
/* Parses the view; NULL when GMime finds no message in it. Unref it before the view goes. */
GMimeMessage *decode_parse(const struct mail_view *v);

/* ---- decode_words.c: header values ---- */

/* The value as readable text: encoded words and raw 8-bit decoded by our own ladder, white space collapsed,
 * at most `max` bytes. Never NULL; free it. */
CD_MUSTUSE char *decode_header_text(struct record *r, const char *raw, size_t max);
/* The same value in raw UTF-8 and with encoded words of no other character set, for GMime's parsers of
 * structured fields. NULL when it is so already (the usual case). */
CD_MUSTUSE char *decode_header_utf8(struct record *r, const char *raw);
/* Collapses white space and drops control characters, in place. */
void decode_squeeze(char *s);

/* ---- decode_headers.c ---- */

/* The raw value of the first field of that name; NULL when absent. Belongs to the object. */
const char *decode_header(GMimeObject *o, const char *name);
void decode_headers(struct decoding *d, GMimeMessage *m); /* people, subject, ids, date */
/* "Name <address>" of the first mailbox of a field as text for people; "" when there is none. */
CD_MUSTUSE char *decode_header_people(struct decoding *d, GMimeMessage *m, const char *name);

/* ---- decode_auth.c ---- */

/* What mail servers in front say of the sender, into the record. */
void decode_auth(struct record *r, const void *raw, size_t n);

/* ---- decode_class.c ---- */

void decode_class(struct decoding *d, GMimeMessage *m);

/* ---- decode_parts.c ---- */

/* Reads the parts below `o`: attachments go to the record, the text to `text`. */
struct part_text {
    struct buf text;
    bool plain, html; /* what the text came from */
};
void decode_parts(struct decoding *d, GMimeObject *o, struct part_text *t);
void part_text_init(struct part_text *t);
/* Appends a piece of text behind an empty line; cut at the cap, with a reason. */
void part_text_add(struct decoding *d, struct part_text *t, const char *s, size_t n);
bool part_text_blank(const struct part_text *t);

/* ---- decode_leaf.c ---- */

struct leaf {
    GMimeObject *part;
    const char *charset; /* of Content-Type, or NULL */
    char *type;          /* "text/plain", lower case, bounded */
    char *filename;      /* safe, "" when there is none */
    GMimeContentEncoding encoding;
    size_t offset, length;    /* in raw */
    bool attached, is_inline; /* Content-Disposition */
};
void leaf_init(struct decoding *d, GMimeObject *part, struct leaf *l);
void leaf_free(struct leaf *l);

/* ---- decode_content.c ---- */

void leaf_attach(struct decoding *d, const struct leaf *l); /* adds it to the record's attachments */
/* The decoded bytes, at most `max` of them; *ret_own is to be freed. *ret_cut: there were more. */
const uint8_t *leaf_bytes(struct decoding *d, const struct leaf *l, size_t max, size_t *ret_n,
                          uint8_t **ret_own, bool *ret_cut);
/* Adds the part as text (plain or converted from HTML). */
void leaf_text(struct decoding *d, const struct leaf *l, struct part_text *t);
/* Bytes of unknown make as text. */
void decode_raw_text(struct decoding *d, const uint8_t *p, size_t n, struct part_text *t);

