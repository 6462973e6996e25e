#pragma once
/* Private to channels/mail: the readers of delivery reports, those after RFC 3464, 3886 and 6533 and those that mail systems write in
 * words of their own. All of it is text from strangers: each reader looks at a bounded part of it, adds what it understands to the
 * record and leaves the rest; none fails. Except for bounce_read() they are pure functions of text. */
#include "channels/mail/decode_impl.h"

#define BOUNCE_MAX_TEXT CD_KIB(64)     /* of a text, of a part with fields, of a returned header */
#define BOUNCE_MAX_DIAGNOSTIC 400      /* of the other system's words, kept */
#define BOUNCE_STATUS_SIZE 12          /* "5.123.456" */

/* bounce.c: reads the whole message, whose text is in the record already. Returns whether it reports on at least one recipient in a way
 * that only mail systems have: fields of a report, or an address with a code or a known phrase. */
bool bounce_read(struct decoding *d, GMimeMessage *m);
/* Empties what bounce_read() filled. */
void bounce_forget(struct record *r);

/* bounce_report.c: the fields of message/delivery-status. */
void bounce_fields(struct record *r, const char *s, size_t n);

/* bounce_text.c: a report in words, up to the copy of the message that it returns. `ours`: addresses that are never the reported ones.
 * *ret_copy: where the copy begins, or n. */
void bounce_text(struct record *r, const char *s, size_t n, const struct strlist *ours, size_t *ret_copy);
/* Takes Message-ID, reverse-path and sender of the returned message from its header, as far as the record has none; *ret_to (may be
 * NULL) gets its first recipient, normalized, or NULL. */
void bounce_returned(struct record *r, const char *s, size_t n, char **ret_to);
/* The first address in s[0..n), normalized; NULL. *ret_end (may be NULL): behind it. */
CD_MUSTUSE char *bounce_address(const char *s, size_t n, size_t *ret_end);

/* bounce_status.c */
/* The enhanced status code (RFC 3463) that says most: one behind a reply code before others, X.0.0 last. */
bool bounce_find_status(const char *text, char out[BOUNCE_STATUS_SIZE]);
/* The first SMTP reply code of a refusal, 400 to 599; 0: none. */
int bounce_find_reply(const char *text);
/* Our word for what phrases in many languages and products say; NULL: nothing known. */
const char *bounce_find_reason(const char *text);
/* Says that the mail system goes on trying. */
bool bounce_is_delay(const char *text);
/* Fills status, action and reason from what is there: from the diagnostic, and from `text` where that says nothing. */
void bounce_finish(struct bounce *b, const char *text);
