#pragma once
/* Complaint references: "C-XXXX-XXXX-XXXX", twelve Crockford base32 symbols, the last a check symbol over GF(32).
 * Polynomial and examples: docs/protocol.md. */
#include "daemon/core/base.h"

#define REF_TEXT_SIZE 17 /* with the final NUL */

/* A new random reference (55 bits from the kernel's CSPRNG). */
void ref_new(char out[REF_TEXT_SIZE]);
/* Normalizes what a person typed: case, spaces and dashes are ignored, O reads as 0, I and L as 1.
 * 0, or CD_EINVAL when the length, a symbol or the check symbol is wrong. `n` is the length of `in`. */
int ref_parse(const char *in, size_t n, char out[REF_TEXT_SIZE]) CD_MUSTUSE;
/* Finds the references in a text ("C-" and the symbols in groups of four, separated by '-', space or nothing).
 * Writes up to `max` of them, returns how many. Only those with a right check symbol are found. */
size_t ref_find(const char *text, size_t n, char (*out)[REF_TEXT_SIZE], size_t max);
