/* multipart/form-data, read strictly. Finding the next delimiter is one memmem(); nothing is copied but what a head says. */
#include "channels/web/form.h"

#include <string.h>

#include "channels/web/head.h"
#include "daemon/core/err.h"
#include "daemon/core/str.h"
#include "daemon/intake/headers.h"

#define MAX_TYPE 127
#define MAX_NAME 1000

bool form_boundary_valid(const char *s)
{
    size_t n = strspn(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=? ");

    return n > 0 && n <= FORM_MAX_BOUNDARY && !s[n] && s[n - 1] != ' ';
}

static bool faulty(struct form *f, const char *what)
{
    f->fault = what;
    f->next = NULL;
    return false;
}

/* `p` stands behind a delimiter's boundary. */
static bool after_delimiter(struct form *f, const char *p)
{
    size_t left = (size_t)(f->end - p);

    if (left >= 2 && memcmp(p, "\r\n", 2) == 0) {
        f->next = p; /* the CRLF stays: an empty head is followed by it at once */
        return true;
    }
    f->next = NULL;
    if (left >= 2 && memcmp(p, "--", 2) == 0 && (left == 2 || (left == 4 && memcmp(p + 2, "\r\n", 2) == 0)))
        return true;
    return faulty(f, left >= 2 && memcmp(p, "--", 2) == 0 ? "text behind the end of the form" : "a line begins with the boundary and goes on");
}

bool form_init(struct form *f, const void *p, size_t n, const char *boundary)
{
    *f = (struct form){.p = p, .end = (const char *)p + n};
    f->ndelimiter = 4 + strlen(boundary);
    memcpy(f->delimiter, "\r\n--", 4);
    memcpy(f->delimiter + 4, boundary, f->ndelimiter - 4);
    if (n < f->ndelimiter - 2 || memcmp(p, f->delimiter + 2, f->ndelimiter - 2) != 0)
        return faulty(f, "does not begin with its boundary");
    return after_delimiter(f, f->p + f->ndelimiter - 2);
}

bool form_next(struct form *f, struct form_part *ret)
{
    if (!f->next)
        return false;
    const char *head = f->next + 2;
    const char *stop = memmem(f->next, (size_t)(f->end - f->next), f->delimiter, f->ndelimiter);
    if (!stop)
        return faulty(f, "ends within a part");
    const char *blank = stop > f->next ? memmem(f->next, CD_MIN((size_t)(stop - f->next), FORM_MAX_HEAD + 4), "\r\n\r\n", 4) : NULL;
    if (!blank)
        return faulty(f, "a part without a head, or with one over 4 kB");
    *ret = (struct form_part){.head = blank < head ? blank : head, .body = blank + 4};
    ret->nhead = blank < head ? 0 : (size_t)(blank + 2 - head);
    ret->nbody = (size_t)(stop - ret->body);
    return after_delimiter(f, stop + f->ndelimiter);
}

/* ---- heads ---- */

void form_head_free(struct form_head *h)
{
    free(h->name);
    free(h->filename);
    free(h->type);
    free(h->encoding);
    *h = (struct form_head){0};
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* In place: every %XX, or only those that browsers write for what would break the quotes (HTML, 4.10.22.8). */
static void unescape(char *s, bool all)
{
    char *w = s;

    for (const char *p = s; *p; p++) {
        int high = *p == '%' ? hex_digit(p[1]) : -1, low = high >= 0 ? hex_digit(p[2]) : -1, c = high * 16 + low;
        if (low >= 0 && c && (all || c == '"' || c == '\r' || c == '\n')) {
            *w++ = (char)c;
            p += 2;
        } else {
            *w++ = *p;
        }
    }
    *w = '\0';
}

static char *clean(char *s)
{
    char *text = s ? utf8_clean(s, CD_MIN(strlen(s), (size_t)MAX_NAME), NULL) : NULL;

    free(s);
    return text;
}

/* filename*=UTF-8''… (RFC 8187) stands over filename=. */
static char *filename_of(const char *disposition)
{
    char *extended = web_head_parameter(disposition, "filename*");

    if (extended && str_istarts(extended, "utf-8'")) {
        char *text = strchr(extended + 6, '\'');
        if (text) {
            text = cd_strdup(text + 1);
            free(extended);
            unescape(text, true);
            return text;
        }
    }
    free(extended);
    char *plain = web_head_parameter(disposition, "filename");
    if (plain)
        unescape(plain, false);
    return plain;
}

static int read_disposition(const char *value, struct form_head *ret)
{
    if (!web_head_type_is(value, "form-data"))
        return CD_EINVAL;
    char *name = web_head_parameter(value, "name");
    if (name)
        unescape(name, false);
    ret->name = clean(name);
    ret->filename = clean(filename_of(value));
    return ret->name ? 0 : CD_EINVAL;
}

static char *type_of(const char *value)
{
    size_t n = strcspn(value, "; \t");

    if (n == 0 || n > MAX_TYPE || !memchr(value, '/', n))
        return NULL;
    char *s = cd_strndup(value, n);
    for (char *p = s; *p; p++)
        if (*p <= ' ' || *p >= 0x7f)
            *p = '_';
    str_lower(s);
    return s;
}

int form_head_read(const struct form_part *part, struct form_head *ret)
{
    struct headers_scan scan;
    struct headers_field f;
    struct buf value;
    int r = CD_EINVAL;
    unsigned dispositions = 0;

    *ret = (struct form_head){0};
    buf_init(&value, FORM_MAX_HEAD);
    headers_scan_init(&scan, part->head, part->nhead);
    while (headers_next(&scan, &f)) {
        buf_reset(&value);
        headers_value(&f, &value);
        const char *s = buf_str(&value);
        if (headers_is(&f, "Content-Disposition")) {
            r = dispositions++ ? CD_EINVAL : read_disposition(s, ret);
        } else if (headers_is(&f, "Content-Type") && !ret->type) {
            ret->type = type_of(s);
        } else if (headers_is(&f, "Content-Transfer-Encoding") && !ret->encoding) {
            ret->encoding = cd_strndup(s, CD_MIN(strlen(s), (size_t)40));
            str_lower(ret->encoding);
        }
    }
    if (scan.p != scan.end) /* a line that is no field: what follows it was not read */
        r = CD_EINVAL;
    buf_free(&value);
    if (r < 0)
        form_head_free(ret);
    return r;
}
