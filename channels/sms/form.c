/* Form bodies. One copy of the body is decoded in place, the pairs point into it; the caller frees the form.
 * Anything that two readers could read differently is a fault. */
#include "channels/sms/form.h"

#include <ctype.h>
#include <string.h>

#include "daemon/core/err.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes in place; the new length, or CD_EINVAL. */
static ssize_t unescape(char *s, size_t n)
{
    size_t out = 0;

    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '%') {
            int high = i + 2 < n ? hex_value(s[i + 1]) : -1;
            int low = high >= 0 ? hex_value(s[i + 2]) : -1;
            if (low < 0)
                return CD_EINVAL;
            s[out++] = (char)(high << 4 | low);
            i += 2;
        } else if (c <= ' ' || c == 0x7f) {
            return CD_EINVAL;
        } else {
            s[out++] = c == '+' ? ' ' : (char)c;
        }
    }
    s[out] = '\0';
    return (ssize_t)out;
}

static int add_pair(struct form *f, char *s, size_t n)
{
    char *eq = memchr(s, '=', n);
    size_t nname = eq ? (size_t)(eq - s) : n;

    if (f->n == FORM_MAX_PAIRS)
        return CD_ELIMIT;
    struct form_pair *p = &f->v[f->n];
    p->name = s;
    p->value = eq ? eq + 1 : s + n;
    ssize_t value = eq ? unescape(p->value, n - nname - 1) : 0;
    ssize_t name = unescape(p->name, nname);
    if (name <= 0 || value < 0)
        return CD_EINVAL;
    if (!eq)
        p->value = s + name; /* the NUL that unescape() wrote */
    p->nname = (size_t)name;
    p->nvalue = (size_t)value;
    f->n++;
    return 0;
}

int form_parse(const void *p, size_t n, struct form **ret)
{
    struct form *f = cd_alloc(sizeof *f);
    int r = 0;

    f->bytes = cd_alloc(n + 1);
    if (n)
        memcpy(f->bytes, p, n);
    for (size_t at = 0; at < n && r == 0;) {
        char *amp = memchr(f->bytes + at, '&', n - at);
        size_t end = amp ? (size_t)(amp - f->bytes) : n;
        r = add_pair(f, f->bytes + at, end - at);
        at = end + 1;
        if (amp && at == n)
            r = CD_EINVAL; /* "a=b&": was something cut off? */
    }
    if (r < 0) {
        form_free(&f);
        return r;
    }
    *ret = f;
    return 0;
}

void form_free(struct form **f)
{
    if (!*f)
        return;
    free((*f)->bytes);
    free(*f);
    *f = NULL;
}

const struct form_pair *form_find(const struct form *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].nname == strlen(name) && memcmp(f->v[i].name, name, f->v[i].nname) == 0)
            return &f->v[i];
    return NULL;
}

size_t form_count(const struct form *f, const char *name)
{
    size_t count = 0;

    for (size_t i = 0; i < f->n; i++)
        count += f->v[i].nname == strlen(name) && memcmp(f->v[i].name, name, f->v[i].nname) == 0;
    return count;
}

const char *form_one(const struct form *f, const char *name)
{
    const struct form_pair *p = form_find(f, name);

    return p && form_count(f, name) == 1 && strlen(p->value) == p->nvalue ? p->value : NULL;
}

void form_append(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, "%s%s=", b->len ? "&" : "", name);
    for (const char *p = value; *p; p++)
        if (isalnum((unsigned char)*p) || strchr("-._~", *p))
            buf_append_char(b, *p);
        else
            buf_printf(b, "%%%02X", (unsigned char)*p);
}
