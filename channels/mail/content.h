#pragma once
/* From the place of an attachment in a raw mail to its bytes: the transfer encoding undone and, where the record says
 * so, a member taken out of what stands there. The worker sums size and digest from it, complaintctl hands the bytes
 * out through it, so both are the same. Bytes from strangers: to be called in a process that has shut itself in. */
#include "daemon/core/base.h"

typedef void (*content_sink)(void *arg, const void *p, size_t n);

/* Whether the name is one that is undone ("base64", "quoted-printable", "x-uuencode"); of others the bytes are as they
 * stand. */
bool content_is_encoded(const char *encoding);
/* Gives the decoded bytes piece by piece. Never fails: what is broken is decoded as far as it goes. */
void content_decode(const char *encoding, const void *p, size_t n, content_sink sink, void *arg);
/* The decoded bytes, at most `max` of them and some, in *ret_own (to be freed; NULL when they are those at `p`).
 * *ret_cut: there were more. */
const uint8_t *content_bytes(const char *encoding, const void *p, size_t n, size_t max, size_t *ret_n, uint8_t **ret_own,
                             bool *ret_cut);
/* The bytes of an attachment: `inner` as in its record, NULL for what stands at the place itself. 0, or CD_ENOTFOUND
 * when there is no such member. */
int content_member(const char *encoding, const char *inner, const void *p, size_t n, content_sink sink, void *arg) CD_MUSTUSE;
