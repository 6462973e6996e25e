#pragma once
/* What the generator sends: the bytes of mail, SMS or SUBMIT number `i` depend on the seed and on nothing
 * else, so that every server compared gets the same. A small vocabulary, TEXT_SENDERS senders, a mark and a
 * Message-ID of its own each. */
#include "daemon/core/buf.h"

#define TEXT_SENDERS 1000

struct text {
    uint64_t seed;
    size_t size;      /* bytes of a mail, about */
    unsigned senders; /* how many different ones */
};

/* What identifies number `i`, and who writes it. */
struct text_item {
    char key[64];    /* Message-ID without <>, MessageSid, or the key of a SUBMIT */
    char mark[24];   /* "mark-" and 16 hex digits: stands in the text */
    char sender[96]; /* mail address, under 64 characters */
    char name[32];
    char phone[20]; /* E.164 */
    char subject[96];
};

void text_item(const struct text *t, const char *prefix, uint64_t i, struct text_item *ret);
/* A whole multipart/alternative mail with CRLF; no line begins with a dot. */
void text_mail(const struct text *t, uint64_t i, const struct text_item *item, struct buf *out);
/* About `size` bytes of plain text, lines ended by LF. */
void text_plain(const struct text *t, uint64_t i, const struct text_item *item, size_t size, struct buf *out);
/* Appends customer, subject and text as members of a JSON object. */
void text_json_members(const struct text_item *item, const char *text, struct buf *out);
/* A pseudo-random number from a state (splitmix64). */
uint64_t text_random(uint64_t *state);
