#pragma once
/* Names of character sets as they stand in mails, and the open converters behind them. */
#include <iconv.h>

#include "daemon/core/base.h"

struct charset_names {
    const char *v[3]; /* converters to try in this order; they belong to the table or to `own` */
    size_t n;         /* 0: no converter, or nothing useful was declared */
    bool declared;    /* something was declared that claims to be a set */
    bool hz;          /* HZ-GB-2312, which has a converter of our own */
    char own[64];
};
void charset_names_of(const char *declared, struct charset_names *ret);
/* The open converter to UTF-8, (iconv_t)-1 when there is none. Shared: reset it before use. */
iconv_t charset_converter(const char *name);
/* Whether ASCII bytes always mean themselves in it. */
bool charset_is_ascii_based(const char *name);
/* HZ (RFC 1843): NULL when it is not clean. */
CD_MUSTUSE char *charset_from_hz(const char *p, size_t n, size_t *ret_n);
/* ISO-2022-JP with the characters of NEC and IBM: NULL when it is not clean. */
CD_MUSTUSE char *charset_from_jis(const char *p, size_t n, size_t *ret_n);
