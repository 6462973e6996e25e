/* Fuzz target: command lines and the arguments of MAIL and RCPT. Input: lines as a client would send them. */
#include "tests/fuzz/fuzz.h"

#include "channels/mail/smtp_parse.h"
#include "daemon/intake/handle.h"

static void check_address(const char *a, bool utf8)
{
    size_t n = strnlen(a, SMTP_ADDRESS_SIZE);
    FUZZ_CHECK(n < SMTP_ADDRESS_SIZE);
    if (!n)
        return;
    FUZZ_CHECK(!fuzz_has_control(a) && !strpbrk(a, " <>") && utf8_valid(a, n));
    for (size_t i = 0; i < n; i++)
        FUZZ_CHECK(utf8 || (unsigned char)a[i] < 0x80);
    if (str_ieq(a, "postmaster") || str_ieq(a, "abuse"))
        return;
    FUZZ_CHECK(mail_address_valid(a, n, utf8));
    char *normal = mail_address_normalize(a);
    FUZZ_CHECK(normal && mail_address_valid(normal, strlen(normal), true));
    char *again = mail_address_normalize(normal);
    FUZZ_CHECK(str_eq(normal, again));
    free(normal);
    free(again);
}

/* What was read from a line is read from it again when printed into a line. */
static void check_again(const char *address, bool utf8)
{
    struct smtp_path p;
    char *line = cd_asprintf("TO:<%s>", address);
    if (*address) {
        FUZZ_CHECK(smtp_parse_rcpt(line, strlen(line), utf8, &p) == SMTP_FAULT_NONE);
        FUZZ_CHECK(str_eq(p.address, address));
    }
    free(line);
    if (str_ieq(address, "postmaster") || str_ieq(address, "abuse"))
        return; /* senders have a domain */
    line = cd_asprintf("FROM:<%s>%s", address, utf8 ? " SMTPUTF8" : "");
    FUZZ_CHECK(smtp_parse_mail(line, strlen(line), &p) == SMTP_FAULT_NONE);
    FUZZ_CHECK(str_eq(p.address, address) && p.utf8 == utf8 && !p.has_size);
    free(line);
}

static void check_paths(const char *arg, size_t n)
{
    struct smtp_path p;
    if (smtp_parse_mail(arg, n, &p) == SMTP_FAULT_NONE) {
        check_address(p.address, p.utf8);
        check_again(p.address, p.utf8);
        fuzz_good = true;
    }
    for (int utf8 = 0; utf8 <= 1; utf8++) {
        if (smtp_parse_rcpt(arg, n, utf8, &p) != SMTP_FAULT_NONE)
            continue;
        FUZZ_CHECK(p.address[0]); /* there is no null recipient */
        check_address(p.address, utf8);
        check_again(p.address, utf8);
        fuzz_good = true;
    }
}

static void check_line(const uint8_t *p, size_t took, const struct smtp_line *l)
{
    struct smtp_command c;
    bool bad = false;
    FUZZ_CHECK(l->text == (const char *)p && p[took - 1] == '\n');
    FUZZ_CHECK(l->n + (l->bare_lf ? 1 : 2) == took);
    FUZZ_CHECK(l->bare_lf || p[took - 2] == '\r');
    for (size_t i = 0; i < l->n; i++) {
        FUZZ_CHECK(p[i] != '\n');
        bad |= p[i] == '\r' || p[i] == '\0';
    }
    FUZZ_CHECK(bad == l->bad_bytes);
    smtp_command_split(l, &c);
    const char *end = l->text + l->n;
    FUZZ_CHECK(c.verb == l->text && c.verb + c.nverb <= c.arg && c.arg + c.narg <= end);
    FUZZ_CHECK(!memchr(c.verb, ' ', c.nverb) && !memchr(c.verb, '\t', c.nverb));
    FUZZ_CHECK(!c.narg || (!strchr(" \t", c.arg[0]) && !strchr(" \t", c.arg[c.narg - 1])) || l->bad_bytes);
    check_paths(c.arg, c.narg);
    /* A sender's argument in a block of its own, so that a read behind its end is seen. */
    char *alone = malloc(c.narg);
    if (c.narg)
        memcpy(alone, c.arg, c.narg);
    check_paths(alone, c.narg);
    free(alone);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct smtp_line l;
    size_t at = 0, took;
    for (; at < n && (took = smtp_line_take(data + at, n - at, &l)) > 0; at += took)
        check_line(data + at, took, &l);
    FUZZ_CHECK(at == n || !memchr(data + at, '\n', n - at));
    check_paths((const char *)data + at, n - at);
    return 0;
}
