/* Who brought a mail, read from the fields that we write in front, and whose Authentication-Results are believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/scan/scan.h"

static const struct strlist nobody;

static bool read_mail(const char *raw, struct scan_mail *m)
{
    struct buf b;
    struct uuid id = {{0}};
    buf_init(&b, CD_KIB(64));
    buf_append_str(&b, raw);
    bool ok = scan_mail_read(&b, &id, &nobody, m);
    if (ok) { /* its text is within the buffer */
        assert_true(m->text >= (const char *)b.data && m->text + m->n == (const char *)b.data + b.len);
        m->text = NULL;
    }
    buf_free(&b);
    return ok;
}

static void fields_in_front(void **state)
{
    struct scan_mail m;
    (void)state;
    assert_true(read_mail("Return-Path: <a@x.example>\r\nReceived: from mail.x.example ([192.0.2.1])\r\n\tby our.example with ESMTP id 1;\r\n\tdate\r\n"
                          "From: a\r\n\r\nbody",
                          &m));
    assert_string_equal(m.from, "a@x.example");
    assert_string_equal(m.helo, "mail.x.example");
    assert_string_equal(m.client, "192.0.2.1");
    assert_false(m.lmtp);
    assert_int_equal(m.n, strlen("From: a\r\n\r\nbody"));
    scan_mail_free(&m);
    assert_true(read_mail("Return-Path: <>\r\nReceived: from h ([IPv6:2001:db8::1])\r\n\t(using TLSv1.3/X)\r\n\tby o with UTF8LMTPS id 1;\r\n\td\r\n\r\n",
                          &m));
    assert_string_equal(m.from, "");
    assert_string_equal(m.client, "2001:db8::1");
    assert_true(m.lmtp);
    scan_mail_free(&m);
    assert_true(read_mail("Return-Path: <a@x>\r\nReceived: from h (local)\r\n\tby o with LMTP id 1;\r\n\td\r\nX: y\r\n", &m));
    assert_null(m.client);
    scan_mail_free(&m);
}

/* The sender's own fields stand behind ours and say nothing; what is not ours is not read. */
static void not_ours(void **state)
{
    static const char *const raws[] = {
        "", "\r\n", "From: a\r\n\r\n", "Return-Path: a@x\r\nReceived: from h (local)\r\n\tby o with LMTP id 1\r\n\r\n",
        "Received: from h (local)\r\n\tby o with LMTP id 1\r\nReturn-Path: <a@x>\r\n\r\n", "Return-Path: <a@x>\r\nFrom: a\r\n\r\n",
        "Return-Path: <a@x>\r\nReceived: by o with LMTP id 1\r\n\r\n", "Return-Path: <a@x>\r\nReceived: from h ([1.2.3.4)\r\n\tby o with X id\r\n\r\n",
        "Return-Path: <a@x>\r\nReceived: from h (local) by o\r\n\r\n", "Return-Path: <a@x>\r\nReceived: from h ([1.2.3.4])", "Return-Path: <a@x>"};
    struct scan_mail m;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(raws); i++)
        assert_false(read_mail(raws[i], &m));
    /* a HELO that looks like more of the field has no blanks by then (smtp_verbs.c); what follows is still ours */
    assert_true(read_mail("Return-Path: <a@x>\r\nReceived: from h?(local)?with?LMTP ([192.0.2.1])\r\n\tby o with SMTP id 1\r\n\r\n", &m));
    assert_false(m.lmtp);
    assert_string_equal(m.client, "192.0.2.1");
    scan_mail_free(&m);
}

static void whose_results(void **state)
{
    char *ids[] = {(char *)(uintptr_t) "mx.example.com"};
    struct network net = {.addr = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 0}, .bits = 104};
    struct config c = {.scan_trusted_authserv_ids = {ids, 1}, .scan_authserv_from = &net, .nscan_authserv_from = 1};
    struct auth_result v[] = {
        {.server = (char *)(uintptr_t) "mx.other.example", .dmarc = AUTH_FAIL},
        {.server = (char *)(uintptr_t) "MX.example.com", .spf = AUTH_FAIL},
        {.server = (char *)(uintptr_t) "mx.example.com", .spf = AUTH_PASS, .dkim = AUTH_PASS},
    };
    struct scan_auth a = {0};
    (void)state;
    struct scan_mail m = {.client = (char *)(uintptr_t) "192.0.2.1"};
    scan_auth_take(&c, &m, v, 3, &a);
    assert_false(a.known);
    m.client = (char *)(uintptr_t) "10.1.2.3";
    scan_auth_take(&c, &m, v, 1, &a);
    assert_false(a.known);
    scan_auth_take(&c, &m, v, 3, &a);
    assert_true(a.known);
    assert_string_equal(a.by, "MX.example.com");
    assert_int_equal(a.spf, AUTH_FAIL); /* the lower one does not make it good */
    assert_int_equal(a.dkim, AUTH_PASS);
    assert_int_equal(a.dmarc, AUTH_NONE);
    a = (struct scan_auth){0};
    m = (struct scan_mail){.client = (char *)(uintptr_t) "192.0.2.1", .lmtp = true};
    scan_auth_take(&c, &m, v, 3, &a);
    assert_true(a.known);
    a = (struct scan_auth){0};
    m = (struct scan_mail){0};
    scan_auth_take(&c, &m, v, 3, &a);
    assert_true(a.known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(fields_in_front), cmocka_unit_test(not_ours), cmocka_unit_test(whose_results)};
    return cmocka_run_group_tests_name("sender", tests, NULL, NULL);
}
