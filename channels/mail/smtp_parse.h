#pragma once
/* Pure parsers of the SMTP dialogue: command lines, the arguments of MAIL and RCPT, and the dot stream of
 * DATA. No I/O and no allocation of their own; each works on input cut at any byte. */
#include "daemon/core/buf.h"

/* ---- lines and verbs ---- */

struct smtp_line {
    const char *text; /* a view into the input, without the line end; not NUL-terminated */
    size_t n;
    bool bare_lf;   /* ended in LF without CR */
    bool bad_bytes; /* holds NUL or a CR that is not part of the line end */
};
/* Takes one line; returns the bytes it occupies, its end included, or 0 when the end has not come yet. */
size_t smtp_line_take(const uint8_t *p, size_t n, struct smtp_line *ret);

struct smtp_command {
    const char *verb, *arg; /* views; arg without the blanks around it */
    size_t nverb, narg;
};
void smtp_command_split(const struct smtp_line *l, struct smtp_command *ret);

/* ---- MAIL and RCPT ---- */

#define SMTP_ADDRESS_SIZE 516 /* 256 + "@" + 255, and the NUL */

enum smtp_fault {
    SMTP_FAULT_NONE,
    SMTP_FAULT_SYNTAX,        /* "FROM:", "TO:" or the angle brackets are not there */
    SMTP_FAULT_ADDRESS,       /* the mailbox is not one */
    SMTP_FAULT_UTF8,          /* bytes over 0x7f in an address without SMTPUTF8 */
    SMTP_FAULT_PARAM,         /* a known parameter with a bad value, or twice */
    SMTP_FAULT_PARAM_UNKNOWN, /* a parameter that was not offered */
};
struct smtp_path {
    char address[SMTP_ADDRESS_SIZE]; /* without <> and source route; "" for the null reverse-path */
    bool has_size, utf8, body_8bit;  /* MAIL only */
    uint64_t size;                   /* declared; UINT64_MAX when larger than that */
};
/* "FROM:<path> [SIZE=n] [BODY=7BIT|8BITMIME] [SMTPUTF8]". A quoted local part that needs no quotes loses
 * them. */
enum smtp_fault smtp_parse_mail(const char *arg, size_t n, struct smtp_path *ret);
/* "TO:<path>", also "<postmaster>" and "<abuse>" without a domain; `utf8` as MAIL of this transaction said.
 */
enum smtp_fault smtp_parse_rcpt(const char *arg, size_t n, bool utf8, struct smtp_path *ret);

/* ---- the dot stream (RFC 5321 4.5.2) ---- */

enum smtp_dots_refuse { DOTS_BARE_LF = 1, DOTS_BARE_CR = 2, DOTS_NUL = 4 };
enum smtp_dots_state { DOTS_LINE_START, DOTS_DOT, DOTS_DOT_CR, DOTS_IN_LINE, DOTS_CR };

/* Only CR LF "." CR LF ends the data, and only a dot right after CR LF is transparent. A bare LF or CR becomes
 * CR LF in the content but begins no line in that sense, so that nothing a sender's gateway took for text can
 * end the message here. */
struct smtp_dots {
    enum smtp_dots_state state;
    size_t limit; /* of content bytes, 0 is a limit of none */
    size_t bytes; /* content so far, counted also when it is not kept */
    bool bare_lf, bare_cr, nul, over, no_memory;
    bool misshapen; /* set by the reader: nothing more is kept */
    unsigned refuse; /* enum smtp_dots_refuse bits: once such a thing was seen nothing more is kept */
};
void smtp_dots_init(struct smtp_dots *d, size_t limit, unsigned refuse);
/* Appends the content in p to `out`; *ret_used says how much of p belongs to the message. true when its end
 * was reached. After a fault (nul, bare_cr, over, no_memory, a refused bare LF) the rest is read to its end
 * and thrown away. */
bool smtp_dots_feed(struct smtp_dots *d, const uint8_t *p, size_t n, struct buf *out, size_t *ret_used);
bool smtp_dots_faulty(const struct smtp_dots *d);

/* ---- the shape of a message ---- */

enum smtp_content_fault { SMTP_CONTENT_FINE, SMTP_CONTENT_HEADER, SMTP_CONTENT_FIELDS, SMTP_CONTENT_HOPS, SMTP_CONTENT_LINE };
struct smtp_content_limits {
    size_t header_bytes, line_bytes; /* line_bytes: the CR is one of them, the LF is not */
    uint64_t header_fields, hops;
};
struct smtp_content { /* begins as zero */
    size_t at, line; /* scanned so far; where the line that is scanned begins */
    unsigned fields, hops;
    bool in_body;
};
/* `p` is the message from its beginning, `n` how much of it there is by now. The first limit that it is over; not to be called again
 * after one. */
enum smtp_content_fault smtp_content_feed(struct smtp_content *c, const struct smtp_content_limits *l, const uint8_t *p, size_t n);
