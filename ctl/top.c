/* complaintctl top: STATS every two seconds as one screen. Plain ANSI on the alternate screen; the terminal is put back whatever ends it. A daemon
 * that goes away is asked again until it is back. Rates are those between two looks. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "ctl/commands.h"
#include "ctl/text.h"
#include "daemon/core/clock.h"
#include "daemon/core/str.h"

#define TIMEOUT_S 30
#define EVERY_MS 2000

static volatile sig_atomic_t ended;
static struct termios before;
static bool raw;

static void on_signal(int sig CD_UNUSED)
{
    ended = 1;
}

/* ---- the picture ---- */

static json_int_t number(const json_t *o, const char *name)
{
    return json_integer_value(json_object_get(o, name));
}

static void counted(struct buf *out, const char *name, json_int_t n, enum colour when_any)
{
    char text[64];
    snprintf(text, sizeof text, "%lld %s", (long long)n, name);
    text_put(out, n ? when_any : C_DIM, text);
    buf_append_str(out, "   ");
}

static void group(struct buf *out, const char *title, const json_t *counts)
{
    const char *name;
    json_t *v;
    if (json_object_size(counts) == 0)
        return;
    buf_printf(out, "%-12s", title);
    json_object_foreach((json_t *)counts, name, v)
        counted(out, name, json_integer_value(v), strcmp(name, "critical") == 0 ? C_RED : C_PLAIN);
    buf_append_char(out, '\n');
}

static int more_first(const void *a, const void *b)
{
    json_int_t x = json_integer_value(*(json_t *const *)a), y = json_integer_value(*(json_t *const *)b);
    return (x < y) - (x > y);
}

/* Those with the most first, as bars. */
static void teams(struct buf *out, const json_t *counts)
{
    json_t *order[200];
    const char *names[200], *name;
    size_t n = 0;
    json_t *v;
    json_object_foreach((json_t *)counts, name, v)
        if (n < ARRAY_LEN(order))
            order[n++] = v;
    qsort(order, n, sizeof *order, more_first);
    for (size_t i = 0; i < n; i++)
        json_object_foreach((json_t *)counts, name, v)
            if (v == order[i])
                names[i] = name;
    json_int_t most = n ? CD_MAX(json_integer_value(order[0]), (json_int_t)1) : 1;
    for (size_t i = 0; i < n; i++) {
        json_int_t has = json_integer_value(order[i]);
        buf_printf(out, "  %7lld  ", (long long)has);
        for (json_int_t k = 0; k < 20; k++)
            buf_append_str(out, k * most < has * 20 ? "#" : " ");
        buf_append_str(out, "  ");
        text_clean(names[i], 40, out);
        buf_append_char(out, '\n');
    }
}

struct rate {
    int64_t at_us;
    json_int_t rows, batches;
};

static void rates(struct buf *out, const json_t *process, const struct rate *last)
{
    double seconds = (double)(clock_mono_us() - last->at_us) / 1e6;
    json_int_t rows = number(process, "rows") - last->rows, batches = number(process, "batches") - last->batches;
    if (last->at_us == 0 || rows < 0 || batches < 0) /* the first look, or another daemon since */
        buf_append_str(out, "stored      (a rate needs a second look)\n");
    else
        buf_printf(out, "stored      %.1f a second, in %.1f commits\n", (double)rows / seconds, (double)batches / seconds);
}

static void picture_of(const json_t *s, const struct rate *last, struct buf *out)
{
    const json_t *open = json_object_get(s, "open"), *process = json_object_get(s, "process");
    const char *gate = json_string_value(json_object_get(process, "gate"));
    const char *version = json_string_value(json_object_get(process, "version"));
    char now[TIME_TEXT_SIZE], oldest[TIME_TEXT_SIZE];

    text_put(out, C_BOLD, "complaintd ");
    text_clean(version ? version : "", 0, out);
    buf_printf(out, "   %s   intake ", time_text(json_string_value(json_object_get(s, "now")), now));
    text_put(out, str_eq(gate, "normal") ? C_GREEN : C_RED, gate ? gate : "?");
    buf_append_str(out, "\n\nopen        ");
    counted(out, "open", number(open, "total"), C_BOLD);
    counted(out, "overdue", number(open, "overdue"), C_RED);
    counted(out, "unassigned", number(open, "unassigned"), C_YELLOW);
    counted(out, "unclassified", number(open, "unclassified"), C_YELLOW);
    counted(out, "degraded", number(open, "degraded"), C_YELLOW);
    buf_printf(out, "\noldest      %s\n", time_text(json_string_value(json_object_get(open, "oldest")), oldest));
    group(out, "priority", json_object_get(open, "by_priority"));
    group(out, "status", json_object_get(open, "by_status"));
    buf_append_str(out, "outbox      ");
    counted(out, "pending", number(json_object_get(s, "notifications"), "pending"), C_PLAIN);
    counted(out, "sending", number(json_object_get(s, "notifications"), "sending"), C_PLAIN);
    counted(out, "unknown", number(json_object_get(s, "notifications"), "unknown"), C_RED);
    buf_append_str(out, "\nto be read  ");
    counted(out, "pending", number(s, "pending_triage"), C_YELLOW);
    buf_append_char(out, '\n');
    rates(out, process, last);
    buf_printf(out, "sessions    %lld mail   %lld line   %lld envelopes in progress\n", (long long)number(process, "smtp_connections"),
               (long long)number(process, "line_connections"), (long long)number(process, "in_flight"));
    if (json_object_size(json_object_get(open, "by_team")) > 0)
        text_put(out, C_BOLD, "\nteams");
    buf_append_char(out, '\n');
    teams(out, json_object_get(open, "by_team"));
}

/* ---- the terminal ---- */

static void put_back(void)
{
    if (!raw)
        return;
    raw = false;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
    fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
}

static void take_terminal(void)
{
    struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &before) < 0)
        return;
    struct termios t = before;
    t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &t);
    raw = true;
    fputs("\033[?1049h\033[?25l", stdout);
}

/* As many lines as the terminal has; a longer one is left to the terminal's edge. */
static void draw(struct buf *picture)
{
    struct winsize w = {.ws_row = 24};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) < 0 || w.ws_row < 4)
        w.ws_row = 24;
    unsigned lines = 0;
    fputs("\033[H\033[?7l", stdout); /* no wrapping meanwhile */
    for (const char *p = buf_str(picture); *p && lines + 2 < w.ws_row; lines++) {
        size_t n = strcspn(p, "\n");
        printf("%.*s\033[K\n", (int)n, p);
        p += n + (p[n] == '\n');
    }
    fputs("\033[J\nq quits\033[?7h", stdout);
    fflush(stdout);
}

/* Waits for the next look; false: to end. */
static bool wait_for_key(void)
{
    struct pollfd p = {.fd = raw ? STDIN_FILENO : -1, .events = POLLIN};
    int64_t until = clock_mono_us() + CD_MSEC(EVERY_MS);
    for (;;) {
        int64_t left = (until - clock_mono_us()) / 1000;
        int r = left > 0 && !ended ? poll(&p, 1, (int)left) : 0;
        char key = 0;
        if (ended || (r > 0 && (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q')))
            return false;
        if (left <= 0 || (r < 0 && errno == EINTR)) /* also when the terminal's size changed */
            return true;
    }
}

/* ---- the command ---- */

static int look(struct client *c, const struct ctl_globals *g, const struct rate *last, struct buf *out, struct rate *ret)
{
    struct answer a;
    json_t *args = json_object();
    int r = client_call(c, "STATS", args, &a);
    json_decref(args);
    if (r == EXIT_DONE && !a.ok)
        r = ctl_refused(&a);
    if (r == EXIT_DONE && g->json)
        print_json(&a, out);
    else if (r == EXIT_DONE)
        picture_of(a.body, last, out);
    if (r == EXIT_DONE) {
        const json_t *process = json_object_get(a.body, "process");
        *ret = (struct rate){.at_us = clock_mono_us(), .rows = number(process, "rows"), .batches = number(process, "batches")};
    }
    answer_free(&a);
    return r;
}

int run_top(const struct ctl_globals *g, json_t *args)
{
    bool once = json_object_get(args, "once") != NULL, screen = !once && !g->json;
    struct client *c = NULL;
    struct rate last = {0};
    struct buf out;

    if (screen && !isatty(STDOUT_FILENO)) {
        fprintf(stderr, "complaintctl: top draws on a terminal: use --once or --json\n");
        return EXIT_USAGE;
    }
    int r = ctl_connect(g, TIMEOUT_S, &c);
    if (r != EXIT_DONE)
        return r;
    buf_init(&out, CD_MIB(4));
    if (!once)
        take_terminal();
    do {
        buf_reset(&out);
        r = c ? look(c, g, &last, &out, &last) : ctl_connect(g, TIMEOUT_S, &c);
        if (r != EXIT_DONE || !c)
            client_close(&c);
        else if (!screen)
            fputs(buf_str(&out), stdout);
        else if (out.len)
            draw(&out);
        fflush(stdout);
    } while (!once && r != EXIT_REFUSED && r != EXIT_USAGE && wait_for_key());
    put_back();
    client_close(&c);
    buf_free(&out);
    return once || r == EXIT_REFUSED || r == EXIT_USAGE ? r : EXIT_DONE;
}
