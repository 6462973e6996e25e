/* Every state and every verb of both protocols, from the code's own table, against smtp_matrix.txt, which was written from RFC 5321
 * 4.1.4, 4.3.2 and 4.5.1, RFC 2033 4 and RFC 2920 3. A row: protocol, state, verb, code of the answer ("-": none), state after it. In
 * state WAIT a mail was handed over and has no answer yet: the verb's answer comes behind it. */
#include "tests/unit/mail_smtp/smtp_fixture.h"

static const char *const arguments[][2] = {
    {"MAIL", " FROM:<c@x.example>"}, {"RCPT", " TO:<care@example.com>"}, {"EHLO", " c.example"},
    {"HELO", " c.example"},          {"LHLO", " c.example"},             {"VRFY", " care"},
};

static void matrix_row(struct buf *out, bool lmtp, enum smtp_state state, bool wait, const char *verb)
{
    char line[100];
    const char *arg = "";
    bool gone;
    for (size_t i = 0; i < ARRAY_LEN(arguments); i++)
        if (str_eq(arguments[i][0], verb))
            arg = arguments[i][1];
    int fd = lmtp ? lmtp_session() : session(false);
    go_to(fd, wait ? SMTP_DATA : state, lmtp ? "LHLO c\r\n" : "EHLO c\r\n");
    if (wait)
        say(fd, MESSAGE ".\r\n");
    snprintf(line, sizeof line, "%s%s\r\n", verb, arg);
    say(fd, line);
    if (wait) {
        assert_string_equal(hear(fd), "");
        resolve(front.n - 1, ACK_STORED);
    }
    const char *answer = hear_close(fd, &gone);
    if (wait) {
        assert_true(str_starts(answer, "250 2.0.0 Ok: id "));
        answer = strchr(answer, '\n') + 1;
    }
    buf_printf(out, "%s %-5s %-8s %.3s %s\n", lmtp ? "LMTP" : "SMTP", wait ? "WAIT" : smtp_state_name(state), verb, *answer ? answer : "-",
               gone ? "CLOSED" : smtp_state_name(last_session()->state));
    close(fd);
    turn();
    for (size_t i = 0; i < front.n; i++)
        envelope_free(&front.got[i]);
    front.n = 0;
}

static void matrix_rows(struct buf *out, bool lmtp, enum smtp_state state, bool wait)
{
    for (size_t v = 0; v < smtp_verb_count(); v++)
        matrix_row(out, lmtp, state, wait, smtp_verb_name(v));
    matrix_row(out, lmtp, state, wait, "XYZZY");
}

static void state_by_verb(void **state)
{
    struct buf got, want;
    char chunk[4096];
    size_t n;
    (void)state;
    start();
    buf_init(&got, CD_KIB(64));
    buf_init(&want, CD_KIB(64));
    for (int lmtp = 0; lmtp < 2; lmtp++) {
        for (unsigned s = 0; s < SMTP_CLOSED; s++)
            matrix_rows(&got, lmtp, (enum smtp_state)s, false);
        matrix_rows(&got, lmtp, SMTP_READY, true);
    }
    FILE *f = fopen(CD_SOURCE_DIR "/tests/unit/mail_smtp/smtp_matrix.txt", "r");
    assert_non_null(f);
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_append(&want, chunk, n);
    fclose(f);
    bool same = str_eq(buf_str(&got), buf_str(&want));
    if (!same)
        fprintf(stderr, "smtp_matrix.txt differs; what happened was:\n%s", buf_str(&got));
    buf_free(&got);
    buf_free(&want);
    assert_true(same);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(state_by_verb)};
    return cmocka_run_group_tests_name("smtp_matrix", tests, NULL, NULL);
}
