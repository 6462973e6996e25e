/* The ledger's keys: two transports of one mail agree, two different complaints never do. */
#include "daemon/intake/headers.h"
#include "daemon/intake/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct keys {
    char *key;
    uint8_t digest[SHA256_SIZE];
};

static struct keys keys_n(const void *raw, size_t n)
{
    struct keys k = {0};

    keys_of_mail(raw, n, &k.key, k.digest);
    assert_non_null(k.key);
    return k;
}

static struct keys keys_s(const char *raw)
{
    return keys_n(raw, strlen(raw));
}

static void check_key(const char *raw, const char *key)
{
    struct keys k = keys_s(raw);

    assert_string_equal(k.key, key);
    free(k.key);
}

static bool same_digest(const char *a, const char *b)
{
    struct keys ka = keys_s(a), kb = keys_s(b);
    bool same = memcmp(ka.digest, kb.digest, SHA256_SIZE) == 0;

    free(ka.key);
    free(kb.key);
    return same;
}

#define MAIL "From: Li <li@example.com>\r\nDate: Mon, 1 Jan 2024 10:00:00 +0800\r\nSubject: kettle\r\n"
#define BODY "It burns.\r\n\r\nLi\r\n"

static void message_ids(void **state)
{
    (void)state;
    check_key("Message-ID: <a@b>\r\n\r\n", "a@b");
    check_key("message-id:<a@b>\n\n", "a@b");
    check_key("Message-ID:\r\n <a@b>\r\n\r\n", "a@b");
    check_key("Message-ID: (x) <a@b> (y)\r\n\r\n", "a@b");
    check_key("Message-ID: bare@id\r\n\r\n", "bare@id");
    check_key("Message-ID: <first@b>\r\nMessage-ID: <second@b>\r\n\r\n", "first@b");
    check_key("Message-ID : <obsolete@b>\r\n\r\n", "obsolete@b");
    check_key("Subject: x\r\n\r\nMessage-ID: <in-body@b>\r\n", "none");
    check_key("Message-ID: <>\r\n\r\n", "none");
    check_key("Message-ID:\r\n\r\n", "none");
    check_key("Message-ID: <a b@c>\r\n\r\n", "none");
    check_key("Message-ID: <\xe4\xbd\xa0@c>\r\n\r\n", "none");
    check_key("Message-ID: <a\x01@c>\r\n\r\n", "none");
    check_key("", "none");
    check_key("\r\n", "none");
    check_key("no header at all", "none");

    char raw[400];
    char id[300];
    memset(id, 'i', sizeof(id));
    id[255] = '\0';
    snprintf(raw, sizeof(raw), "Message-ID: <%s>\r\n\r\n", id);
    check_key(raw, id);
    id[255] = 'i';
    id[256] = '\0';
    snprintf(raw, sizeof(raw), "Message-ID: <%s>\r\n\r\n", id);
    check_key(raw, "none");
}

static void what_the_digest_leaves_out(void **state)
{
    (void)state;
    const char *plain = MAIL "\r\n" BODY;

    assert_true(same_digest(plain, "Return-Path: <x@y>\r\nReceived: from a\r\n by b\r\n" MAIL "\r\n" BODY));
    assert_true(same_digest(plain, MAIL "To: care@example.com\r\nCc: x@y\r\nMessage-ID: <a@b>\r\n\r\n" BODY));
    assert_true(same_digest(plain, MAIL "X-Spam: no\r\nDKIM-Signature: v=1;\r\n\tb=xyz\r\n\r\n" BODY));
    /* line ends, and empty lines at the end */
    assert_true(same_digest(MAIL "\r\nIt burns.\r\n\r\nLi\r\n", MAIL "\nIt burns.\n\nLi\n"));
    assert_true(same_digest(MAIL "\r\n" BODY, MAIL "\r\n" BODY "\r\n\r\n\n"));
    assert_true(same_digest(MAIL "\r\nIt burns.", MAIL "\r\nIt burns.\r\n"));
    /* folds and white space around the value */
    assert_true(
        same_digest("Subject: my kettle burns\r\n\r\nx", "SUBJECT:   my\r\n kettle\n burns  \r\n\r\nx"));
}

static void what_the_digest_tells_apart(void **state)
{
    (void)state;
    const char *plain = MAIL "\r\n" BODY;

    assert_false(same_digest(plain, MAIL "\r\n" BODY "more"));
    assert_false(same_digest(plain, MAIL "\r\n\r\n" BODY)); /* an empty line in front is content */
    assert_false(same_digest(MAIL "\r\na\r\n\r\nb", MAIL "\r\na\r\nb"));
    assert_false(same_digest("Subject: a\r\n\r\nx", "Subject: b\r\n\r\nx"));
    assert_false(same_digest("From: a@b\r\n\r\nx", "From: c@b\r\n\r\nx"));
    assert_false(same_digest("Date: 1\r\n\r\nx", "Date: 2\r\n\r\nx"));
    assert_false(same_digest("Subject: a\r\n\r\nb", "Subject: ab\r\n\r\n"));
    assert_false(same_digest("Subject: From: a\r\n\r\nx", "From: a\r\nSubject:\r\n\r\nx"));
    assert_false(same_digest(MAIL "\r\na\rb", MAIL "\r\na\nb")); /* a lone CR is no line end */
}

/* No empty line between header and body, or no header at all: what looks like fields may be the complaint. */
static void mail_without_a_separator(void **state)
{
    (void)state;
#define TRACE "Return-Path: <a@b>\r\nReceived: from x\r\n"
    assert_false(same_digest(TRACE "my kettle burns\r\n", TRACE "my phone is dead\r\n"));
    assert_false(same_digest(TRACE "Note: my kettle burns\r\n", TRACE "Note: my phone is dead\r\n"));
    assert_false(same_digest(TRACE "From my house to yours\r\n", TRACE "From our house to yours\r\n"));
    assert_false(same_digest(TRACE ">From my house\r\n", TRACE ">From our house\r\n"));
    assert_true(same_digest("Received: from x\r\nNote: burns\r\n", "Received: from y\r\nNote: burns\r\n"));
    check_key("From li@example.com Mon Jan  1 10:00:00 2024\nMessage-ID: <a@b>\n\nx", "a@b");
}

static void big_and_binary_input(void **state)
{
    (void)state;
    size_t n = CD_MIB(2) + 100;
    char *raw = cd_alloc(n + 1);
    struct keys a, b;

    /* a header line of 2 MB: longer than what is unfolded */
    memcpy(raw, "Subject: ", 9);
    memset(raw + 9, 'x', n - 9);
    memcpy(raw + n - 20, "\r\n\r\nbody", 8);
    a = keys_n(raw, n);
    raw[1000] = 'y';
    b = keys_n(raw, n);
    assert_memory_not_equal(a.digest, b.digest, SHA256_SIZE);
    free(a.key);
    free(b.key);

    /* a header section of 100 kB in 2,000 folds, then NULs and 8-bit bytes in a body without line ends */
    size_t len = (size_t)sprintf(raw, "Subject: x");
    for (int i = 0; i < 2000; i++)
        len +=
            (size_t)sprintf(raw + len, "\r\n folded part number %d of this long subject %s", i, "----------");
    len += (size_t)sprintf(raw + len, "\r\nMessage-ID: <far@down>\r\n\r\n");
    memset(raw + len, 0, 1000);
    memset(raw + len + 500, 0xff, 100);
    a = keys_n(raw, len + 1000);
    raw[len + 999] = 1;
    b = keys_n(raw, len + 1000);
    assert_string_equal(a.key, "far@down");
    assert_memory_not_equal(a.digest, b.digest, SHA256_SIZE);
    free(a.key);
    free(b.key);
    free(raw);
}

/* Every prefix of a mail, each in a block of its own so that the address sanitizer sees a step too far. */
static void every_prefix(void **state)
{
    (void)state;
    static const char whole[] =
        ">From x\r\nFrom: a\r\n b\r\nMessage-ID: <a@b>\r\nbroken\r\n\r\nbody\r\n\r\n\r";

    for (size_t n = 0; n < sizeof(whole); n++) {
        char *part = malloc(n ? n : 1);

        assert_non_null(part);
        memcpy(part, whole, n);
        struct keys k = keys_n(part, n);
        free(k.key);
        char *text = headers_text(part, n, "From", 100);
        free(text);
        free(part);
    }
}

static void header_texts(void **state)
{
    (void)state;
    const char *raw = "Subject: a\r\n\tb \r\nX: \xff\r\nY: 12345\r\nZ:a\x01\r\n\r\nBody: x\r\n";
    size_t n = strlen(raw);
    char *s = headers_text(raw, n, "subject", 100);

    assert_string_equal(s, "a b");
    free(s);
    assert_null(headers_text(raw, n, "X", 100));
    assert_null(headers_text(raw, n, "Y", 4));
    assert_null(headers_text(raw, n, "Z", 100));
    assert_null(headers_text(raw, n, "Body", 100));
    s = headers_text(raw, n, "Y", 5);
    assert_string_equal(s, "12345");
    free(s);
}

static void ledger_and_thread_keys(void **state)
{
    (void)state;
    struct envelope *a = envelope_new(CH_MAIL, 10), *b = envelope_new(CH_MAIL, 10);
    uint8_t ka[LEDGER_KEY_SIZE], kb[LEDGER_KEY_SIZE];

    a->key = cd_strdup("id@x");
    b->key = cd_strdup("id@x");
    keys_ledger(a, ka);
    keys_ledger(b, kb);
    assert_memory_equal(ka, kb, sizeof(ka));
    b->digest[3] = 1; /* same Message-ID, other content */
    keys_ledger(b, kb);
    assert_memory_not_equal(ka, kb, sizeof(ka));
    a->channel = b->channel = CH_LINE; /* the client's key alone decides */
    keys_ledger(a, ka);
    keys_ledger(b, kb);
    assert_memory_equal(ka, kb, sizeof(ka));
    b->channel = CH_WEB;
    keys_ledger(b, kb);
    assert_memory_not_equal(ka, kb, sizeof(ka));
    a->channel = b->channel = CH_SMS; /* two providers, one message id */
    a->client = cd_strdup("main");
    b->client = cd_strdup("other");
    keys_ledger(a, ka);
    keys_ledger(b, kb);
    assert_memory_not_equal(ka, kb, sizeof(ka));
    keys_thread("id@x", ka);
    keys_thread("<id@x>", kb);
    assert_memory_equal(ka, kb, sizeof(ka));
    keys_thread("", ka);
    envelope_free(&a);
    envelope_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_ids),
        cmocka_unit_test(what_the_digest_leaves_out),
        cmocka_unit_test(what_the_digest_tells_apart),
        cmocka_unit_test(mail_without_a_separator),
        cmocka_unit_test(big_and_binary_input),
        cmocka_unit_test(every_prefix),
        cmocka_unit_test(header_texts),
        cmocka_unit_test(ledger_and_thread_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
