#pragma once
/* Private to decode*.c: the state of one decoding and what its parts offer each other. */
#include <gmime/gmime.h>

#include "channels/mail/charset.h"
#include "channels/mail/decode_scan.h"
#include "daemon/intake/envelope.h"
#include "daemon/intake/record.h"

#define DECODE_MAX_DEPTH 20    /* deeper nesting is still read, but flagged */
#define DECODE_MAX_REPARSED 10 /* messages inside an encoded part, each parsed on its own */
#define DECODE_MAX_LOOKED_AT 64 /* attachments of which libmagic says what they are; further ones have no magic_type */
#define DECODE_MAX_HTML 8       /* HTML parts in which the pictures of a mail are looked for */
#define DECODE_MAX_NAME 500
#define DECODE_MAX_ID 255

struct decoding {
    const struct envelope *e;
    struct record *r;
    const struct mail_view *view;
    const uint8_t *raw; /* what `view` is of: e->raw, or the decoded content of a part */
    size_t nraw;
    bool places; /* raw is e->raw: attachments have a place in it */
    unsigned depth, reparsed, looked_at;
    const char *hint;      /* character set that the body of the message at hand declares; NULL: none */
    char word_hint[41];    /* that of the first encoded word of its Subject, for a body that declares none; "": none */
    const char *boundary;  /* of the multipart around the part at hand; NULL: none */
    bool encrypted;        /* inside multipart/encrypted */
    bool in_message;       /* inside a message/rfc822 part */
    GMimeObject *html[DECODE_MAX_HTML]; /* borrowed: parts that may show pictures of the mail, read or not */
    unsigned nhtml;
    struct buf later;      /* text of what is shown only where nothing else is: calendars, winmail.dat */
};

/* Flags the record REC_DEGRADED and adds a reason, once each. */
void decode_degrade(struct record *r, const char *fmt, ...) CD_PRINTF(2, 3);
/* Parses the view; NULL when GMime finds no message in it. Unref it before the view goes. */
GMimeMessage *decode_parse(const struct mail_view *v);

/* ---- decode_words.c: header values ---- */

/* The value as readable text: encoded words and raw 8-bit decoded by our own ladder, white space collapsed,
 * at most `max` bytes. Never NULL; free it. */
CD_MUSTUSE char *decode_header_text(struct record *r, const char *raw, size_t max);
/* The same of a field of the message at hand: what is not labelled is read in the character set of its body. */
CD_MUSTUSE char *decode_header_text_of(struct decoding *d, const char *raw, size_t max);
/* The same value in raw UTF-8 and with encoded words of no other character set, for GMime's parsers of
 * structured fields. NULL when it is so already (the usual case). */
CD_MUSTUSE char *decode_header_utf8(struct record *r, const char *raw);
CD_MUSTUSE char *decode_header_utf8_of(struct decoding *d, const char *raw);
/* Collapses white space and drops control characters, in place. */
void decode_squeeze(char *s);

/* ---- decode_headers.c ---- */

/* The raw value of the first field of that name; NULL when absent. Belongs to the object. */
const char *decode_header(GMimeObject *o, const char *name);
void decode_headers(struct decoding *d, GMimeMessage *m); /* people, subject, ids, date */
/* The character set of the first encoded word in a field; "" when there is none. */
void decode_word_charset(const char *raw, char out[41]);
/* The character set of the first text in it, as declared; NULL when there is none. Belongs to the object. */
const char *decode_charset_hint(GMimeMessage *m);
/* "Name <address>" of the first mailbox of a field as text for people; "" when there is none. */
CD_MUSTUSE char *decode_header_people(struct decoding *d, GMimeMessage *m, const char *name);

/* ---- decode_auth.c ---- */

/* What mail servers in front say of the sender, into the record. */
void decode_auth(struct record *r, const void *raw, size_t n);

/* ---- decode_class.c ---- */

void decode_class(struct decoding *d, GMimeMessage *m);

/* ---- decode_reply.c ---- */

void decode_reply(struct record *r); /* text_new and text_quoted, from text */

/* ---- decode_parts.c and decode_messages.c ---- */

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
void part_text_take(struct decoding *d, struct part_text *t, struct part_text *from);
void decode_forwarded(struct decoding *d, GMimeMessage *m, struct part_text *t);
/* A message/rfc822 part: an attachment of its own, and its text. */
void decode_message_part(struct decoding *d, GMimeMessagePart *o, struct part_text *t);
/* A message (or, with `entity`, the content of a signed part) whose bytes were encoded as a whole: parsed on its own. What is
 * attached in there has no place in the raw message; the whole part counts as the attachment. */
void decode_encoded_message(struct decoding *d, const uint8_t *p, size_t n, bool cut, bool entity, struct part_text *t);

/* ---- decode_leaf.c ---- */

enum decode_flow { FLOW_NONE, FLOW_KEEP, FLOW_DELSP }; /* format=flowed */
struct leaf {
    GMimeObject *part;
    const char *charset; /* of Content-Type, or NULL */
    char *type;          /* "text/plain", lower case, bounded */
    char *filename;      /* safe, "" when there is none */
    char *content_id;    /* NULL when there is none */
    GMimeContentEncoding encoding;
    enum decode_flow flow;
    size_t offset, length;    /* in raw */
    bool attached, is_inline; /* Content-Disposition */
};
void leaf_init(struct decoding *d, GMimeObject *part, struct leaf *l);
void leaf_free(struct leaf *l);
/* A name from outside as one that is safe to show and to store; free it. */
CD_MUSTUSE char *decode_safe_name(struct decoding *d, const char *name);
CD_MUSTUSE char *decode_filename(struct decoding *d, GMimeObject *o); /* of any part, safe, "" when there is none */

/* ---- decode_content.c ---- */

/* Adds it to the record's attachments; NULL when it has no place there. */
struct attachment *leaf_attach(struct decoding *d, const struct leaf *l);
struct attachment *decode_attach_member(struct decoding *d, const struct leaf *container, unsigned number, const char *name,
                                        const char *type, const void *p, size_t n);
void decode_attach_message(struct decoding *d, const char *name, const char *type, size_t offset, size_t length);
/* The decoded bytes, at most `max` of them; *ret_own is to be freed. *ret_cut: there were more. */
const uint8_t *leaf_bytes(struct decoding *d, const struct leaf *l, size_t max, size_t *ret_n,
                          uint8_t **ret_own, bool *ret_cut);

/* ---- decode_text.c ---- */

/* Adds the part as text (plain or converted from HTML). */
void leaf_text(struct decoding *d, const struct leaf *l, struct part_text *t);
void decode_add_plain(struct decoding *d, const char *charset, enum decode_flow flow, const uint8_t *p, size_t n, struct part_text *t);
void decode_add_html(struct decoding *d, const char *charset, const uint8_t *p, size_t n, struct part_text *t);
/* Bytes of unknown make as text. */
void decode_raw_text(struct decoding *d, const uint8_t *p, size_t n, struct part_text *t);
/* Notes in the record how a character set was read, where that is not plainly as declared; `body`: also degrades it. */
void decode_note_charset(struct record *r, const char *declared, const struct charset_note *n, bool body);

/* ---- decode_kinds.c: what parts are, beside text and files ---- */

/* By the ending of a name; "application/octet-stream" where that says nothing. */
const char *decode_type_by_name(const char *name);
enum attachment_kind decode_kind_of(struct decoding *d, const struct leaf *l, const char *magic);
/* After the walk: pictures that an HTML part of the mail shows are inline, whatever their own part says. */
void decode_find_inline(struct decoding *d);
void decode_calendar(struct decoding *d, const struct leaf *l);

/* ---- decode_secure.c: S/MIME and OpenPGP ---- */

bool secure_is_pkcs7(const char *type);
bool secure_is_signature(const char *type);
void secure_multipart(struct decoding *d, GMimeContentType *ct); /* multipart/signed and /encrypted */
/* application/pkcs7-mime: names what it is; the content of a signed one is read. */
void secure_pkcs7(struct decoding *d, const struct leaf *l, struct part_text *t);
/* Takes the armour of OpenPGP off a text, in place; returns the new length. */
size_t decode_take_armor(struct decoding *d, char *s, size_t n);

/* ---- decode_uu.c ---- */

/* The text without the uuencoded files in it, which become attachments; false, and nothing in `rest`, when there are none. `p`: what
 * stands at the leaf's place, not encoded. */
bool decode_uu_files(struct decoding *d, const struct leaf *l, const uint8_t *p, size_t n, struct buf *rest);

/* ---- decode_tnef.c ---- */

bool decode_is_tnef(const struct leaf *l);
void decode_tnef(struct decoding *d, const struct leaf *l); /* members to the attachments, text to `later` */
