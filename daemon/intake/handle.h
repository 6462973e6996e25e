#pragma once
/* Handles: addresses and numbers by which a complainant is known, in one normal form. */
#include "daemon/core/base.h"

/* A mailbox address "local@domain" in the syntax of RFC 5321 (dot-atom or quoted local part, UTF-8 allowed with `utf8`,
 * domain name or address literal; lengths 256 and 255), with dots in any place of the local part and '_' in the domain besides. No CR, LF, NUL, space or angle bracket ever passes. */
bool mail_address_valid(const char *s, size_t n, bool utf8);
/* Lower-cases the domain and, for use as a key, the local part as well. NULL when not valid. Free it. */
CD_MUSTUSE char *mail_address_normalize(const char *s);
/* E.164: "+" and 8 to 15 digits. Removes spaces, dots, dashes, brackets; "00" becomes "+"; a number without either gets
 * `country_code` ("86") when that is not NULL, after dropping one leading 0. NULL when the result is no number. Free it. */
CD_MUSTUSE char *phone_normalize(const char *s, const char *country_code);
