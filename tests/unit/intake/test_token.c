/* Tokens: what we signed is known again, what we did not is told from what is none, keys can be rotated. */
#include "daemon/intake/token.h"

#include "daemon/core/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct token_key old_key = {.id = 'a', .secret = {1, 2, 3}}, new_key = {.id = 'b', .secret = {4, 5, 6}};

static int use_keys(void **state)
{
    const struct token_key v[] = {old_key};
    (void)state;
    token_keys_set(v, 1);
    return 0;
}

static void a_complaint_and_a_notification_come_back(void **state)
{
    char text[TOKEN_TEXT_SIZE], ref[REF_TEXT_SIZE];
    struct token t;
    (void)state;
    for (int i = 0; i < 200; i++) {
        ref_new(ref);
        token_complaint(ref, '\0', text);
        assert_int_equal(strlen(text), 30);
        assert_int_equal(token_read(text, strlen(text), &t), 0);
        assert_int_equal(t.kind, TOKEN_COMPLAINT);
        assert_string_equal(t.ref, ref);
        struct uuid id = uuid_new();
        token_notification(&id, '\0', text);
        assert_int_equal(strlen(text), 44);
        assert_int_equal(token_read(text, strlen(text), &t), 0);
        assert_int_equal(t.kind, TOKEN_NOTIFICATION);
        assert_true(uuid_equal(&t.id, &id));
    }
}

static void every_changed_symbol_is_noticed(void **state)
{
    char text[TOKEN_TEXT_SIZE];
    struct token t;
    (void)state;
    token_complaint("C-7KQ2-M9D4-T0XY", '\0', text);
    for (size_t i = 0; text[i]; i++) {
        char was = text[i];
        text[i] = was == '7' ? '8' : '7';
        assert_int_not_equal(token_read(text, strlen(text), &t), 0);
        text[i] = was;
    }
    for (size_t n = 0; n < strlen(text); n++)
        assert_int_equal(token_read(text, n, &t), CD_EINVAL);
    assert_int_equal(token_read(text, strlen(text), &t), 0);
}

static void case_does_not_matter(void **state)
{
    char text[TOKEN_TEXT_SIZE];
    struct token t;
    (void)state;
    token_complaint("C-7KQ2-M9D4-T0XY", '\0', text);
    for (char *p = text; *p; p++)
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 32);
    assert_int_equal(token_read(text, strlen(text), &t), 0);
}

static void found_in_addresses_and_ids(void **state)
{
    char token[TOKEN_TEXT_SIZE], text[200];
    struct token t;
    (void)state;
    token_complaint("C-CAFE-2026-ABCQ", '\0', token);
    static const char *const forms[] = {"care+%s@example.com", "ack.01a2048c.%s@example.com", "%s", "<x.%s@y>", "\"care+%s\"@example.com"};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        snprintf(text, sizeof text, forms[i], token);
        assert_int_equal(token_find(text, &t), 0);
        assert_string_equal(t.ref, "C-CAFE-2026-ABCQ");
    }
    token[29] = token[29] == 'x' ? 'y' : 'x';
    snprintf(text, sizeof text, "care+%s@example.com", token);
    assert_int_equal(token_find(text, &t), CD_EPERM);
    assert_int_equal(token_find("care@example.com", &t), CD_ENOTFOUND);
    assert_int_equal(token_find("", &t), CD_ENOTFOUND);
    assert_int_equal(token_find(NULL, &t), CD_ENOTFOUND);
    snprintf(text, sizeof text, "carex%s@example.com", token); /* not between other characters */
    assert_int_equal(token_find(text, &t), CD_ENOTFOUND);
}

/* Each false one costs a signature: after four of them no more is read of the text. */
static void false_ones_are_not_tried_for_ever(void **state)
{
    char good[TOKEN_TEXT_SIZE], wrong[TOKEN_TEXT_SIZE], text[600] = "";
    struct token t;
    (void)state;
    token_complaint("C-7KQ2-M9D4-T0XY", '\0', good);
    snprintf(wrong, sizeof wrong, "%s", good);
    wrong[29] = good[29] == '0' ? '1' : '0';
    for (int i = 0; i < 5; i++) {
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "%s", good);
        assert_int_equal(token_find(text, &t), i < 4 ? 0 : CD_EPERM);
        snprintf(text + n, sizeof text - n, "%s.", wrong);
    }
}

static void keys_rotate(void **state)
{
    const struct token_key both[] = {new_key, old_key}, only[] = {new_key};
    char by_old[TOKEN_TEXT_SIZE], by_new[TOKEN_TEXT_SIZE], again[TOKEN_TEXT_SIZE];
    struct token t;
    (void)state;
    token_complaint("C-CAFE-2026-ABCQ", '\0', by_old);
    assert_int_equal(token_key_current(), 'a');
    token_keys_set(both, 2);
    assert_int_equal(token_key_current(), 'b');
    token_complaint("C-CAFE-2026-ABCQ", '\0', by_new);
    assert_string_not_equal(by_old, by_new);
    assert_int_equal(token_read(by_old, strlen(by_old), &t), 0);
    assert_int_equal(token_read(by_new, strlen(by_new), &t), 0);
    token_complaint("C-CAFE-2026-ABCQ", 'a', again);
    assert_string_equal(again, by_old);
    token_keys_set(only, 1);
    assert_int_equal(token_read(by_old, strlen(by_old), &t), CD_EPERM);
    token_complaint("C-CAFE-2026-ABCQ", 'a', again); /* gone: the current one signs */
    assert_string_equal(again, by_new);
}

static void without_keys_nothing_is_signed(void **state)
{
    char text[TOKEN_TEXT_SIZE], signed_text[TOKEN_TEXT_SIZE];
    struct token t;
    (void)state;
    token_complaint("C-CAFE-2026-ABCQ", '\0', signed_text);
    token_complaint("C-CAFE-2026-ABCX", '\0', text); /* no reference */
    assert_string_equal(text, "");
    token_keys_set(NULL, 0);
    assert_int_equal(token_key_current(), '\0');
    token_complaint("C-CAFE-2026-ABCQ", '\0', text);
    assert_string_equal(text, "");
    assert_int_equal(token_read(signed_text, strlen(signed_text), &t), CD_EPERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_complaint_and_a_notification_come_back, use_keys),
        cmocka_unit_test_setup(every_changed_symbol_is_noticed, use_keys),
        cmocka_unit_test_setup(case_does_not_matter, use_keys),
        cmocka_unit_test_setup(found_in_addresses_and_ids, use_keys),
        cmocka_unit_test_setup(false_ones_are_not_tried_for_ever, use_keys),
        cmocka_unit_test_setup(keys_rotate, use_keys),
        cmocka_unit_test_setup(without_keys_nothing_is_signed, use_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
