/* The log: format, quoting, masking, rates and their summaries, the journal's datagrams, and readers that do not read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/core/clock.h"
#include "daemon/core/log_impl.h"
#include "daemon/core/metrics.h"

static int to_us[2]; /* a pipe in the place of standard error */

static int setup(void **state)
{
    (void)state;
    assert_int_equal(pipe(to_us), 0);
    fcntl(to_us[0], F_SETFL, O_NONBLOCK);
    log_sink_open_fd(to_us[1]);
    log_forget_rates();
    log_set_level(LOG_L_INFO);
    log_set_process("");
    log_set_pii(false);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    log_sink_open_fd(STDERR_FILENO);
    close(to_us[0]);
    close(to_us[1]);
    return 0;
}

/* All that was written since the last call. */
static const char *written(void)
{
    static char text[2 << 20];
    size_t n = 0;
    ssize_t r;
    while ((r = read(to_us[0], text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)r;
    text[n] = '\0';
    return text;
}

static size_t count_of(const char *text, const char *what)
{
    size_t n = 0;
    for (; (text = strstr(text, what)); text += strlen(what))
        n++;
    return n;
}

/* ---- text ---- */

static void a_line_has_time_level_name_and_fields(void **state)
{
    (void)state;
    log_event(LOG_L_NOTICE, EV_SMTP_LISTENING, "address=%s port=%u", log_quote("127.0.0.1:25"), 25U);
    const char *line = written();
    int64_t at;
    char when[CLOCK_TEXT_SIZE];
    assert_int_equal(strcspn(line, " "), strlen("2026-11-22T10:00:00.123Z"));
    snprintf(when, sizeof when, "%.24s", line);
    assert_int_equal(clock_parse(when, &at), 0);
    assert_true(clock_real_us() - at < CD_SEC(60));
    assert_string_equal(line + strlen(when), " notice smtp.listening address=127.0.0.1:25 port=25\n");

    log_set_process("triage/0");
    log_event(LOG_L_ERROR, EV_WORKER_START, "error=%s", log_quote("no such file"));
    assert_string_equal(written() + strlen(when), " error worker.start proc=triage/0 error=\"no such file\"\n");
}

static void levels_above_the_set_one_are_not_written(void **state)
{
    (void)state;
    log_event(LOG_L_DEBUG, EV_WORKER_READY, "worker=x");
    assert_string_equal(written(), "");
    log_set_level(LOG_L_DEBUG);
    log_event(LOG_L_DEBUG, EV_WORKER_READY, "worker=x");
    assert_int_equal(count_of(written(), " debug worker.ready worker=x\n"), 1);
    log_set_level(LOG_L_WARN);
    log_event(LOG_L_INFO, EV_INTAKE_ACCEPTED, "id=x"); /* a level set by the operator counts for all classes */
    assert_string_equal(written(), "");
}

static void values_are_quoted_when_they_need_it(void **state)
{
    char huge[2000];
    (void)state;
    assert_string_equal(log_quote("plain"), "plain");
    assert_string_equal(log_quote("two words"), "\"two words\"");
    assert_string_equal(log_quote("a=b"), "\"a=b\"");
    assert_string_equal(log_quote("a\"b\\c\nd"), "\"a\\\"b\\\\c d\"");
    assert_string_equal(log_quote("back\\slash"), "\"back\\\\slash\"");
    assert_string_equal(log_quote(""), "\"\"");
    assert_string_equal(log_quote(NULL), "\"\"");
    for (size_t i = 0; i < sizeof huge - 1; i++)
        huge[i] = "\xe4\xb8\xad"[i % 3];
    huge[sizeof huge - 1] = '\0';
    const char *cut = log_quote(huge);
    assert_true(strlen(cut) < 512 && cut[strlen(cut) - 1] == '"');
    assert_int_equal((strlen(cut) - 2) % 3, 0); /* no character is cut */
}

static void a_caller_cannot_make_two_lines(void **state)
{
    (void)state;
    log_event(LOG_L_INFO, EV_SMTP_ENDED, "why=%s", "x\n2026 error front.ended\r\x1b[2J\x7f\xff");
    const char *line = written();
    assert_int_equal(count_of(line, "\n"), 1);
    assert_null(strchr(line, '\x1b'));
    assert_null(strchr(line, '\xff'));
}

static void a_line_too_long_is_cut_with_its_quote_closed(void **state)
{
    char huge[9000];
    (void)state;
    memset(huge, 'x', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    log_event(LOG_L_INFO, EV_SMTP_ENDED, "why=\"%s\"", huge);
    const char *line = written();
    assert_true(strlen(line) <= LOG_LINE_SIZE && strlen(line) > LOG_LINE_SIZE - 400);
    assert_string_equal(line + strlen(line) - 3, "x\"\n");
}

static void addresses_and_numbers_are_masked_unless_configured(void **state)
{
    (void)state;
    assert_string_equal(log_addr("maria.lopez@example.com"), "ma***@example.com");
    assert_string_equal(log_addr("+8613800138000"), "+861***00");
    assert_string_equal(log_text("550 5.1.1 <maria.lopez@example.com>: User unknown"), "\"550 5.1.1 <ma***@example.com>: User unknown\"");
    assert_string_equal(log_text("to +8613800138000, or 013800138000."), "\"to +861***00, or 0138***00.\"");
    assert_string_equal(log_text("relay 192.168.100.200:2525 said 4.7.1 on 2026-11-22"),
                        "\"relay 192.168.100.200:2525 said 4.7.1 on 2026-11-22\"");
    assert_string_equal(log_text("Key (email)=(o'brien@example.com) exists"), "\"Key (email)=(o'br***@example.com) exists\"");
    assert_string_equal(log_text(NULL), "\"\"");
    log_set_pii(true);
    assert_string_equal(log_addr("maria.lopez@example.com"), "maria.lopez@example.com");
    assert_string_equal(log_text("550 <maria.lopez@example.com>"), "\"550 <maria.lopez@example.com>\"");
}

static void a_long_text_is_masked_to_its_end(void **state)
{
    char text[1200] = "";
    (void)state;
    while (strlen(text) < 1100)
        strcat(text, "someone@example.com ");
    assert_null(strstr(log_text(text), "someone"));
    memset(text, 'y', 1000); /* an address longer than any */
    memcpy(text + 1000, "@example.com", 13);
    assert_true(strlen(log_text(text)) < 512);
}

/* ---- rates ---- */

static void ordinary_events_are_limited_and_summed_up(void **state)
{
    int64_t before = metrics_get(M_LOG_SUPPRESSED);
    (void)state;
    for (int i = 0; i < 1000; i++)
        log_event(LOG_L_WARN, EV_STORE_BATCH_FAILED, "rows=%d", i);
    size_t n = count_of(written(), " warn store.batch-failed rows=");
    assert_true(n >= 200 && n < 400); /* 200, and 20 for each second that this took */
    assert_int_equal(metrics_get(M_LOG_SUPPRESSED) - before, 1000 - n);
    char want[64];
    snprintf(want, sizeof want, " warn store.batch-failed suppressed=%zu\n", 1000 - n);
    log_summarize();
    assert_non_null(strstr(written(), want));
    log_summarize(); /* told once */
    assert_string_equal(written(), "");
}

static void one_events_flood_does_not_silence_another(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++)
        log_event(LOG_L_INFO, EV_SMTP_ENDED, "why=x");
    log_event(LOG_L_INFO, EV_HTTP_BAD_REQUEST, "status=400");
    assert_int_equal(count_of(written(), "http.bad-request"), 1);
}

static void storms_are_limited_to_a_few(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++)
        log_event(LOG_L_WARN, EV_SMTP_CONNECTION_REFUSED, "peer=x");
    assert_int_equal(count_of(written(), "smtp.connection-refused peer="), 3);
}

static void what_may_be_lost_is_never_suppressed(void **state)
{
    size_t n = 0;
    (void)state;
    for (int i = 0; i < 3000; i++) {
        log_event(LOG_L_INFO, EV_INTAKE_ACCEPTED, "id=%d", i);
        log_event(LOG_L_ERROR, EV_INTAKE_UNSTORABLE, "id=%d", i);
        if (i % 50 == 0)
            n += count_of(written(), "intake.");
    }
    assert_int_equal(n + count_of(written(), "intake."), 6000);
    log_summarize();
    assert_string_equal(written(), "");
}

static void an_allowance_comes_back(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++)
        log_event(LOG_L_INFO, EV_SMTP_ENDED, "why=x");
    (void)written();
    usleep(200000);
    for (int i = 0; i < 300; i++)
        log_event(LOG_L_INFO, EV_SMTP_ENDED, "why=y");
    size_t n = count_of(written(), "why=y");
    assert_true(n >= 4 && n < 60);
}

static void an_unknown_event_is_written_as_such(void **state)
{
    (void)state;
    for (int i = 0; i < 500; i++)
        log_event(LOG_L_ERROR, (enum log_event_id)(EV_COUNT + 7), "x=1");
    assert_int_equal(count_of(written(), " error unknown x=1\n"), 500);
    assert_string_equal(event_info(EV_COUNT)->name, "unknown");
}

static void errno_is_left_alone(void **state)
{
    (void)state;
    errno = ENOENT;
    log_event(LOG_L_ERROR, EV_FRONT_ENDED, "status=%d", 1);
    assert_int_equal(errno, ENOENT);
}

/* ---- readers that do not read ---- */

static void a_full_pipe_neither_blocks_nor_loses(void **state)
{
    int64_t start = clock_mono_us(), dropped = metrics_get(M_LOG_DROPPED);
    char want[32];
    (void)state;
    for (int i = 0; i < 4000; i++)
        log_event(LOG_L_INFO, EV_INTAKE_ACCEPTED, "id=%d.", i);
    assert_true(clock_mono_us() - start < CD_SEC(5));
    assert_true(log_sink_waiting() > 0);
    size_t n = 0, next = 0;
    for (int turn = 0; turn < 200 && next < 4000; turn++) {
        const char *text = written();
        n += count_of(text, "\n");
        for (const char *p = text; (p = strstr(p, "id=")); p += 3, next++) {
            snprintf(want, sizeof want, "id=%zu.", next);
            assert_int_equal(strncmp(p, want, strlen(want)), 0); /* in their order */
        }
        log_tick();
    }
    assert_int_equal(n, 4000);
    assert_int_equal(log_sink_waiting(), 0);
    assert_int_equal(metrics_get(M_LOG_DROPPED), dropped);
    /* the description that others share is as it was */
    assert_int_equal(fcntl(to_us[1], F_GETFL) & O_NONBLOCK, 0);
}

static void what_does_not_fit_is_dropped_counted_and_told(void **state)
{
    int64_t before = metrics_get(M_LOG_DROPPED);
    (void)state;
    for (int i = 0; i < 20000; i++)
        log_event(LOG_L_INFO, EV_INTAKE_ACCEPTED, "id=%d.", i);
    int64_t dropped = metrics_get(M_LOG_DROPPED) - before;
    assert_true(dropped > 0 && log_sink_waiting() <= LOG_WAITING_MAX);
    size_t n = 0, told = 0;
    char want[64];
    snprintf(want, sizeof want, " error log.dropped lines=%lld\n", (long long)dropped);
    for (int turn = 0; turn < 100; turn++) {
        const char *text = written();
        n += count_of(text, "intake.accepted");
        told += count_of(text, want);
        log_tick();
    }
    assert_int_equal((int64_t)n + dropped, 20000);
    assert_int_equal(told, 1);
}

static void a_stream_that_takes_a_part_gets_the_rest(void **state)
{
    int pair[2], small = 1;
    char text[8192];
    size_t n = 0, lines = 0;
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    fcntl(pair[1], F_SETFL, O_NONBLOCK);
    log_sink_open_fd(pair[0]);
    for (int i = 0; i < 100; i++)
        log_event(LOG_L_INFO, EV_INTAKE_ACCEPTED, "id=%d x=%.*s", i, i * 20, "................................................");
    for (int turn = 0; turn < 2000 && lines < 100; turn++) {
        ssize_t r = read(pair[1], text, sizeof text - 1);
        for (ssize_t i = 0; i < r; i++, n++)
            lines += text[i] == '\n';
        log_tick();
    }
    assert_int_equal(lines, 100);
    log_sink_open_fd(to_us[1]);
    close(pair[0]);
    close(pair[1]);
}

static void a_reader_that_has_gone_costs_lines_only(void **state)
{
    int pair[2];
    int64_t before = metrics_get(M_LOG_DROPPED);
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    close(pair[1]);
    log_sink_open_fd(pair[0]);
    log_event(LOG_L_INFO, EV_INTAKE_ACCEPTED, "id=1");
    assert_true(metrics_get(M_LOG_DROPPED) > before);
    log_sink_open_fd(to_us[1]);
    close(pair[0]);
}

/* ---- the journal ---- */

static bool has_field(const char *datagram, const char *line)
{
    char want[512];
    snprintf(want, sizeof want, "\n%s\n", line);
    return strstr(datagram, want) != NULL || strncmp(datagram, want + 1, strlen(want + 1)) == 0;
}

static void fields_of_a_line_become_fields_of_the_journal(void **state)
{
    char d[LOG_DATAGRAM_SIZE + 1];
    (void)state;
    d[log_journal_format(&(struct log_record){LOG_L_INFO, event_info(EV_INTAKE_ACCEPTED), "front",
                                              "id=0199 ref=C-7K2M channel=mail peer=10.0.0.1 priority=high team=\"billing \\\"EU\\\"\" "
                                              "message=x code_file=y 9lives=z db-state=q empty=\"\" =no stray end=\"open"}, d)] = '\0';
    char want[64];
    snprintf(want, sizeof want, "MESSAGE_ID=%s", event_info(EV_INTAKE_ACCEPTED)->message_id);
    assert_true(has_field(d, want));
    static const char *const wanted[] = {"PRIORITY=6", "SYSLOG_IDENTIFIER=complaintd", "COMPLAINTD_EVENT=intake.accepted",
                                         "COMPLAINTD_PROCESS=front", "ENVELOPE_ID=0199", "REF=C-7K2M", "CHANNEL=mail",
                                         "REMOTE_ADDR=10.0.0.1", "COMPLAINT_PRIORITY=high", "TEAM=billing \"EU\"",
                                         "COMPLAINTD_MESSAGE=x", "COMPLAINTD_CODE_FILE=y", "COMPLAINTD_9LIVES=z", "DB_STATE=q", "EMPTY=",
                                         "END=open"};
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        assert_true(has_field(d, wanted[i]));
    assert_int_equal(strncmp(d, "MESSAGE=intake.accepted id=0199 ref=C-7K2M ", 43), 0);
    assert_int_equal(count_of(d, "\nPRIORITY="), 1);
    assert_int_equal(count_of(d, "\nMESSAGE"), 1); /* MESSAGE_ID; MESSAGE is first */
}

static void a_datagram_has_its_bound(void **state)
{
    char d[LOG_DATAGRAM_SIZE], fields[LOG_LINE_SIZE] = "";
    (void)state;
    memset(fields, 'k', sizeof fields - 1);
    fields[200] = '=';
    assert_true(log_journal_format(&(struct log_record){LOG_L_INFO, event_info(EV_SMTP_ENDED), "", fields}, d) <= LOG_DATAGRAM_SIZE);
    for (size_t i = 0; i + 4 < sizeof fields; i += 4)
        memcpy(fields + i, "a=b ", 4); /* each becomes longer */
    assert_true(log_journal_format(&(struct log_record){LOG_L_INFO, event_info(EV_SMTP_ENDED), "", fields}, d) <= LOG_DATAGRAM_SIZE);
    for (size_t i = 0; i + 4 < sizeof fields; i += 4)
        memcpy(fields + i, "9=b ", 4);
    assert_true(log_journal_format(&(struct log_record){LOG_L_INFO, event_info(EV_SMTP_ENDED), "", fields}, d) <= LOG_DATAGRAM_SIZE);
}

/* journald's socket, in a folder of our own. */
static int journald(struct sockaddr_un *a)
{
    int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(a->sun_path, sizeof a->sun_path, "/tmp/test_log.%d.socket", (int)getpid());
    assert_int_equal(bind(s, (struct sockaddr *)a, sizeof *a), 0);
    return s;
}

static size_t read_datagrams(int s, const char *what)
{
    char d[LOG_DATAGRAM_SIZE + 1];
    size_t n = 0;
    ssize_t r;
    while ((r = recv(s, d, sizeof d - 1, 0)) >= 0) {
        d[r] = '\0';
        n += has_field(d, what);
    }
    return n;
}

static void lines_go_to_the_journals_socket(void **state)
{
    struct sockaddr_un a;
    char d[LOG_DATAGRAM_SIZE + 1];
    int s = journald(&a);
    (void)state;
    assert_int_equal(log_sink_open_journal(a.sun_path), 0);
    assert_true(log_sink_is_journal());
    log_event(LOG_L_ERROR, EV_ESCALATION_NOBODY, "ref=%s step=%s", "C-1", log_quote("team lead"));
    ssize_t r = recv(s, d, sizeof d - 1, 0);
    assert_true(r > 0);
    d[r] = '\0';
    assert_true(has_field(d, "MESSAGE=escalation.nobody ref=C-1 step=\"team lead\""));
    assert_true(has_field(d, "PRIORITY=3"));
    assert_true(has_field(d, "STEP=team lead"));
    assert_string_equal(written(), "");
    close(s);
    unlink(a.sun_path);
}

static void a_journal_that_does_not_read_is_not_waited_for(void **state)
{
    struct sockaddr_un a;
    int s = journald(&a);
    int64_t start = clock_mono_us(), before = metrics_get(M_LOG_DROPPED);
    size_t got = 0;
    (void)state;
    assert_int_equal(log_sink_open_journal(a.sun_path), 0);
    for (int i = 0; i < 1000; i++)
        log_event(LOG_L_INFO, EV_INTAKE_ACCEPTED, "id=%d", i);
    assert_true(clock_mono_us() - start < CD_SEC(5));
    assert_true(log_sink_waiting() > 0);
    assert_int_equal(metrics_get(M_LOG_DROPPED), before);
    for (int turn = 0; turn < 1000 && log_sink_waiting(); turn++) {
        got += read_datagrams(s, "COMPLAINTD_EVENT=intake.accepted");
        log_tick();
    }
    assert_int_equal(got + read_datagrams(s, "COMPLAINTD_EVENT=intake.accepted"), 1000);
    close(s); /* journald is gone: lines are lost, and counted */
    log_event(LOG_L_INFO, EV_INTAKE_ACCEPTED, "id=gone");
    assert_true(metrics_get(M_LOG_DROPPED) > before);
    unlink(a.sun_path);
}

static void the_journal_is_known_by_its_stream(void **state)
{
    struct stat st;
    char stream[64];
    (void)state;
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    setenv("JOURNAL_STREAM", "1:2", 1); /* inherited; standard error is another since */
    log_sink_open();
    assert_false(log_sink_stderr_is_journal());
    assert_false(log_sink_is_journal());
    setenv("JOURNAL_STREAM", "nonsense", 1);
    log_sink_open();
    assert_false(log_sink_stderr_is_journal());
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_sink_open();
    assert_true(log_sink_stderr_is_journal());
    unsetenv("JOURNAL_STREAM");
    log_sink_open();
    assert_false(log_sink_stderr_is_journal());
    assert_true(log_sink_open_journal("/nowhere/socket") < 0);
}

/* ---- the catalogue ---- */

static void every_event_is_described_in_both_forms(void **state)
{
    struct buf table, catalog;
    char text[64];
    (void)state;
    buf_init(&table, CD_MIB(1));
    buf_init(&catalog, CD_MIB(1));
    events_describe(&table);
    events_catalog(&catalog);
    assert_false(table.failed || catalog.failed);
    for (size_t i = 0; i < EV_COUNT; i++) {
        const struct event_info *e = event_info((enum log_event_id)i);
        assert_true(strlen(e->means) > 10 && e->means[strlen(e->means) - 1] == '.');
        assert_true(strlen(e->remedy) > 6 && e->remedy[strlen(e->remedy) - 1] == '.');
        assert_int_equal(strspn(e->message_id, "0123456789abcdef"), 32);
        assert_non_null(strstr(buf_str(&table), e->message_id));
        snprintf(text, sizeof text, "\n-- %s\n", e->message_id);
        assert_int_equal(count_of(buf_str(&catalog), text), 1);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(e->message_id, event_info((enum log_event_id)k)->message_id);
    }
    buf_free(&table);
    buf_free(&catalog);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_line_has_time_level_name_and_fields),
        TEST(levels_above_the_set_one_are_not_written),
        TEST(values_are_quoted_when_they_need_it),
        TEST(a_caller_cannot_make_two_lines),
        TEST(a_line_too_long_is_cut_with_its_quote_closed),
        TEST(addresses_and_numbers_are_masked_unless_configured),
        TEST(a_long_text_is_masked_to_its_end),
        TEST(ordinary_events_are_limited_and_summed_up),
        TEST(one_events_flood_does_not_silence_another),
        TEST(storms_are_limited_to_a_few),
        TEST(what_may_be_lost_is_never_suppressed),
        TEST(an_allowance_comes_back),
        TEST(an_unknown_event_is_written_as_such),
        TEST(errno_is_left_alone),
        TEST(a_full_pipe_neither_blocks_nor_loses),
        TEST(what_does_not_fit_is_dropped_counted_and_told),
        TEST(a_stream_that_takes_a_part_gets_the_rest),
        TEST(a_reader_that_has_gone_costs_lines_only),
        TEST(fields_of_a_line_become_fields_of_the_journal),
        TEST(a_datagram_has_its_bound),
        TEST(lines_go_to_the_journals_socket),
        TEST(a_journal_that_does_not_read_is_not_waited_for),
        TEST(the_journal_is_known_by_its_stream),
        TEST(every_event_is_described_in_both_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
