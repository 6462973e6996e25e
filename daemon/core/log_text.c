/* Values of log fields: quoting and masking, into rotating static buffers. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/log.h"
#include "daemon/core/str.h"

#define VALUE_SIZE 512
#define VALUE_MAX 500    /* of the value itself */
#define NUMBER_DIGITS 7  /* a run of so many digits may be somebody's number */

static bool full_pii;

void log_set_pii(bool full)
{
    full_pii = full;
}

bool log_pii(void)
{
    return full_pii;
}

static char *rotating(void)
{
    static char v[8][VALUE_SIZE];
    static unsigned next;
    return v[next++ % 8];
}

const char *log_quote(const char *s)
{
    char *out = rotating();
    size_t n = 0;
    if (!s)
        s = "";
    bool plain = *s != '\0';
    for (const char *p = s; *p && plain; p++)
        plain = (unsigned char)*p > ' ' && *p != '"' && *p != '=' && *p != '\\' && *p != 0x7f;
    size_t len = strlen(s);
    if (plain && len < VALUE_MAX) {
        memcpy(out, s, len + 1);
        return out;
    }
    out[n++] = '"';
    for (; *s && n < VALUE_MAX; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            out[n++] = '\\';
        out[n++] = c < ' ' || c == 0x7f ? ' ' : (char)c;
    }
    if (*s)
        n = 1 + utf8_cut(out + 1, n - 1);
    out[n++] = '"';
    out[n] = '\0';
    return out;
}

const char *log_addr(const char *s)
{
    char masked[320];
    if (full_pii)
        return log_quote(s);
    str_mask(s, masked, sizeof masked);
    return log_quote(masked);
}

/* Bytes that an address in the middle of a text may have; '=' and '\'' are left out, they stand around values more often. */
static bool is_address_byte(unsigned char c)
{
    return isalnum(c) || c >= 0x80 || (c && strchr("@.!#$%&*+-/?^_`{|}~", c) != NULL);
}

static bool is_number(const char *s, size_t n)
{
    size_t digits = 0;
    for (size_t i = 0; i < n; i++)
        if (s[i] >= '0' && s[i] <= '9')
            digits++;
        else if (i || s[i] != '+')
            return false;
    return digits >= NUMBER_DIGITS;
}

const char *log_text(const char *s)
{
    char out[VALUE_SIZE], word[320];
    size_t n = 0;
    if (full_pii || !s)
        return log_quote(s);
    while (*s && n < sizeof out - 1) {
        size_t k = 0;
        while (is_address_byte((unsigned char)s[k]) && k < sizeof word - 1)
            k++;
        if (k == 0) {
            out[n++] = *s++;
            continue;
        }
        size_t name = k; /* a full stop behind it ends the sentence */
        while (name > 1 && s[name - 1] == '.')
            name--;
        snprintf(word, sizeof word, "%.*s", (int)name, s);
        if (memchr(s, '@', name) || is_number(s, name))
            str_mask(word, out + n, sizeof out - n);
        else
            snprintf(out + n, sizeof out - n, "%s", word);
        n += strlen(out + n);
        s += name;
    }
    out[n] = '\0';
    return log_quote(out);
}
