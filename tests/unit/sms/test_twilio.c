/* Twilio's signature against published values, and form bodies that try to be read in two ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "channels/sms/form.h"
#include "channels/sms/twilio.h"
#include "daemon/core/err.h"

#define URL "https://mycompany.com/myapp.php?foo=1&bar=2"
#define PARAMS                                                                                               \
    "CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309"

static struct form *parse(const char *body)
{
    struct form *f = NULL;

    assert_int_equal(form_parse(body, strlen(body), &f), 0);
    return f;
}

static void check(const char *url, const char *body, const char *expect)
{
    struct form *f = body ? parse(body) : NULL;
    char got[TWILIO_SIGNATURE_SIZE];

    twilio_sign("12345", url, f, got);
    assert_string_equal(got, expect);
    form_free(&f);
}

static void published_values(void **state)
{
    (void)state;
    check(URL, PARAMS, "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
    check("https://mycompany.com:443/myapp.php?foo=1&bar=2", PARAMS, "kvajT1Ptam85bY51eRf/AJRuM3w=");
    check("http://mycompany.com:80/myapp.php?foo=1&bar=2", PARAMS, "0ZXoZLH/DfblKGATFgpif+LLRf4=");
    check("http://mycompany.com:1234/myapp.php?foo=1&bar=2", PARAMS, "Zmvh+3yNM1Phv2jhDCwEM3q5ebU=");
    check(URL, "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234",
          "IK+Dwps556ElfBT0I3Rgjkr1wJU=");
    check(URL "&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620", NULL,
          "a9nBmqA0ju/hNViExpshrM61xv4=");
}

static void ports_and_tokens(void **state)
{
    struct form *f = parse(PARAMS);

    (void)state;
    assert_true(twilio_verify("12345", "", URL, f, "RSOYDt4T1cUTdK1PDd93/VVr8B8="));
    /* signed with a port, configured without, and the other way round */
    assert_true(twilio_verify("12345", "", URL, f, "kvajT1Ptam85bY51eRf/AJRuM3w="));
    assert_true(twilio_verify("12345", "", "https://mycompany.com:8443/myapp.php?foo=1&bar=2", f,
                              "RSOYDt4T1cUTdK1PDd93/VVr8B8="));
    assert_true(twilio_verify("12345", "", "http://mycompany.com/myapp.php?foo=1&bar=2", f,
                              "0ZXoZLH/DfblKGATFgpif+LLRf4="));
    /* during a rotation the old token holds as well */
    assert_true(twilio_verify("new", "12345", URL, f, "RSOYDt4T1cUTdK1PDd93/VVr8B8="));
    assert_false(twilio_verify("new", "", URL, f, "RSOYDt4T1cUTdK1PDd93/VVr8B8="));
    assert_false(twilio_verify("", "", URL, f, "RSOYDt4T1cUTdK1PDd93/VVr8B8="));
    assert_false(twilio_verify("12345", "", URL "3", f, "RSOYDt4T1cUTdK1PDd93/VVr8B8="));
    assert_false(twilio_verify("12345", "", URL, f, "RSOYDt4T1cUTdK1PDd93/VVr8B8"));
    assert_false(twilio_verify("12345", "", URL, f, "RSOYDt4T1cUTdK1PDd93/VVr8B9="));
    assert_false(twilio_verify("12345", "", URL, f, ""));
    form_free(&f);
}

static void apostrophes(void **state)
{
    struct form *f = parse("A=1");
    char plain[TWILIO_SIGNATURE_SIZE], escaped[TWILIO_SIGNATURE_SIZE];

    (void)state;
    twilio_sign("t", "https://h.example/x?n=O'Brien", f, plain);
    twilio_sign("t", "https://h.example/x?n=O%27Brien", f, escaped);
    assert_string_not_equal(plain, escaped);
    assert_true(twilio_verify("t", "", "https://h.example/x?n=O%27Brien", f, plain));
    assert_true(twilio_verify("t", "", "https://h.example/x?n=O'Brien", f, escaped));
    form_free(&f);
}

static void forms(void **state)
{
    struct form *f = parse("a=1&b=%E4%BD%A0+%2b&a=2&empty=&bare&eq=x=y");

    (void)state;
    assert_int_equal(f->n, 6);
    assert_string_equal(form_one(f, "b"), "\xe4\xbd\xa0 +");
    assert_null(form_one(f, "a")); /* twice */
    assert_int_equal(form_count(f, "a"), 2);
    assert_string_equal(form_find(f, "a")->value, "1");
    assert_string_equal(form_one(f, "empty"), "");
    assert_string_equal(form_one(f, "bare"), "");
    assert_string_equal(form_one(f, "eq"), "x=y");
    assert_null(form_find(f, "A"));
    form_free(&f);
    f = parse("");
    assert_int_equal(f->n, 0);
    form_free(&f);
    f = parse("n=a%00b");
    assert_int_equal(form_find(f, "n")->nvalue, 3);
    assert_null(form_one(f, "n"));
    form_free(&f);
}

static void form_abuse(void **state)
{
    static const char *const bad[] = {"a=%",  "a=%4",   "a=%4g", "a=%-1", "a=%%41", "=1",  "&",    "a=1&",
                                      "&a=1", "a=1&&b", "a b=1", "a=1\n", "a=\x01", "%=1", "a%=1", "a=1%"};
    struct form *f = NULL;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        /* from a heap block of exactly this size: a read beyond it is seen */
        size_t n = strlen(bad[i]);
        char *copy = malloc(n);
        memcpy(copy, bad[i], n);
        assert_int_equal(form_parse(copy, n, &f), CD_EINVAL);
        assert_null(f);
        free(copy);
    }
}

static void form_limit(void **state)
{
    struct form *f = NULL;
    struct buf b;

    (void)state;
    buf_init(&b, CD_KIB(64));
    for (int i = 0; i < FORM_MAX_PAIRS; i++)
        form_append(&b, "k", "v");
    assert_int_equal(form_parse(b.data, b.len, &f), 0);
    form_free(&f);
    form_append(&b, "k", "v");
    assert_int_equal(form_parse(b.data, b.len, &f), CD_ELIMIT);
    buf_free(&b);
}

static void escaping(void **state)
{
    struct buf b;
    struct form *f = NULL;

    (void)state;
    buf_init(&b, CD_KIB(4));
    form_append(&b, "To", "+8613800138000");
    form_append(&b, "Body", "50% & \xe4\xbd\xa0=\n+");
    assert_string_equal(buf_str(&b), "To=%2B8613800138000&Body=50%25%20%26%20%E4%BD%A0%3D%0A%2B");
    assert_int_equal(form_parse(b.data, b.len, &f), 0);
    assert_string_equal(form_one(f, "Body"), "50% & \xe4\xbd\xa0=\n+");
    form_free(&f);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_values), cmocka_unit_test(ports_and_tokens),
        cmocka_unit_test(apostrophes),      cmocka_unit_test(forms),
        cmocka_unit_test(form_abuse),       cmocka_unit_test(form_limit),
        cmocka_unit_test(escaping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
