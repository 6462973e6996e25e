/* Addresses and numbers: what passes, what must never pass, and the normal forms. */
#include "daemon/intake/handle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static bool valid(const char *s)
{
    return mail_address_valid(s, strlen(s), false);
}

static void addresses_that_pass(void **state)
{
    (void)state;
    static const char *const good[] = {
        "a@b",
        "li.wei@example.com",
        "o'brien+complaint@shop.example",
        "=?x?=/a|b{c}~`^_@example.com",
        ".a@example.com", "a.@example.com", "a..b@example.com", "a@example_shop.com",
        "bounces-1234567890-1234567890-1234567890-1234567890-1234567890-1234567890@lists.example",
        "\"quoted\"@example.com",
        "\"a@b\\\"c\"@example.com",
        "x@[192.0.2.1]",
        "x@[IPv6:2001:db8::1]",
        "x@1.2.3.example",
        "x@a-b.example",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (!valid(good[i]))
            fail_msg("refused: %s", good[i]);
    assert_true(mail_address_valid("用户@例子.中国", strlen("用户@例子.中国"), true));
}

static void addresses_that_do_not(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "a",
        "a@",
        "@b",
        "a b@example.com",
        "a@exa mple.com",
        "<a@example.com>",
        "a@example.com>",
        "a@example.com\r\nRCPT TO:<evil@example.com>",
        "a\n@example.com",
        "a\t@example.com",
        "a\x7f@example.com",
        "a,b@example.com",
        "a@b@example.com",
        "a@-example.com",
        "a@example-.com",
        ".@example.com", "...@example.com",
        "a@example..com",
        "a@.example.com",
        "a@example.com.",
        "a@[192.0.2]",
        "a@[192.0.2.1",
        "a@[IPv6:zz]",
        "a@[]",
        "\"\"@example.com",
        "\"a b\"@example.com",
        "\"a\"b\"@example.com",
        "\"a\\\"@example.com",
        "\"a<b\"@example.com",
        "\"a@example.com",
        "(comment)a@example.com",
        "用户@example.com",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (valid(bad[i]))
            fail_msg("passed: %s", bad[i]);
    assert_false(mail_address_valid("a\0b@example.com", 15, true));
    assert_false(mail_address_valid("\xff@example.com", 13, true));
    assert_false(mail_address_valid("a\xc2\x85@example.com", 15, true));     /* NEL */
    assert_false(mail_address_valid("a\xc2\xa0@example.com", 15, true));     /* no-break space */
    assert_false(mail_address_valid("a\xe2\x80\xa8@example.com", 16, true)); /* line separator */
    assert_false(mail_address_valid(NULL, 0, true));
}

static void address_lengths(void **state)
{
    (void)state;
    char s[400];

    for (size_t local = 250; local <= 252; local++) {
        memset(s, 'a', sizeof(s));
        memcpy(s + local, "@b.cd", 6);
        assert_int_equal(valid(s), local + 5 <= 256);
    }
    memset(s, 'a', sizeof(s));
    memcpy(s, "x@", 2);
    s[2 + 63] = '\0';
    assert_true(valid(s)); /* a label of 63 */
    s[2 + 63] = 'a';
    s[2 + 64] = '\0';
    assert_false(valid(s));
}

static void normal_forms_of_addresses(void **state)
{
    (void)state;
    char *s = mail_address_normalize("Li.Wei@Example.COM");

    assert_string_equal(s, "li.wei@example.com");
    free(s);
    assert_null(mail_address_normalize("no address"));
    assert_null(mail_address_normalize(NULL));
}

static void check_phone(const char *in, const char *country, const char *expected)
{
    char *s = phone_normalize(in, country);

    if (expected ? !s || strcmp(s, expected) != 0 : s != NULL)
        fail_msg("%s: %s, expected %s", in, s ? s : "(none)", expected ? expected : "(none)");
    free(s);
}

static void phones(void **state)
{
    (void)state;
    check_phone("+8613800138000", NULL, "+8613800138000");
    check_phone("+86 138-0013 8000", NULL, "+8613800138000");
    check_phone("(+86) 138.0013.8000", NULL, "+8613800138000");
    check_phone("0086 138 0013 8000", "49", "+8613800138000");
    check_phone("13800138000", "86", "+8613800138000");
    check_phone("010 8888 8888", "86", "+861088888888");
    check_phone("+44 (0)20 7946 0000", NULL, "+442079460000");
    check_phone("0044 (0)20 7946 0000", NULL, "+442079460000");
    check_phone("13800138000", NULL, NULL);
    check_phone("13800138000", "", NULL);
    check_phone("+0123456789", NULL, NULL);
    check_phone("+1234567", NULL, NULL);         /* 7 digits */
    check_phone("+12345678", NULL, "+12345678"); /* 8 */
    check_phone("+123456789012345", NULL, "+123456789012345");
    check_phone("+1234567890123456", NULL, NULL); /* 16 */
    check_phone("++8613800138000", NULL, NULL);
    check_phone("138+0013800", "86", NULL);
    check_phone("+86138001380x", NULL, NULL);
    check_phone("+86138\r\n00138000", NULL, NULL);
    check_phone("", "86", NULL);
    check_phone("   ", "86", NULL);
    check_phone("ACME", "86", NULL);
    check_phone("000000000000000000000000000000000000000000000000000000000000000", "86", NULL);
    check_phone(NULL, "86", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_that_pass),
        cmocka_unit_test(addresses_that_do_not),
        cmocka_unit_test(address_lengths),
        cmocka_unit_test(normal_forms_of_addresses),
        cmocka_unit_test(phones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
