/* complaintctl's text and command line, compiled in here because programs have no library of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "ctl/actions.c"
#include "ctl/commands.c"
#include "ctl/completion.c"
#include "ctl/hint.c"
#include "ctl/print.c"
#include "ctl/print_course.c"
#include "ctl/print_event.c"
#include "ctl/print_thread.c"
#include "ctl/print_attachments.c"
#include "ctl/print_people.c"
#include "ctl/print_waiting.c"
#include "ctl/table.c"
#include "ctl/text.c"
#include "ctl/time.c"

int run_attachment(const struct ctl_globals *g CD_UNUSED, json_t *args CD_UNUSED)
{
    return EXIT_DONE;
}

int run_degraded(const struct ctl_globals *g CD_UNUSED, json_t *args CD_UNUSED)
{
    return EXIT_DONE;
}

int run_verify(const struct ctl_globals *g CD_UNUSED, json_t *args CD_UNUSED)
{
    return EXIT_DONE;
}

int run_migrate(const struct ctl_globals *g CD_UNUSED, json_t *args CD_UNUSED)
{
    return EXIT_DONE;
}

int run_token(const struct ctl_globals *g CD_UNUSED, json_t *args CD_UNUSED)
{
    return EXIT_DONE;
}

int run_export(const struct ctl_globals *g CD_UNUSED, json_t *args CD_UNUSED)
{
    return EXIT_DONE;
}

int run_top(const struct ctl_globals *g CD_UNUSED, json_t *args CD_UNUSED)
{
    return EXIT_DONE;
}

static void width_counts_columns(void **state CD_UNUSED)
{
    assert_int_equal(text_width("abc"), 3);
    assert_int_equal(text_width("\xe6\x8a\x95\xe8\xaf\x89"), 4); /* 投诉 */
    assert_int_equal(text_width("e\xcc\x81"), 1);                /* e and a combining accent */
    assert_int_equal(text_width("\xef\xbc\x88"), 2);             /* full-width bracket */
    assert_int_equal(text_width("\xf0\x9f\x94\xa5"), 2);         /* an emoji */
    assert_int_equal(text_width("\xff\xfe"), 2);                 /* no UTF-8: a sign each */
}

static void expect_clean(const char *in, size_t max, const char *want)
{
    struct buf out;
    buf_init(&out, 1000);
    text_clean(in, max, &out);
    assert_string_equal(buf_str(&out), want);
    buf_free(&out);
}

static void hostile_text_is_cleaned(void **state CD_UNUSED)
{
    expect_clean("a\033[31mb", 0, "a\xef\xbf\xbd[31mb");
    expect_clean("a\nb\tc", 0, "a b c");
    expect_clean("x\xe2\x80\xaey", 0, "x\xef\xbf\xbdy"); /* right-to-left override */
    expect_clean("x\xd8\x9cy", 0, "x\xef\xbf\xbdy");         /* the Arabic letter mark turns as well */
    expect_clean("\xc2\x9b"
                 "31m",
                 0,
                 "\xef\xbf\xbd"
                 "31m"); /* the one-byte CSI */
    expect_clean("\xe6\x8a\x95\xe8\xaf\x89\xe6\x8a\x95", 5, "\xe6\x8a\x95\xe8\xaf\x89\xe2\x80\xa6");
    expect_clean("\xe6\x8a\x95\xe8\xaf\x89\xe6\x8a\x95", 4, "\xe6\x8a\x95\xe2\x80\xa6");
    expect_clean("abc", 3, "abc");
    expect_clean("abcd", 3, "ab\xe2\x80\xa6");
}

static void json_holds_nothing_that_a_terminal_obeys(void **state CD_UNUSED)
{
    struct buf out;
    buf_init(&out, 1000);
    text_json("{\"a\":\"\xc2\x9b" "31m \x7f \xe2\x80\xae \xe6\x8a\x95 \\u0007\"}", &out);
    assert_string_equal(buf_str(&out), "{\"a\":\"\\u009b31m \\u007f \\u202e \xe6\x8a\x95 \\u0007\"}");
    buf_free(&out);
}

static void tables_align_wide_characters(void **state CD_UNUSED)
{
    static const char *const headers[] = {"A", "B", NULL};
    struct table *t = table_new(headers, NULL);
    struct buf out;
    buf_init(&out, 1000);
    table_add(t, C_RED, "\xe6\x8a\x95\xe8\xaf\x89");
    table_add(t, C_PLAIN, "x");
    table_add(t, C_PLAIN, "abc");
    table_add(t, C_PLAIN, NULL);
    table_print(&t, " ", &out);
    assert_string_equal(buf_str(&out), " A     B\n \xe6\x8a\x95\xe8\xaf\x89  x\n abc   \n");
    assert_null(t);
    buf_free(&out);
}

static void expect_table(size_t screen, const char *want)
{
    static const char *const headers[] = {"A", "B", "C", "D", "TEXT", NULL};
    static const char *const cells[] = {"a", "bbbb", "", "dddd", "one two three four five six seven",
                                        "a", "b", NULL, "d", "\xe6\x8a\x95\xe8\xaf\x89\xe6\x8a\x95\xe8\xaf\x89\xe6\x8a\x95\xe8\xaf\x89"};
    struct table *t = table_new(headers, NULL);
    struct buf out;
    buf_init(&out, 1000);
    table_spare(t, 1);
    table_spare(t, 2);
    table_spare(t, 3);
    for (size_t i = 0; i < ARRAY_LEN(cells); i++)
        table_add(t, C_PLAIN, cells[i]);
    text_screen(screen);
    table_print(&t, " ", &out);
    text_screen(0);
    assert_string_equal(buf_str(&out), want);
    buf_free(&out);
}

#define WIDE_TEXT "\xe6\x8a\x95\xe8\xaf\x89\xe6\x8a\x95\xe8\xaf\x89\xe6\x8a\x95\xe8\xaf\x89"

static void tables_fit_the_screen(void **state CD_UNUSED)
{
    expect_table(0, " A  B     C  D     TEXT\n a  bbbb     dddd  one two three four five six seven\n a  b        d     " WIDE_TEXT "\n");
    expect_table(52, " A  B     C  D     TEXT\n a  bbbb     dddd  one two three four five six seven\n a  b        d     " WIDE_TEXT "\n");
    /* the last one is cut */
    expect_table(46, " A  B     C  D     TEXT\n a  bbbb     dddd  one two three four five si\xe2\x80\xa6\n a  b        d     " WIDE_TEXT "\n");
    /* what is empty goes, though another was named first */
    expect_table(42, " A  B     D     TEXT\n a  bbbb  dddd  one two three four five s\xe2\x80\xa6\n a  b     d     " WIDE_TEXT "\n");
    expect_table(36, " A  D     TEXT\n a  dddd  one two three four five s\xe2\x80\xa6\n a  d     " WIDE_TEXT "\n");
    expect_table(14, " A  TEXT\n a  one two t\xe2\x80\xa6\n a  \xe6\x8a\x95\xe8\xaf\x89\xe6\x8a\x95\xe8\xaf\x89\xe2\x80\xa6\n");
    static const char *const two[] = {"A", "EMPTY", NULL};
    struct table *t = table_new(two, NULL);
    struct buf out;
    buf_init(&out, 100);
    table_add(t, C_PLAIN, "abc");
    table_add(t, C_PLAIN, NULL);
    text_screen(7);
    table_print(&t, "", &out);
    assert_string_equal(buf_str(&out), "A    \nabc  \n"); /* nothing to cut in the last one */
    buf_free(&out);
    /* too narrow for anything: whole */
    expect_table(9, " A  TEXT\n a  one two three four five six seven\n a  " WIDE_TEXT "\n");
}

static void colour_only_when_wanted(void **state CD_UNUSED)
{
    struct buf out;
    buf_init(&out, 100);
    text_put(&out, C_RED, "x");
    text_colour(true);
    text_put(&out, C_RED, "y");
    text_colour(false);
    assert_string_equal(buf_str(&out), "x\033[31my\033[0m");
    buf_free(&out);
}

static int parse(const char *words, struct ctl_globals *g, const struct ctl_command **c, char **ret_json)
{
    static char copy[300];
    static char *argv[20];
    int argc = 0;
    json_t *args = json_object();
    snprintf(copy, sizeof copy, "%s", words);
    for (char *p = strtok(copy, " "); p; p = strtok(NULL, " "))
        argv[argc++] = p;
    memset(g, 0, sizeof *g);
    int r = ctl_parse(argc, argv, g, c, args);
    *ret_json = json_dumps(args, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(args);
    return r;
}

static void expect_request(const char *words, const char *verb, const char *json)
{
    struct ctl_globals g;
    const struct ctl_command *c = NULL;
    char *got;
    assert_int_equal(parse(words, &g, &c, &got), EXIT_DONE);
    if (verb)
        assert_string_equal(c->verb, verb);
    else
        assert_non_null(c->run); /* it says several things to the daemon */
    assert_string_equal(got, json);
    free(got);
}

static void command_lines_become_requests(void **state CD_UNUSED)
{
    expect_request("list", "LIST", "{}");
    expect_request("list --status open --overdue --limit=5", "LIST",
                   "{\"limit\":5,\"overdue\":true,\"status\":\"open\"}");
    expect_request("--json show C-1", "SHOW", "{\"ref\":\"C-1\"}");
    expect_request("show --json C-1", "SHOW", "{\"ref\":\"C-1\"}");
    expect_request("assign C-1 wei --team billing", "ASSIGN",
                   "{\"assignee\":\"wei\",\"ref\":\"C-1\",\"team\":\"billing\"}");
    expect_request("resolve C-1 --outcome upheld --cause=a=b", "RESOLVE",
                   "{\"cause\":\"a=b\",\"outcome\":\"upheld\",\"ref\":\"C-1\"}");
    expect_request("merge C-1 C-2", "MERGE", "{\"into\":\"C-2\",\"ref\":\"C-1\"}");
    expect_request("split C-1 M --later --team billing", "SPLIT",
                   "{\"later\":true,\"message\":\"M\",\"ref\":\"C-1\",\"team\":\"billing\"}");
    expect_request("clock", "CLOCK", "{}");
    expect_request("clock show", "CLOCK", "{}");
    expect_request("clock advance 3d", "CLOCK", "{\"advance\":\"3d\"}");
    expect_request("subscribe --after 0 --kinds received,acked, --once", "SUBSCRIBE",
                   "{\"after\":\"0\",\"follow\":false,\"kinds\":[\"received\",\"acked\"]}");
    expect_request("--host h --port 7071 --tls --ca-file f --tls-name n stats", "STATS", "{}");
    expect_request("list --search a --utc", "LIST", "{\"search\":\"a\"}");
    expect_request("degraded --limit 3", NULL, "{\"degraded\":true,\"limit\":3}");
    expect_request("degraded reread C-1 --message M", NULL, "{\"message\":\"M\",\"ref\":\"C-1\"}");
    expect_request("degraded reread --all --status new", NULL, "{\"all\":true,\"degraded\":true,\"status\":\"new\"}");
    expect_request("queue", "QUEUE", "{}");
    expect_request("queue list --state dead", "QUEUE", "{\"state\":\"dead\"}");
    expect_request("queue retry N", "QUEUE", "{\"retry\":\"N\"}");
    expect_request("queue drop N --reason r", "QUEUE", "{\"drop\":\"N\",\"reason\":\"r\"}");
    expect_request("pending", "PENDING", "{}");
    expect_request("pending retry P", "PENDING", "{\"retry\":\"P\"}");
    expect_request("pending retry --all", "PENDING", "{\"all\":true}");
    expect_request("config", "CONFIG", "{}");
    expect_request("config show", "CONFIG", "{}");
    expect_request("show -- --json", "SHOW", "{\"ref\":\"--json\"}");
}

static void wrong_command_lines(void **state CD_UNUSED)
{
    static const char *const lines[] = {"",
                                        "frob",
                                        "show",
                                        "show a b",
                                        "list --nothing",
                                        "list --limit x",
                                        "list --limit",
                                        "list --overdue=1",
                                        "clock advance",
                                        "clock show 3d",
                                        "clock stop",
                                        "--port 1 stats",
                                        "--tls stats",
                                        "--host h --tls --starttls stats",
                                        "--host h --socket s stats",
                                        "--host h --ca-file f stats",
                                        "queue drop N",
                                        "queue retry",
                                        "queue list N",
                                        "queue N",
                                        "queue list --reason x",
                                        "queue retry N --limit 3",
                                        "queue averyveryverylongaction N",
                                        "pending N",
                                        "pending retry",
                                        "pending retry P --all",
                                        "pending --all",
                                        "config set",
                                        "completion",
                                        "top now",
                                        "--socket"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct ctl_globals g;
        const struct ctl_command *c;
        char *got;
        if (parse(lines[i], &g, &c, &got) != EXIT_USAGE)
            fail_msg("accepted: %s", lines[i]);
        free(got);
    }
}

static void expect_nearest(const char *word, const char *want)
{
    struct nearest n;
    nearest_begin(&n, word, strlen(word));
    for (size_t i = 0; i < ctl_command_count; i++)
        nearest_try(&n, ctl_commands[i].name);
    if (want)
        assert_string_equal(n.name, want);
    else
        assert_null(n.name);
}

static void a_slip_is_understood(void **state CD_UNUSED)
{
    expect_nearest("lst", "list");
    expect_nearest("shwo", "show");
    expect_nearest("reslove", "resolve");
    expect_nearest("attach", "attachment");
    expect_nearest("xplain", "explain");
    expect_nearest("frobnicate", NULL);
    expect_nearest("x", NULL);
    expect_nearest("", NULL);
    expect_nearest("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL);
    expect_request("note C-1 t --if-seq 7", "NOTE", "{\"if_seq\":7,\"ref\":\"C-1\",\"text\":\"t\"}");
    expect_request("note C-1 t --if_seq 7", "NOTE", "{\"if_seq\":7,\"ref\":\"C-1\",\"text\":\"t\"}");
}

static void every_command_is_whole(void **state CD_UNUSED)
{
    struct buf out;
    buf_init(&out, CD_KIB(64));
    for (size_t i = 0; i < ctl_command_count; i++) {
        const struct ctl_command *c = &ctl_commands[i];
        assert_non_null(c->usage);
        assert_true(!c->verb || (c->print && c->timeout_s > 0));
        ctl_help(c, &out);
    }
    ctl_help(NULL, &out);
    assert_false(out.failed);
    assert_non_null(strstr(buf_str(&out), "exit status"));
    buf_free(&out);
}

static void a_row_of_an_event(void **state CD_UNUSED)
{
    struct buf out;
    buf_init(&out, 1000);
    json_t *row = json_pack("{s:s, s:s, s:s, s:n}", "cursor", "7:x", "kind", "acked\n", "ref", "C-1", "actor");
    print_event(row, false, &out);
    assert_string_equal(buf_str(&out), "-  C-1  acked   -  7:x\n");
    json_object_del(row, "kind"); /* a heartbeat */
    print_event(row, false, &out);
    assert_string_equal(buf_str(&out), "-  C-1  acked   -  7:x\n");
    print_event(row, true, &out);
    assert_non_null(strstr(buf_str(&out), "{\"cursor\":\"7:x\","));
    buf_reset(&out);
    json_object_set_new(row, "kind", json_string("acked"));
    json_object_set_new(row, "at", json_string("2026-11-23T20:00:00.5+00:00"));
    setenv("TZ", "Asia/Shanghai", 1);
    tzset();
    print_event(row, false, &out);
    setenv("TZ", "UTC", 1);
    tzset();
    assert_string_equal(buf_str(&out), "2026-11-24 04:00:00+08  C-1  acked  -  7:x\n");
    json_decref(row);
    buf_free(&out);
}

/* Whatever an object lacks or has in another type, printing it is harmless. */
static void printing_bears_any_object(void **state CD_UNUSED)
{
    static const char *const bodies[] = {
        "{}",
        "{\"ref\":7,\"tags\":[1,null],\"deadlines\":{},\"steps\":[null],\"events\":[{\"data\":3}],"
        "\"messages\":[1,{\"body\":2}]}",
        "{\"ref\":\"C-1\",\"deadlines\":[{\"due_at\":\"x\"}],\"notifications\":[{}],\"notes\":[{}],\"links\":"
        "[{}],"
        "\"decision\":{\"rules\":[{\"words\":[1]},3],\"thread\":{\"a\":1}},\"acknowledgement\":{}}",
        "{\"messages\":[1,{},{\"thread\":[7,{}]},{\"message\":\"m\",\"at\":\"x\",\"thread\":[{\"score\":\"x\",\"points\":[]}]}]}",
        "{\"decision\":{\"thread\":[{\"evidence\":\"in-reply-to\",\"ref\":\"C-1\",\"score\":28,\"points\":{\"evidence\":80,"
        "\"drift\":-40,\"age\":-12},\"drift\":100,\"age\":7344000,\"verdict\":\"another matter\",\"sender\":\"unknown\"}]}}",
        "{\"rows\":1,\"id\":7,\"state\":\"dead\",\"attempts\":\"x\",\"next_attempt_at\":{},\"next\":3,\"option\":null}",
        "{\"rows\":1,\"id\":\"a\\u001b[31m\",\"state\":\"failed\",\"last_error\":\"e\\nf\",\"next\":\"\\u001b[2J\",\"value\":\"\\u0007\"}",
        "{\"open\":{\"total\":1,\"by_team\":{\"a\":2}},\"now\":\"2026-11-23T02:00:00+00:00\"}",
    };
    struct buf out;
    buf_init(&out, CD_MIB(1));
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct answer a = {.ok = true, .rows = json_array(), .body = json_loads(bodies[i], 0, NULL)};
        assert_non_null(a.body);
        json_array_append(a.rows, a.body);
        print_show(&a, &out);
        print_list(&a, &out);
        print_explain(&a, &out);
        print_stats(&a, &out);
        print_fields(&a, &out);
        print_queue(&a, &out);
        print_pending(&a, &out);
        print_config(&a, &out);
        json_decref(a.rows);
        json_decref(a.body);
    }
    assert_false(out.failed);
    assert_non_null(strstr(buf_str(&out), "2026-11-23 02:00:00Z"));
    assert_non_null(strstr(buf_str(&out), "80 -40 drift -12 age"));
    assert_non_null(strstr(buf_str(&out), "another matter"));
    assert_null(strchr(buf_str(&out), '\033'));
    assert_null(strchr(buf_str(&out), '\a'));
    buf_free(&out);
}

static void quoted_text_is_folded(void **state CD_UNUSED)
{
    struct answer a = {.ok = true,
                       .body = json_loads("{\"messages\":[{\"body\":\"Still broken.\\n\\n> old\\n> words\",\"text_new\":\"Still "
                                          "broken.\",\"quoted_lines\":2},{\"body\":\"> all\",\"text_new\":\"\",\"quoted_lines\":1},"
                                          "{\"body\":\"Nothing quoted.\"}]}",
                                          0, NULL)};
    struct buf out;
    assert_non_null(a.body);
    buf_init(&out, CD_KIB(16));
    print_show(&a, &out);
    assert_non_null(strstr(buf_str(&out), "  Still broken.\n  \xe2\x80\xa6 2 quoted lines, --full shows them\n"));
    assert_non_null(strstr(buf_str(&out), "  \xe2\x80\xa6 1 quoted line, --full shows it\n"));
    assert_non_null(strstr(buf_str(&out), "  Nothing quoted.\n"));
    assert_null(strstr(buf_str(&out), "old"));
    a.full = true;
    buf_reset(&out);
    print_show(&a, &out);
    assert_non_null(strstr(buf_str(&out), "  > words\n"));
    assert_null(strstr(buf_str(&out), "--full"));
    buf_free(&out);
    json_decref(a.body);
}

static json_t *step(int level, int repeat, const char *state, const char *when)
{
    return json_pack("{s:i, s:i, s:s, s:s*}", "level", level, "repeat", repeat, "due_at", when, state, state[0] ? when : NULL);
}

/* A ladder that went on for weeks does not bury what the customer wrote: it stands behind it, with its like repeats folded. */
static void a_long_ladder_is_folded(void **state CD_UNUSED)
{
    struct answer a = {.ok = true, .body = json_loads("{\"ref\":\"C-1\",\"messages\":[{\"body\":\"The words.\"}],\"steps\":[],\"notifications\":["
                                                      "{\"purpose\":\"acknowledgement\",\"state\":\"sent\",\"recipient\":\"customer\"}],\"events\":["
                                                      "{\"seq\":1,\"kind\":\"received\"}]}", 0, NULL)};
    json_t *steps = json_object_get(a.body, "steps"), *told = json_object_get(a.body, "notifications"), *events = json_object_get(a.body, "events");
    struct buf out;
    assert_non_null(a.body);
    json_array_append_new(steps, step(4, 0, "fired_at", "2026-11-01T00:00:00Z"));
    for (int i = 0; i < 20; i++) {
        char day[32], who[16];
        snprintf(day, sizeof day, "2026-11-%02dT00:00:00Z", i + 2);
        snprintf(who, sizeof who, "staff-%d", i);
        json_array_append_new(steps, step(7, i, i < 10 ? "fired_at" : "note", day));
        json_array_append_new(told, json_pack("{s:s, s:s, s:s}", "purpose", "escalation", "state", i == 0 ? "failed" : "sent", "recipient", who));
        json_array_append_new(events, json_pack("{s:i, s:s}", "seq", i + 2, "kind", "escalated"));
    }
    json_array_append_new(events, json_pack("{s:i, s:s, s:{s:s}}", "seq", 30, "kind", "notification-sent", "data", "purpose", "reply"));
    buf_init(&out, CD_KIB(64));
    print_show(&a, &out);
    const char *text = buf_str(&out);
    assert_true(strstr(text, "The words.") < strstr(text, "escalation steps"));
    assert_non_null(strstr(text, "7      0       2026-11-02"));
    assert_null(strstr(text, "2026-11-03"));
    assert_non_null(strstr(text, "2026-11-11 00:00:00Z  fired"));
    assert_non_null(strstr(text, "2026-11-12 00:00:00Z  waiting"));
    assert_non_null(strstr(text, "2026-11-21 00:00:00Z  waiting"));
    assert_non_null(strstr(text, "\xe2\x80\xa6 16 more repeats between these, --full shows them"));
    assert_non_null(strstr(text, "staff-0 ")); /* failed */
    assert_null(strstr(text, "staff-15 "));
    assert_non_null(strstr(text, "staff-16 "));
    assert_non_null(strstr(text, "customer "));
    assert_non_null(strstr(text, "\xe2\x80\xa6 15 more, earlier ones to the staff, --full"));
    assert_non_null(strstr(text, "\xe2\x80\xa6 20 more of the ladder, --full"));
    assert_non_null(strstr(text, "notification-sent"));
    a.full = true;
    a.asked = "C-2";
    buf_reset(&out);
    print_show(&a, &out);
    text = buf_str(&out);
    assert_non_null(strstr(text, "asked for        C-2, which was merged into this one\n"));
    assert_non_null(strstr(text, "2026-11-03"));
    assert_non_null(strstr(text, "staff-15 "));
    assert_non_null(strstr(text, "escalated"));
    assert_null(strstr(text, "--full"));
    buf_free(&out);
    json_decref(a.body);
}

static void expect_time(const char *zone, const char *in, const char *want)
{
    char out[TIME_TEXT_SIZE];
    setenv("TZ", zone, 1);
    tzset();
    assert_string_equal(time_text(in, out), want);
}

static void times_are_those_of_the_reader(void **state CD_UNUSED)
{
    expect_time("UTC", "2026-11-23T02:00:00.123+00:00", "2026-11-23 02:00:00Z");
    expect_time("Asia/Shanghai", "2026-11-23T20:00:00.123456+00:00", "2026-11-24 04:00:00+08");
    expect_time("Asia/Kathmandu", "2026-11-23T02:00:00Z", "2026-11-23 07:45:00+0545");
    expect_time("America/New_York", "2026-07-01T02:00:00Z", "2026-06-30 22:00:00-04");
    expect_time("America/New_York", "2026-01-01T02:00:00Z", "2025-12-31 21:00:00-05");
    expect_time("Asia/Shanghai", "2026-11-23T02:00:00+02:00", "2026-11-23 02:00:00"); /* not ours: not touched */
    expect_time("Asia/Shanghai", "2026-99-23T02:00:00Z", "2026-99-23 02:00:00");
    expect_time("Asia/Shanghai", "some words that are 3", "some words that are 3");
    expect_time("Asia/Shanghai", "", "");
    expect_time("Asia/Shanghai", NULL, "");
    time_utc(true);
    expect_time("Asia/Shanghai", "2026-11-23T02:00:00Z", "2026-11-23 02:00:00Z");
    time_utc(false);
    expect_time("UTC", "2026-11-23T02:00:00Z", "2026-11-23 02:00:00Z");
}

static void expect_given(const char *zone, const char *in, const char *want)
{
    char out[TIME_TEXT_SIZE];
    setenv("TZ", zone, 1);
    tzset();
    assert_string_equal(time_given(in, out), want);
}

static void times_may_be_written_as_in_the_zone_of_the_reader(void **state CD_UNUSED)
{
    char out[TIME_TEXT_SIZE];
    expect_given("Asia/Shanghai", "2026-12-24", "2026-12-23T16:00:00Z");
    expect_given("Asia/Shanghai", "2026-12-24 12:00", "2026-12-24T04:00:00Z");
    expect_given("Asia/Kathmandu", "2026-12-24 12:00:30", "2026-12-24T06:15:30Z");
    expect_given("America/New_York", "2026-07-01T09:00", "2026-07-01T13:00:00Z");
    expect_given("America/New_York", "2026-01-01T09:00:00", "2026-01-01T14:00:00Z");
    expect_given("Asia/Shanghai", "2026-12-24T12:00:00Z", "2026-12-24T12:00:00Z"); /* says its zone itself */
    expect_given("Asia/Shanghai", "2026-12-24T12:00:00+01:00", "2026-12-24T12:00:00+01:00");
    expect_given("Asia/Shanghai", "2026-11-31", "2026-11-31"); /* no such day, no such words: the daemon says so */
    expect_given("Asia/Shanghai", "tomorrow", "tomorrow");
    expect_given("Asia/Shanghai", "", "");
    assert_string_equal(time_minute("2026-11-23T02:00:31.5+00:00", out), "2026-11-23 10:00+08");
    expect_request("absent --from 2026-12-24 --until 2027-01-07T08:00:00Z", "ABSENT",
                   "{\"from\":\"2026-12-23T16:00:00Z\",\"until\":\"2027-01-07T08:00:00Z\"}");
    expect_request("wait C-1 --until 2026-12-24 --utc", "WAIT", "{\"ref\":\"C-1\",\"until\":\"2026-12-24T00:00:00Z\"}");
    time_utc(false);
    expect_given("UTC", "2026-12-24", "2026-12-24T00:00:00Z");
}

static void help_is_as_wide_as_the_screen(void **state CD_UNUSED)
{
    static const size_t screens[] = {0, 200, 100, 80, 60};
    for (size_t i = 0; i < ARRAY_LEN(screens); i++) {
        struct buf out;
        buf_init(&out, CD_KIB(64));
        text_screen(screens[i]);
        for (size_t k = 0; k < ctl_command_count; k++)
            help_options(ctl_commands[k].options, ARRAY_LEN(ctl_commands[k].options), &out);
        char *at = (char *)out.data;
        for (char *line; screens[i] && (line = strsep(&at, "\n"));)
            if (text_width(line) > screens[i])
                fail_msg("%zu columns are too few for: %s", screens[i], line);
        buf_free(&out);
    }
    struct buf out;
    buf_init(&out, 1000);
    text_screen(60);
    help_row("--one", 23, "a few words that go on and on until they reach the edge", &out);
    help_row("a left side that is much too long", 23, "below it", &out);
    text_screen(0);
    help_row("--two", 23, "a few words that go on and on until they reach the edge", &out);
    assert_string_equal(buf_str(&out), "  --one                a few words that go on and on until\n                       they reach the edge\n"
                                       "  a left side that is much too long\n                       below it\n"
                                       "  --two                a few words that go on and on until they reach the edge\n");
    buf_free(&out);
}

/* Each shell's script names every command and every option of each. */
static void completions_hold_the_whole_table(void **state CD_UNUSED)
{
    static const char *const shells[] = {"bash", "zsh", "fish"};
    for (size_t s = 0; s < ARRAY_LEN(shells); s++) {
        struct buf out;
        buf_init(&out, CD_MIB(1));
        assert_true(completion_script(shells[s], &out));
        for (size_t i = 0; i < ctl_command_count; i++) {
            const struct ctl_command *c = &ctl_commands[i];
            char want[100];
            assert_non_null(strstr(buf_str(&out), c->name));
            for (size_t k = 0; k < ARRAY_LEN(c->options) && c->options[k].name; k++) {
                snprintf(want, sizeof want, s == 2 ? "-l %s" : "--%s", c->options[k].name);
                assert_non_null(strstr(buf_str(&out), want));
            }
        }
        assert_false(out.failed);
        buf_free(&out);
    }
    struct buf none;
    buf_init(&none, 100);
    assert_false(completion_script("tcsh", &none));
    assert_false(completion_script(NULL, &none));
    buf_free(&none);
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    tzset();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(width_counts_columns),          cmocka_unit_test(hostile_text_is_cleaned),
        cmocka_unit_test(json_holds_nothing_that_a_terminal_obeys),
        cmocka_unit_test(tables_align_wide_characters),  cmocka_unit_test(tables_fit_the_screen),  cmocka_unit_test(colour_only_when_wanted),
        cmocka_unit_test(command_lines_become_requests), cmocka_unit_test(wrong_command_lines),
        cmocka_unit_test(every_command_is_whole),        cmocka_unit_test(a_row_of_an_event),
        cmocka_unit_test(printing_bears_any_object),     cmocka_unit_test(quoted_text_is_folded),
        cmocka_unit_test(times_are_those_of_the_reader), cmocka_unit_test(completions_hold_the_whole_table),
        cmocka_unit_test(help_is_as_wide_as_the_screen),
        cmocka_unit_test(a_slip_is_understood),
        cmocka_unit_test(a_long_ladder_is_folded),
        cmocka_unit_test(times_may_be_written_as_in_the_zone_of_the_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
