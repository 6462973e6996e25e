/* The grammar of mail addresses and telephone numbers. Strict, because what passes here is later written into
 * SMTP commands and header fields by a library that checks nothing. Pure functions; results are the caller's
 * to free. */
#include "daemon/intake/handle.h"

#include "daemon/core/str.h"

#include <arpa/inet.h>
#include <string.h>

#define MAIL_MAX 256
#define DOMAIN_MAX 255
#define LABEL_MAX 63
#define PHONE_MIN_DIGITS 8
#define PHONE_MAX_DIGITS 15

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* RFC 5321 4.1.2 with RFC 5322 3.2.3; bytes over 0x7f were judged as a whole before. */
static bool is_atext(char c)
{
    return is_alnum(c) || (c && strchr("!#$%&'*+-/=?^_`{|}~", c)) || (unsigned char)c >= 0x80;
}

/* Dots may lead, follow another or end, which RFC 5321 forbids: mobile operators gave out such addresses, other mail servers take them, and
 * a complaint is not refused for its sender's. */
static bool dot_atom_valid(const char *s, size_t n)
{
    bool any = false;

    for (size_t i = 0; i < n; i++) {
        if (s[i] != '.' && !is_atext(s[i]))
            return false;
        any |= s[i] != '.';
    }
    return any;
}

/* Quoted-string of RFC 5321 4.1.2, less the space and the angle brackets. */
static bool quoted_valid(const char *s, size_t n)
{
    if (n < 3 || s[0] != '"' || s[n - 1] != '"')
        return false;
    for (size_t i = 1; i < n - 1; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c == '\\') {
            if (++i >= n - 1)
                return false;
            c = (unsigned char)s[i];
        } else if (c == '"') {
            return false;
        }
        if (c <= ' ' || c == 0x7f || c == '<' || c == '>')
            return false;
    }
    return true;
}

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]" */
static bool literal_valid(const char *s, size_t n)
{
    char text[64];
    struct in6_addr addr;

    if (n < 3 || n - 2 >= sizeof(text) || s[n - 1] != ']')
        return false;
    memcpy(text, s + 1, n - 2);
    text[n - 2] = '\0';
    if (str_istarts(text, "IPv6:"))
        return inet_pton(AF_INET6, text + 5, &addr) == 1;
    return inet_pton(AF_INET, text, &addr) == 1;
}

static bool domain_valid(const char *s, size_t n)
{
    size_t label = 0;

    if (n == 0 || n > DOMAIN_MAX)
        return false;
    if (s[0] == '[')
        return literal_valid(s, n);
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '.') {
            if (label == 0 || s[i - 1] == '-')
                return false;
            label = 0;
            continue;
        }
        if (!is_alnum(s[i]) && s[i] != '_' && (unsigned char)s[i] < 0x80 && (s[i] != '-' || label == 0)) /* '_': hosts have it */
            return false;
        if (++label > LABEL_MAX)
            return false;
    }
    return label > 0 && s[n - 1] != '-';
}

/* UTF-8 without the C1 controls, the no-break space and the Unicode line ends, which some reader takes for a
 * space. */
static bool international_valid(const char *s, size_t n)
{
    const unsigned char *u = (const unsigned char *)s;

    if (!utf8_valid(s, n))
        return false;
    for (size_t i = 0; i + 1 < n; i++) {
        if (u[i] == 0xc2 && u[i + 1] <= 0xa0)
            return false;
        if (i + 2 < n && u[i] == 0xe2 && u[i + 1] == 0x80 && (u[i + 2] == 0xa8 || u[i + 2] == 0xa9))
            return false;
    }
    return true;
}

/* The local part has no limit of its own: senders of mass mail use over 64 bytes, and their mail is taken by
 * everyone. */
bool mail_address_valid(const char *s, size_t n, bool utf8)
{
    bool ascii = true;
    size_t at = n;

    if (!s || n < 3 || n > MAIL_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c <= ' ' || c == 0x7f || c == '<' || c == '>')
            return false;
        if (c >= 0x80)
            ascii = false;
        if (c == '@')
            at = i; /* the last one: only a quoted local part may hold others */
    }
    if (at == n || at == 0 || (!ascii && (!utf8 || !international_valid(s, n))))
        return false;
    if (s[0] == '"' ? !quoted_valid(s, at) : !dot_atom_valid(s, at))
        return false;
    return domain_valid(s + at + 1, n - at - 1);
}

char *mail_address_normalize(const char *s)
{
    if (!s || !mail_address_valid(s, strlen(s), true))
        return NULL;
    char *r = cd_strdup(s);
    str_lower(r);
    return r;
}

/* Digits and a leading '+' without the marks that people put between them; -1 when there is anything else. A
 * trunk zero written "(0)" behind an international prefix belongs to the national form only and is dropped.
 */
static int phone_strip(const char *s, char *out, size_t size)
{
    size_t n = 0;

    for (; *s; s++) {
        if (strncmp(s, "(0)", 3) == 0 && n > 0 &&
            (out[0] == '+' || (n > 1 && out[0] == '0' && out[1] == '0'))) {
            s += 2;
            continue;
        }
        if (strchr(" .-()[]", *s))
            continue;
        if (!is_digit(*s) && !(*s == '+' && n == 0))
            return -1;
        if (n + 1 >= size)
            return -1;
        out[n++] = *s;
    }
    out[n] = '\0';
    return (int)n;
}

char *phone_normalize(const char *s, const char *country_code)
{
    char digits[40];
    const char *number = digits, *country = "";

    if (!s || phone_strip(s, digits, sizeof(digits)) < 1)
        return NULL;
    if (number[0] == '+') {
        number++;
    } else if (number[0] == '0' && number[1] == '0') {
        number += 2;
    } else {
        if (!country_code || !*country_code)
            return NULL;
        country = country_code;
        number += number[0] == '0';
    }
    size_t n = strlen(country) + strlen(number);
    if (n < PHONE_MIN_DIGITS || n > PHONE_MAX_DIGITS || (*country ? *country : *number) == '0')
        return NULL;
    return cd_asprintf("+%s%s", country, number);
}
