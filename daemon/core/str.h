#pragma once
/* Small strict text functions. None depends on the locale. */
#include "daemon/core/base.h"

bool str_eq(const char *a, const char *b);       /* NULL-safe */
bool str_ieq(const char *a, const char *b);      /* ASCII case ignored, NULL-safe */
bool str_starts(const char *s, const char *prefix);
bool str_istarts(const char *s, const char *prefix);
void str_lower(char *s);                         /* ASCII, in place */
/* Decimal digits only, no sign, no spaces; CD_EINVAL or CD_ELIMIT (over max). */
int str_parse_u64(const char *s, uint64_t max, uint64_t *ret) CD_MUSTUSE;
/* "90s", "5min", "2h", "3d", "1w", "250ms", also sums as "1h30min", with an optional leading + or -. */
int str_parse_duration(const char *s, int64_t *ret_us) CD_MUSTUSE;
/* "64kB", "25MB", "1GB" (powers of 1024), "512" (bytes). */
int str_parse_size(const char *s, uint64_t *ret) CD_MUSTUSE;
void str_format_duration(int64_t us, char out[32]); /* "1h30min" */

bool utf8_valid(const char *s, size_t n);
/* A copy that is valid UTF-8 without NUL: bad bytes become U+FFFD. *ret_changed may be NULL. */
CD_MUSTUSE char *utf8_clean(const char *s, size_t n, bool *ret_changed);
/* The largest n' <= n that does not cut a character. */
size_t utf8_cut(const char *s, size_t n);
size_t utf8_length(const char *s); /* characters in valid UTF-8 */
/* "ma***@example.com", "+8613*****00": for logs. Writes at most size bytes. */
void str_mask(const char *address, char *out, size_t size);

/* A list of strings that owns its elements. */
struct strlist {
    char **v;
    size_t n;
};
void strlist_add(struct strlist *l, const char *s); /* copies */
void strlist_take(struct strlist *l, char *s);      /* takes ownership */
bool strlist_has(const struct strlist *l, const char *s);
void strlist_free(struct strlist *l);
