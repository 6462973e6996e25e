/* What a single text value must look like. Pure functions: NULL when it is right, else what to write instead.
 */
#include "config/load.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALNUM "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static bool has_control(const char *s, const char *allowed)
{
    for (; *s; s++)
        if (((unsigned char)*s < 0x20 && !strchr(allowed, *s)) || *s == 0x7f)
            return true;
    return false;
}

static bool host_valid(const char *s, size_t n)
{
    if (n == 0 || n > 253)
        return false;
    for (size_t i = 0, label = 0; i <= n; i++) {
        if (i < n && s[i] != '.') {
            if (!memchr(ALNUM "-", s[i], sizeof ALNUM) || (s[i] == '-' && label == 0) || ++label > 63)
                return false;
        } else if (label == 0 || s[i - 1] == '-') {
            return false;
        } else {
            label = 0;
        }
    }
    return true;
}

bool address_valid(const char *s)
{
    const char *at = strrchr(s, '@');
    size_t local = at ? (size_t)(at - s) : 0;
    if (local == 0 || local > 64 || strlen(s) > 254 || !host_valid(at + 1, strlen(at + 1)))
        return false;
    if (strspn(s, ALNUM ".!#$%&'*+/=?^_`{|}~-") != local || s[0] == '.' || at[-1] == '.')
        return false;
    const char *dots = strstr(s, "..");
    return !dots || dots > at;
}

bool host_is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (str_ieq(host, "localhost"))
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* Splits scheme://host[:port][/path]; false when it is not of that form (user names and fragments are not).
 */
static bool url_split(const char *url, bool *ret_https, char host[256], const char **ret_path)
{
    *ret_https = str_starts(url, "https://");
    if (!*ret_https && !str_starts(url, "http://"))
        return false;
    const char *p = strstr(url, "://") + 3;
    size_t authority = strcspn(p, "/?#"), n = authority;
    if (p[authority] == '?' || strchr(p, '#') || memchr(p, '@', authority))
        return false;
    bool v6 = *p == '[';
    const char *end = v6 ? memchr(p, ']', authority) : memchr(p, ':', authority);
    if (v6 && !end)
        return false;
    if (end)
        n = (size_t)(end - p) + v6;
    if (n - 2 * v6 >= 256 || n <= 2u * v6)
        return false;
    snprintf(host, 256, "%.*s", (int)(n - 2 * v6), p + v6);
    uint64_t port = 1;
    if (n < authority) {
        char text[8] = "";
        if (p[n] != ':' || authority - n - 1 > 5)
            return false;
        memcpy(text, p + n + 1, authority - n - 1);
        if (str_parse_u64(text, 65535, &port) < 0 || port == 0)
            return false;
    }
    *ret_path = p + authority;
    struct in6_addr a6;
    return v6 ? inet_pton(AF_INET6, host, &a6) == 1 : host_valid(host, strlen(host));
}

bool url_to_loopback(const char *url)
{
    bool https;
    char host[256];
    const char *path;
    return url_split(url, &https, host, &path) && host_is_loopback(host);
}

static bool printable_ascii(const char *s)
{
    for (; *s; s++)
        if (*s <= ' ' || *s > '~')
            return false;
    return true;
}

static const char *check_url(const char *s)
{
    bool https;
    char host[256];
    const char *path;
    if (!printable_ascii(s) || strlen(s) > 1000 || !url_split(s, &https, host, &path))
        return "write https://host/path";
    return https || host_is_loopback(host) ? NULL : "write https:// (plain http only to this host itself)";
}

static const char *check_base_url(const char *s)
{
    bool https;
    char host[256];
    const char *path;
    if (!printable_ascii(s) || strlen(s) > 1000 || !url_split(s, &https, host, &path) || *path)
        return "write https://host or https://host:port, without a path or a slash at the end";
    return NULL;
}

static const char *check_name(const char *s)
{
    size_t n = strlen(s);
    if (n > 64)
        return "write at most 64 bytes";
    if (has_control(s, "") || strpbrk(s, " \"'/\\,;:{}[]<>@"))
        return "write one word of letters, digits, '-', '_' and '.'";
    return NULL;
}

static const char *check_mail(const char *s)
{
    return address_valid(s) ? NULL : "write an address such as care@example.com";
}

static const char *check_phone(const char *s)
{
    size_t n = strlen(s);
    bool ok = s[0] == '+' && n >= 8 && n <= 16 && s[1] != '0' && strspn(s + 1, "0123456789") == n - 1;
    return ok ? NULL : "write + and country code, digits only, in quotes: \"+8613800138000\"";
}

static const char *check_language(const char *s)
{
    size_t first = strcspn(s, "-");
    bool ok = (first == 2 || first == 3) && strlen(s) <= 20 && strspn(s, ALNUM "-") == strlen(s) &&
              !strstr(s, "--") && s[strlen(s) - 1] != '-' && isalpha((unsigned char)s[0]) &&
              isalpha((unsigned char)s[1]);
    return ok ? NULL : "write a language such as en, zh or zh-TW";
}

static const char *check_zone(const char *s)
{
    char path[160];
    struct stat st;
    static const char advice[] = "write UTC or a zone of the tz database, such as Asia/Shanghai";
    if (str_eq(s, "UTC"))
        return NULL;
    if (strspn(s, ALNUM "_+-/") != strlen(s) || s[0] == '/' || strlen(s) > 64 || strstr(s, "//"))
        return advice;
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", s);
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? NULL : advice;
}

static const char *check_host(const char *s)
{
    struct in6_addr v6;
    bool ok = host_valid(s, strlen(s)) || inet_pton(AF_INET6, s, &v6) == 1;
    return ok ? NULL : "write a host name such as mail.example.com, or an address";
}

static const char *check_country(const char *s)
{
    bool ok = strlen(s) <= 3 && strspn(s, "0123456789") == strlen(s) && s[0] != '0';
    return ok ? NULL : "write a country's calling code, digits only, such as \"86\"";
}

const char *option_check(enum opt_type t, const char *s)
{
    if (has_control(s, t == OPT_TEXT ? "\n\t" : ""))
        return "write it without control characters or line ends";
    if (strlen(s) > (t == OPT_TEXT ? CD_KIB(64) : 1000))
        return "write a shorter text";
    switch (t) {
    case OPT_NAME:
        return check_name(s);
    case OPT_MAIL:
        return check_mail(s);
    case OPT_PHONE:
        return check_phone(s);
    case OPT_URL:
        return check_url(s);
    case OPT_BASE_URL:
        return check_base_url(s);
    case OPT_LANGUAGE:
        return check_language(s);
    case OPT_ZONE:
        return check_zone(s);
    case OPT_HOST:
        return check_host(s);
    case OPT_COUNTRY:
        return check_country(s);
    default:
        return NULL;
    }
}
