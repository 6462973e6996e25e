/* The SMTP parsers: command lines, arguments of MAIL and RCPT, and the dot stream cut at every byte. */
#include "channels/mail/smtp_parse.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TEXT(s) (const uint8_t *)(s), sizeof(s) - 1

/* ---- lines ---- */

static void lines(void **state)
{
    struct smtp_line l;
    (void)state;
    assert_int_equal(smtp_line_take(TEXT("NOOP"), &l), 0);
    assert_int_equal(smtp_line_take(TEXT("NOOP\r"), &l), 0);
    assert_int_equal(smtp_line_take(TEXT("NOOP\r\nQUIT\r\n"), &l), 6);
    assert_int_equal(l.n, 4);
    assert_false(l.bare_lf || l.bad_bytes);
    assert_int_equal(smtp_line_take(TEXT("NOOP\n"), &l), 5);
    assert_true(l.bare_lf && l.n == 4);
    assert_int_equal(smtp_line_take(TEXT("\n"), &l), 1);
    assert_int_equal(l.n, 0);
    assert_int_equal(smtp_line_take(TEXT("NO\rOP\r\n"), &l), 7);
    assert_true(l.bad_bytes);
    assert_int_equal(smtp_line_take(TEXT("NO\0OP\r\n"), &l), 7);
    assert_true(l.bad_bytes);
}

static void check_command(const char *text, const char *verb, const char *arg)
{
    struct smtp_line l = {.text = text, .n = strlen(text)};
    struct smtp_command c;
    smtp_command_split(&l, &c);
    assert_int_equal(c.nverb, strlen(verb));
    assert_memory_equal(c.verb, verb, c.nverb);
    assert_int_equal(c.narg, strlen(arg));
    assert_memory_equal(c.arg, arg, c.narg);
}

static void commands(void **state)
{
    (void)state;
    check_command("", "", "");
    check_command("   ", "", "");
    check_command("NOOP", "NOOP", "");
    check_command("NOOP  ", "NOOP", "");
    check_command("mail FROM:<a@b>", "mail", "FROM:<a@b>");
    check_command("EHLO \t host  name \t", "EHLO", "host  name");
    check_command(" EHLO x", "", "EHLO x");
}

/* ---- MAIL and RCPT ---- */

struct path_case {
    const char *arg, *address;
    enum smtp_fault fault;
};

static const struct path_case mail_cases[] = {
    {"FROM:<>", "", SMTP_FAULT_NONE},
    {"from:<a@b.example>", "a@b.example", SMTP_FAULT_NONE},
    {"FROM: <a@b.example>", "a@b.example", SMTP_FAULT_NONE},
    {"FROM:<a@b.example> SIZE=100 BODY=8BITMIME", "a@b.example", SMTP_FAULT_NONE},
    {"FROM:<a@b.example>  size=100\tbody=7bit ", "a@b.example", SMTP_FAULT_NONE},
    {"FROM:<@r1.example,@r2.example:a@b.example>", "a@b.example", SMTP_FAULT_NONE},
    {"FROM:<@r1.example:a@b.example>", "a@b.example", SMTP_FAULT_NONE},
    {"FROM:<\"a\"@b.example>", "a@b.example", SMTP_FAULT_NONE},
    {"FROM:<\"a.b+c\"@b.example>", "a.b+c@b.example", SMTP_FAULT_NONE},
    {"FROM:<\"a@c\"@b.example>", "\"a@c\"@b.example", SMTP_FAULT_NONE},
    {"FROM:<\"a..c\"@b.example>", "a..c@b.example", SMTP_FAULT_NONE},
    {"FROM:<\"a\\\"c\"@b.example>", "\"a\\\"c\"@b.example", SMTP_FAULT_NONE},
    {"FROM:<a@[192.0.2.1]>", "a@[192.0.2.1]", SMTP_FAULT_NONE},
    {"FROM:<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", SMTP_FAULT_NONE},
    {"FROM:<\xe5\xbc\xa0@b.example> SMTPUTF8", "\xe5\xbc\xa0@b.example", SMTP_FAULT_NONE},
    {"FROM:<\xe5\xbc\xa0@b.example>", NULL, SMTP_FAULT_UTF8},
    {"FROM:<\xff\xbc\xa0@b.example> SMTPUTF8", NULL, SMTP_FAULT_ADDRESS},
    {"", NULL, SMTP_FAULT_SYNTAX},
    {"FROM", NULL, SMTP_FAULT_SYNTAX},
    {"FROM:", NULL, SMTP_FAULT_SYNTAX},
    {"FROM:a@b.example", NULL, SMTP_FAULT_SYNTAX},
    {"FROM:<a@b.example", NULL, SMTP_FAULT_SYNTAX},
    {"FROM:<\"a@b.example>", NULL, SMTP_FAULT_SYNTAX},
    {"FROM:<\"a\\", NULL, SMTP_FAULT_SYNTAX},
    {"FROM:<a@b.example>SIZE=1", NULL, SMTP_FAULT_SYNTAX},
    {"TO:<a@b.example>", NULL, SMTP_FAULT_SYNTAX},
    {"FROM:< >", NULL, SMTP_FAULT_ADDRESS},
    {"FROM:<a>", NULL, SMTP_FAULT_ADDRESS},
    {"FROM:<a b@c.example>", NULL, SMTP_FAULT_ADDRESS},
    {"FROM:<a@b@c.example>", NULL, SMTP_FAULT_ADDRESS},
    {"FROM:<.a@c.example>", ".a@c.example", SMTP_FAULT_NONE},
    {"FROM:<a..b.@c_d.example>", "a..b.@c_d.example", SMTP_FAULT_NONE},
    {"FROM:<.@c.example>", NULL, SMTP_FAULT_ADDRESS},
    {"FROM:<@r1.example:>", NULL, SMTP_FAULT_ADDRESS},
    {"FROM:<@r1.example>", NULL, SMTP_FAULT_ADDRESS},
    {"FROM:<@r1.example@x:a@b.example>", NULL, SMTP_FAULT_ADDRESS},
    {"FROM:<<a@b.example>>", NULL, SMTP_FAULT_SYNTAX},
    {"FROM:<a@b.example> SIZE", NULL, SMTP_FAULT_PARAM},
    {"FROM:<a@b.example> SIZE=", NULL, SMTP_FAULT_PARAM},
    {"FROM:<a@b.example> SIZE=-1", NULL, SMTP_FAULT_PARAM},
    {"FROM:<a@b.example> SIZE=1 SIZE=2", NULL, SMTP_FAULT_PARAM},
    {"FROM:<a@b.example> SIZE=123456789012345678901", NULL, SMTP_FAULT_PARAM},
    {"FROM:<a@b.example> BODY=BINARYMIME", NULL, SMTP_FAULT_PARAM},
    {"FROM:<a@b.example> BODY=7BIT BODY=7BIT", NULL, SMTP_FAULT_PARAM},
    {"FROM:<a@b.example> SMTPUTF8=yes", NULL, SMTP_FAULT_PARAM},
    {"FROM:<a@b.example> RET=FULL", NULL, SMTP_FAULT_PARAM_UNKNOWN},
    {"FROM:<a@b.example> =", NULL, SMTP_FAULT_PARAM_UNKNOWN},
};

static void mail_arguments(void **state)
{
    struct smtp_path p;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(mail_cases); i++) {
        const struct path_case *c = &mail_cases[i];
        enum smtp_fault f = smtp_parse_mail(c->arg, strlen(c->arg), &p);
        if (f != c->fault || (!f && strcmp(p.address, c->address) != 0))
            fail_msg("MAIL %s: fault %d, address %s", c->arg, f, p.address);
    }
    const char big[] = "FROM:<a@b.example> SIZE=18446744073709551616 SMTPUTF8 BODY=8BITMIME";
    assert_int_equal(smtp_parse_mail(big, sizeof big - 1, &p), SMTP_FAULT_NONE);
    assert_true(p.has_size && p.size == UINT64_MAX && p.utf8 && p.body_8bit);
}

static const struct path_case rcpt_cases[] = {
    {"TO:<care@b.example>", "care@b.example", SMTP_FAULT_NONE},
    {"to: <care+tag@b.example>", "care+tag@b.example", SMTP_FAULT_NONE},
    {"TO:<Postmaster>", "Postmaster", SMTP_FAULT_NONE},
    {"TO:<abuse>", "abuse", SMTP_FAULT_NONE},
    {"TO:<@r.example:care@b.example>", "care@b.example", SMTP_FAULT_NONE},
    {"TO:<>", NULL, SMTP_FAULT_ADDRESS},
    {"TO:<root>", NULL, SMTP_FAULT_ADDRESS},
    {"TO:<postmasters>", NULL, SMTP_FAULT_ADDRESS},
    {"TO:<a\\@b.example>", NULL, SMTP_FAULT_ADDRESS},
    {"TO:<care@b.example> NOTIFY=NEVER", NULL, SMTP_FAULT_PARAM_UNKNOWN},
    {"FROM:<care@b.example>", NULL, SMTP_FAULT_SYNTAX},
    {"TO:care@b.example", NULL, SMTP_FAULT_SYNTAX},
};

static void rcpt_arguments(void **state)
{
    struct smtp_path p;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rcpt_cases); i++) {
        const struct path_case *c = &rcpt_cases[i];
        enum smtp_fault f = smtp_parse_rcpt(c->arg, strlen(c->arg), false, &p);
        if (f != c->fault || (!f && strcmp(p.address, c->address) != 0))
            fail_msg("RCPT %s: fault %d, address %s", c->arg, f, p.address);
    }
    const char utf8[] = "TO:<\xe5\xbc\xa0@b.example>";
    assert_int_equal(smtp_parse_rcpt(utf8, sizeof utf8 - 1, false, &p), SMTP_FAULT_UTF8);
    assert_int_equal(smtp_parse_rcpt(utf8, sizeof utf8 - 1, true, &p), SMTP_FAULT_NONE);
}

/* The longest address fits, one byte more does not, whatever the buffer would hold. */
static void long_addresses(void **state)
{
    struct smtp_path p;
    char arg[2100];
    (void)state;
    for (size_t n = 1; n < 2000; n += 7) {
        memset(arg, 'a', sizeof arg);
        memcpy(arg, "FROM:<", 6);
        memcpy(arg + 6 + n, "@b.example>", 11);
        enum smtp_fault f = smtp_parse_mail(arg, 6 + n + 11, &p);
        assert_true(f == SMTP_FAULT_NONE || (f == SMTP_FAULT_ADDRESS && n > 64));
    }
}

/* ---- the dot stream ---- */

struct result {
    bool end;
    size_t used;
    struct smtp_dots dots;
    char content[512];
    size_t n;
};

static unsigned refuse; /* what run() refuses */

/* Feeds the wire in pieces that end at the given places; piece 0 = as a whole. */
static void run(const char *wire, size_t n, size_t cut, bool bytewise, struct result *r)
{
    struct buf out;
    buf_init(&out, sizeof r->content);
    memset(r, 0, sizeof *r);
    smtp_dots_init(&r->dots, sizeof r->content, refuse);
    for (size_t at = 0; at < n && !r->end;) {
        size_t piece = bytewise ? 1 : at < cut ? cut - at : n - at, used;
        r->end = smtp_dots_feed(&r->dots, (const uint8_t *)wire + at, piece, &out, &used);
        assert_true(used <= piece && (r->end || used == piece));
        at += used;
        r->used = at;
    }
    r->n = out.len;
    memcpy(r->content, buf_str(&out), out.len);
    buf_free(&out);
}

/* The same, said in the words of the standard: the first CR LF . CR LF ends it, a dot behind CR LF goes, a
 * bare LF or CR becomes CR LF. */
static void reference(const char *wire, size_t n, struct result *r)
{
    char text[600];
    memset(r, 0, sizeof *r);
    memcpy(text, "\r\n", 2);
    memcpy(text + 2, wire, n);
    const char *end = memmem(text, n + 2, "\r\n.\r\n", 5);
    r->end = end != NULL;
    const char *stop = end ? end + 2 : text + n + 2;
    r->used = end ? (size_t)(end + 5 - text) - 2 : n;
    for (const char *p = text + 2; p < stop; p++) {
        bool after_crlf = p[-1] == '\n' && p[-2] == '\r';
        if (*p == '.' && after_crlf)
            continue;
        if (*p == '\n' && p[-1] != '\r') {
            r->dots.bare_lf = true;
            r->content[r->n++] = '\r';
        }
        if (*p == '\0')
            r->dots.nul = true;
        r->content[r->n++] = *p;
        if (*p == '\r' && (p + 1 == stop || p[1] != '\n')) {
            r->dots.bare_cr = true;
            r->content[r->n++] = '\n';
        }
    }
}

static void compare(const char *wire, size_t n, const struct result *want, const struct result *got)
{
    bool same = want->end == got->end && want->used == got->used;
    if (want->end) {
        same = same && want->dots.bare_lf == got->dots.bare_lf && want->dots.bare_cr == got->dots.bare_cr &&
               want->dots.nul == got->dots.nul;
        if (!smtp_dots_faulty(&got->dots))
            same = same && want->n == got->n && memcmp(want->content, got->content, want->n) == 0;
    }
    if (same)
        return;
    fprintf(stderr, "wire:");
    for (size_t i = 0; i < n; i++)
        fprintf(stderr, " %02x", (unsigned char)wire[i]);
    fail_msg("want end %d used %zu bytes %zu lf %d cr %d nul %d, got %d %zu %zu %d %d %d", want->end,
             want->used, want->n, want->dots.bare_lf, want->dots.bare_cr, want->dots.nul, got->end, got->used,
             got->n, got->dots.bare_lf, got->dots.bare_cr, got->dots.nul);
}

static void check_every_split(const char *wire, size_t n)
{
    struct result want, got;
    reference(wire, n, &want);
    for (size_t cut = 0; cut < n; cut++) {
        run(wire, n, cut, false, &got);
        compare(wire, n, &want, &got);
    }
    run(wire, n, 0, true, &got);
    compare(wire, n, &want, &got);
}

/* All strings of up to 8 of the bytes that matter, each cut everywhere. */
static void dots_exhaustive(void **state)
{
    static const char alphabet[] = {'a', '.', '\r', '\n'};
    char wire[8];
    (void)state;
    for (size_t n = 1; n <= sizeof wire; n++)
        for (size_t code = 0; code < (size_t)1 << 2 * n; code++) {
            for (size_t i = 0; i < n; i++)
                wire[i] = alphabet[code >> 2 * i & 3];
            check_every_split(wire, n);
        }
}

static void dots_plain(void **state)
{
    static const char wire[] = "Subject: x\r\n\r\nHello\r\n..two\r\n.one\r\n...\r\nbye\r\n.\r\nQUIT\r\n";
    static const char content[] = "Subject: x\r\n\r\nHello\r\n.two\r\none\r\n..\r\nbye\r\n";
    struct result r;
    (void)state;
    check_every_split(wire, sizeof wire - 1);
    run(wire, sizeof wire - 1, 0, false, &r);
    assert_true(r.end);
    assert_int_equal(r.used, sizeof wire - 1 - 6);
    assert_int_equal(r.n, sizeof content - 1);
    assert_memory_equal(r.content, content, r.n);
    assert_int_equal(r.dots.bytes, r.n);
    run(".\r\n", 3, 0, true, &r);
    assert_true(r.end && r.n == 0);
}

/* Test 26 of the reliability catalogue: none of these ends the message; the second "mail" is text of the
 * first. */
static void dots_smuggling(void **state)
{
    static const struct {
        const char *end;
        size_t n;
        bool refused;
    } v[] = {
        {"\n.\n", 3, false},      {"\n.\r\n", 4, false},      {"\r\n.\n", 4, false},
        {"\r.\r", 3, true},       {"\r\n.\r", 4, true},       {"\r.\r\n", 4, true},
        {"\r\n\0.\r\n", 6, true}, {"\r\n.\0\r\n", 6, true},   {"\r\n.\r\0\n", 6, true},
        {"\n\0.\r\n", 5, true},   {"\r\r\n.\r\r\n", 7, true}, {"\n\n.\n\n", 5, false},
    };
    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(v); i++) { /* first as it is by default, then as strict as can be */
        char wire[200];
        struct result r;
        size_t n = 0;
        bool refused = i >= ARRAY_LEN(v) && v[i % ARRAY_LEN(v)].refused;
        refuse = i >= ARRAY_LEN(v) ? DOTS_BARE_CR | DOTS_NUL : 0;
        memcpy(wire, "one", 3);
        n += 3;
        memcpy(wire + n, v[i % ARRAY_LEN(v)].end, v[i % ARRAY_LEN(v)].n);
        n += v[i % ARRAY_LEN(v)].n;
        n += (size_t)sprintf(wire + n, "MAIL FROM:<evil@x.example>\r\nDATA\r\nforged");
        size_t before = n;
        n += (size_t)sprintf(wire + n, "\r\n.\r\n");
        check_every_split(wire, n);
        for (size_t cut = 0; cut < n; cut++) {
            run(wire, n, cut, false, &r);
            assert_true(r.end);
            assert_int_equal(r.used, before + 5); /* exactly one message */
            assert_int_equal(smtp_dots_faulty(&r.dots), refused);
            if (!refused) {
                assert_true(r.dots.bare_lf || r.dots.bare_cr || r.dots.nul); /* noted */
                assert_non_null(memmem(r.content, r.n, "forged\r\n", 8));
            }
        }
    }
    refuse = 0;
}

static void dots_limit(void **state)
{
    static const char wire[] = "0123456789\r\nabc\r\n.\r\nNOOP";
    (void)state;
    for (size_t limit = 0; limit < 20; limit++) {
        struct smtp_dots d;
        struct buf out;
        size_t used;
        buf_init(&out, 100);
        smtp_dots_init(&d, limit, 0);
        assert_true(smtp_dots_feed(&d, (const uint8_t *)wire, sizeof wire - 1, &out, &used));
        assert_int_equal(used, sizeof wire - 1 - 4); /* drained to its end */
        assert_int_equal(d.bytes, 17);
        assert_int_equal(d.over, limit < 17);
        assert_true(out.len <= limit);
        buf_free(&out);
    }
}

static void dots_no_room(void **state)
{
    struct smtp_dots d;
    struct buf out;
    size_t used;
    (void)state;
    buf_init(&out, 8);
    smtp_dots_init(&d, 100, 0);
    assert_true(smtp_dots_feed(&d, TEXT("0123456789\r\n.\r\n"), &out, &used));
    assert_true(d.no_memory && smtp_dots_faulty(&d));
    buf_free(&out);
}

static void dots_refuse_bare_lf(void **state)
{
    struct smtp_dots d;
    struct buf out;
    size_t used;
    (void)state;
    buf_init(&out, 100);
    smtp_dots_init(&d, 100, DOTS_BARE_LF);
    assert_true(smtp_dots_feed(&d, TEXT("a\nb\r\n.\r\n"), &out, &used));
    assert_true(d.bare_lf && smtp_dots_faulty(&d));
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),
        cmocka_unit_test(commands),
        cmocka_unit_test(mail_arguments),
        cmocka_unit_test(rcpt_arguments),
        cmocka_unit_test(long_addresses),
        cmocka_unit_test(dots_plain),
        cmocka_unit_test(dots_exhaustive),
        cmocka_unit_test(dots_smuggling),
        cmocka_unit_test(dots_limit),
        cmocka_unit_test(dots_no_room),
        cmocka_unit_test(dots_refuse_bare_lf),
    };
    return cmocka_run_group_tests_name("smtp_parse", tests, NULL, NULL);
}
