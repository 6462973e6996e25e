/* Strict small parsers and string lists. */
#include "daemon/core/str.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/core/err.h"

bool str_eq(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool str_ieq(const char *a, const char *b)
{
    if (!a || !b)
        return a == b;
    for (; *a && *b; a++, b++)
        if (lower(*a) != lower(*b))
            return false;
    return *a == *b;
}

bool str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_istarts(const char *s, const char *prefix)
{
    for (; *prefix; s++, prefix++)
        if (lower(*s) != lower(*prefix))
            return false;
    return true;
}

void str_lower(char *s)
{
    for (; *s; s++)
        *s = lower(*s);
}

int str_parse_u64(const char *s, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;
    if (!s || !*s)
        return CD_EINVAL;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return CD_EINVAL;
        uint64_t d = (uint64_t)(*s - '0');
        if (v > (UINT64_MAX - d) / 10)
            return CD_ELIMIT;
        v = v * 10 + d;
    }
    if (v > max)
        return CD_ELIMIT;
    *ret = v;
    return 0;
}

struct unit {
    const char *name;
    int64_t factor;
};
static const struct unit time_units[] = {
    {"us", 1}, {"ms", CD_MSEC(1)}, {"s", CD_SEC(1)}, {"min", CD_MIN_US(1)}, {"h", CD_HOUR(1)}, {"d", CD_HOUR(24)}, {"w", CD_HOUR(168)},
};
static const struct unit size_units[] = {
    {"B", 1}, {"kB", 1 << 10}, {"KB", 1 << 10}, {"MB", 1 << 20}, {"GB", 1 << 30}, {"k", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30},
};

/* Reads one "number unit" pair; moves *s behind it. */
static int read_quantity(const char **s, const struct unit *units, size_t n, int64_t bare, int64_t *ret)
{
    const char *p = *s;
    int64_t v = 0;
    if (*p < '0' || *p > '9')
        return CD_EINVAL;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (v > (INT64_MAX - 9) / 10)
            return CD_ELIMIT;
        v = v * 10 + (*p - '0');
    }
    size_t len = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    int64_t factor = len == 0 ? bare : 0;
    for (size_t i = 0; i < n && len; i++)
        if (strlen(units[i].name) == len && memcmp(units[i].name, p, len) == 0)
            factor = units[i].factor;
    if (!factor && !(len == 0 && v == 0))
        return CD_EINVAL;
    if (factor && v > INT64_MAX / 4 / factor)
        return CD_ELIMIT;
    *ret = v * factor;
    *s = p + len;
    return 0;
}

int str_parse_duration(const char *s, int64_t *ret_us)
{
    int64_t sum = 0, part;
    bool negative = s && *s == '-';
    if (!s)
        return CD_EINVAL;
    if (*s == '-' || *s == '+')
        s++;
    do {
        int r = read_quantity(&s, time_units, ARRAY_LEN(time_units), 0, &part);
        if (r < 0)
            return r;
        sum += part;
        if (sum > INT64_MAX / 4)
            return CD_ELIMIT;
    } while (*s);
    *ret_us = negative ? -sum : sum;
    return 0;
}

int str_parse_size(const char *s, uint64_t *ret)
{
    int64_t v;
    if (!s)
        return CD_EINVAL;
    int r = read_quantity(&s, size_units, ARRAY_LEN(size_units), 1, &v);
    if (r < 0)
        return r;
    if (*s)
        return CD_EINVAL;
    *ret = (uint64_t)v;
    return 0;
}

void str_format_duration(int64_t us, char out[32])
{
    static const struct unit big[] = {{"d", CD_HOUR(24)}, {"h", CD_HOUR(1)}, {"min", CD_MIN_US(1)}, {"s", CD_SEC(1)}};
    size_t n = 0;
    bool negative = us < 0;
    if (negative)
        us = -us;
    if (us == 0 || us < CD_SEC(1)) {
        snprintf(out, 32, us ? "%s%lldms" : "%s%llds", negative ? "-" : "", (long long)(us / 1000));
        return;
    }
    if (negative)
        out[n++] = '-';
    out[n] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(big); i++) {
        int64_t k = us / big[i].factor;
        us %= big[i].factor;
        if (k && n < 31) {
            int w = snprintf(out + n, 32 - n, "%lld%s", (long long)k, big[i].name);
            n = CD_MIN(n + (size_t)CD_MAX(w, 0), (size_t)31);
        }
    }
}

/* "an***@example.com": nothing of a short local part. */
static void mask_mail(const char *address, const char *at, char *out, size_t size)
{
    size_t shown = at - address > 2 ? 2 : 0, n = strlen(at), put = 0;
    char head[5];
    memcpy(head, address, shown);
    memcpy(head + shown, "***", 3);
    put = CD_MIN(shown + 3, size - 1);
    memcpy(out, head, put);
    n = CD_MIN(n, size - 1 - put);
    memcpy(out + put, at, n);
    out[put + n] = '\0';
}

void str_mask(const char *address, char *out, size_t size)
{
    if (!size)
        return;
    size_t n = address ? strlen(address) : 0;
    const char *at = n ? strrchr(address, '@') : NULL;
    if (!n)
        snprintf(out, size, "%s", "");
    else if (at)
        mask_mail(address, at, out, size);
    else if (n > 6)
        snprintf(out, size, "%.*s***%s", 4, address, address + n - 2);
    else
        snprintf(out, size, "***");
}

void strlist_take(struct strlist *l, char *s)
{
    if ((l->n & (l->n - 1)) == 0) /* the size is the next power of two */
        l->v = cd_realloc(l->v, (l->n ? l->n * 2 : 1) * sizeof *l->v);
    l->v[l->n++] = s;
}

void strlist_add(struct strlist *l, const char *s)
{
    strlist_take(l, cd_strdup(s));
}

bool strlist_has(const struct strlist *l, const char *s)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->v[i], s) == 0)
            return true;
    return false;
}

void strlist_free(struct strlist *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i]);
    free(l->v);
    *l = (struct strlist){0};
}
