#pragma once
/* Private to channels/mail: builds the outgoing RFC 5322 message. Pure functions. */
#include "channels/channel.h"

/* The bytes that go on the wire (before dot-stuffing): CRLF line ends only, no line over 998 bytes, ASCII but
 * for a recipient's local part outside it, which stands in To as UTF-8 (RFC 6532). CD_EINVAL when an address is
 * no strict mailbox, CD_ENOMEM when the buffer's cap is reached. */
int mail_message_build(const struct config *cfg, const struct outgoing *m, int64_t now_us,
                       struct buf *out) CD_MUSTUSE;
/* The Message-ID that an idempotency key becomes, without <>. Free it. */
CD_MUSTUSE char *mail_message_id(const struct config *cfg, const char *key);
/* The host name if it may stand in a command or an address, otherwise "localhost". */
const char *mail_safe_hostname(const char *name);

/* ---- out_address.c ---- */

/* The address as it goes into commands and headers: its domain in ASCII. NULL when it is none. Free it. */
CD_MUSTUSE char *mail_address_on_wire(const char *address);
bool mail_address_ascii(const char *address);

/* ---- out_flow.c ---- */

/* The text as format=flowed, LF line ends. `text` is valid UTF-8. */
void mail_flow_text(struct buf *b, const char *text);

/* ---- out_encode.c; faults show in buf.failed ---- */

/* "Name: text" with the text folded and, where needed, as RFC 2047 encoded words. Control bytes become
 * spaces. */
void mail_encode_field(struct buf *b, const char *name, const char *text);
/* "Name: Display <address>"; `display` may be "" or NULL, `address` is valid already. */
void mail_encode_mailbox(struct buf *b, const char *name, const char *display, const char *address);
/* Content-Transfer-Encoding, the empty line and the body, which is valid UTF-8: quoted-printable, or base64
 * when that is shorter. */
void mail_encode_body(struct buf *b, const char *text);
