/* The text of /metrics, parsed as strictly as the format allows: what a scraper would stumble over fails here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/core/clock.h"
#include "daemon/core/metrics.h"

/* ---- a strict reader of the exposition format ---- */

#define MAX_SERIES 2000
#define MAX_FAMILIES 300

static struct family {
    char name[128], type[16];
} families[MAX_FAMILIES];
static size_t nfamilies;

static struct series {
    char name[128], labels[256]; /* labels without le, "" when none */
    char le[32];
    char text[64];
    double value;
} series[MAX_SERIES];
static size_t nseries;

static bool name_fits(const char *s, size_t n)
{
    if (n == 0 || (s[0] >= '0' && s[0] <= '9'))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9') || s[i] == '_'))
            return false;
    return true;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* "# HELP name text" and at once "# TYPE name kind". */
static const char *read_head(const char *p)
{
    char help[128], name[128], type[16], text[512];
    int used = 0;
    if (sscanf(p, "# HELP %127s %511[^\n]\n# TYPE %127s %15s%n", help, text, name, type, &used) != 4 || p[used] != '\n')
        fail_msg("bad head: %.100s", p);
    assert_string_equal(help, name);
    assert_true(name_fits(name, strlen(name)));
    assert_true(strlen(text) > 5 && text[strlen(text) - 1] == '.');
    assert_true(strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0 || strcmp(type, "histogram") == 0);
    for (size_t i = 0; i < nfamilies; i++)
        if (strcmp(families[i].name, name) == 0)
            fail_msg("%s has two heads", name);
    assert_true(nfamilies < MAX_FAMILIES);
    struct family *f = &families[nfamilies++];
    memset(f, 0, sizeof *f);
    memcpy(f->name, name, sizeof f->name);
    memcpy(f->type, type, sizeof f->type);
    return p + used + 1;
}

/* name="value",… with every value quoted; moves `le` out of them. */
static const char *read_labels(const char *p, struct series *s)
{
    size_t n = 0;
    while (*p != '}') {
        size_t len = strcspn(p, "=");
        assert_true(name_fits(p, len) && p[len + 1] == '"');
        size_t value = strcspn(p + len + 2, "\"\\\n");
        assert_true(p[len + 2 + value] == '"'); /* nothing here needs an escape */
        size_t whole = len + value + 3;
        if (len == 2 && strncmp(p, "le", 2) == 0)
            snprintf(s->le, sizeof s->le, "%.*s", (int)value, p + 4);
        else
            n += (size_t)snprintf(s->labels + n, sizeof s->labels - n, "%.*s,", (int)whole, p);
        p += whole;
        assert_true(*p == ',' || *p == '}');
        p += *p == ',';
    }
    return p + 1;
}

static const char *read_series(const char *p)
{
    assert_true(nseries < MAX_SERIES && nfamilies > 0);
    struct series *s = &series[nseries++];
    const struct family *f = &families[nfamilies - 1];
    size_t n = strcspn(p, "{ \n");
    memset(s, 0, sizeof *s);
    assert_true(name_fits(p, n) && n < sizeof s->name);
    memcpy(s->name, p, n);
    p += n;
    if (*p == '{')
        p = read_labels(p + 1, s);
    int used = 0;
    if (sscanf(p, " %63[-+.0-9eINaf]%n", s->text, &used) != 1 || p[used] != '\n' || sscanf(s->text, "%lf", &s->value) != 1)
        fail_msg("bad value of %s: %.40s", s->name, p);
    size_t base = strlen(f->name);
    bool own = strcmp(s->name, f->name) == 0;
    if (strcmp(f->type, "histogram") == 0)
        own = strncmp(s->name, f->name, base) == 0 && (!strcmp(s->name + base, "_bucket") || !strcmp(s->name + base, "_sum") ||
                                                       !strcmp(s->name + base, "_count"));
    if (!own)
        fail_msg("%s stands under %s", s->name, f->name);
    for (size_t i = 0; i + 1 < nseries; i++)
        if (!strcmp(series[i].name, s->name) && !strcmp(series[i].labels, s->labels) && !strcmp(series[i].le, s->le))
            fail_msg("%s{%s} stands there twice", s->name, s->labels);
    return p + used + 1;
}

static void read_text(struct buf *text)
{
    nfamilies = nseries = 0;
    buf_init(text, CD_MIB(1));
    metrics_render(text);
    assert_false(text->failed);
    const char *p = buf_str(text);
    assert_true(text->len > 0 && p[text->len - 1] == '\n' && strlen(p) == text->len);
    while (*p)
        p = *p == '#' ? read_head(p) : read_series(p);
}

static const struct series *find(const char *name, const char *labels, const char *le)
{
    for (size_t i = 0; i < nseries; i++)
        if (!strcmp(series[i].name, name) && !strcmp(series[i].labels, labels) && !strcmp(series[i].le, le))
            return &series[i];
    fail_msg("no %s{%s}", name, labels);
    return NULL;
}

static double value(const char *name, const char *labels)
{
    return find(name, labels, "")->value;
}

/* ---- tests ---- */

static void name_everything(void)
{
    static const char *const channels[] = {"mail", "sms"}, *const outcomes[] = {"new", "duplicate"};
    metrics_name_intake(channels, 2, outcomes, 2);
    metrics_name_instance("main");
}

static void the_text_is_sound(void **state)
{
    struct buf text;
    (void)state;
    name_everything();
    read_text(&text);
    assert_true(nfamilies > 40);
    for (size_t i = 0; i < nfamilies; i++) {
        const char *n = families[i].name;
        assert_true(!strncmp(n, "complaintd_", 11) || !strncmp(n, "process_", 8));
        bool counter = strcmp(families[i].type, "counter") == 0;
        if (counter != ends_with(n, "_total"))
            fail_msg("%s: counters and only they end in _total", n);
        static const char *const other_units[] = {"_us", "_ms", "microseconds", "milliseconds", "_kb", "_mb", "kilobytes", "percent"};
        for (size_t k = 0; k < ARRAY_LEN(other_units); k++)
            if (ends_with(n, other_units[k]))
                fail_msg("%s is not in a base unit", n);
    }
    assert_true(value("complaintd_build_info", "version=\"" CD_VERSION "\",instance_name=\"main\",") == 1);
    buf_free(&text);
}

/* Of each histogram: buckets in order, cumulative, the last +Inf and equal to the count. */
static void histograms_add_up(void **state)
{
    struct buf text;
    (void)state;
    name_everything();
    static const int64_t waits[] = {0, 1, 1000, 1001, 4999, 250000, 3000000, 60000000, -5};
    for (size_t i = 0; i < ARRAY_LEN(waits); i++)
        metrics_observe(H_ACCEPT_MAIL, waits[i]);
    metrics_observe(H_STORE_BATCH, 1);
    metrics_observe(H_STORE_BATCH, 200);
    metrics_observe(H_STORE_BATCH, 5000);
    metrics_observe(H_NONE, 7);
    read_text(&text);
    size_t inf = 0, histograms = 0;
    for (size_t i = 0; i < nfamilies; i++)
        histograms += strcmp(families[i].type, "histogram") == 0;
    assert_int_equal(histograms, 6);
    double before = -1, below = 0;
    for (size_t i = 0; i < nseries; i++) {
        const struct series *s = &series[i];
        if (!ends_with(s->name, "_bucket"))
            continue;
        if (before < 0)
            below = 0;
        bool last = strcmp(s->le, "+Inf") == 0;
        double bound = 1e300;
        assert_true(last || (sscanf(s->le, "%lf", &bound) == 1 && bound > before));
        assert_true(s->value >= below);
        below = s->value;
        before = last ? -1 : bound;
        if (!last)
            continue;
        inf++;
        char name[128];
        snprintf(name, sizeof name, "%.*s_count", (int)(strlen(s->name) - 7), s->name);
        assert_true(value(name, s->labels) == s->value);
        snprintf(name, sizeof name, "%.*s_sum", (int)(strlen(s->name) - 7), s->name);
        assert_true(value(name, s->labels) >= 0);
    }
    assert_int_equal(inf, HISTOGRAM_COUNT - 1);
    const char *mail = "channel=\"mail\",";
    assert_true(find("complaintd_accept_seconds_bucket", mail, "0.001")->value == 4); /* 0, 1, 1000 and the clock gone back */
    assert_true(find("complaintd_accept_seconds_bucket", mail, "0.0025")->value == 5);
    assert_true(find("complaintd_accept_seconds_bucket", mail, "0.005")->value == 6);
    assert_true(find("complaintd_accept_seconds_bucket", mail, "30")->value == 8);
    assert_true(find("complaintd_accept_seconds_bucket", mail, "+Inf")->value == 9);
    assert_string_equal(find("complaintd_accept_seconds_sum", mail, "")->text, "63.257001");
    assert_true(find("complaintd_store_batch_size_bucket", "", "1")->value == 1);
    assert_true(find("complaintd_store_batch_size_bucket", "", "200")->value == 2);
    assert_string_equal(find("complaintd_store_batch_size_sum", "", "")->text, "5201");
    buf_free(&text);
}

static void values_and_conservation(void **state)
{
    struct buf text;
    (void)state;
    name_everything();
    metrics_set(M_OUTBOX_OLDEST_US, 1500001);
    metrics_add(M_STORE_ROWS, 3);
    for (int i = 0; i < 5; i++) {
        metrics_accepted(0);
        metrics_intake(0, i % 2);
    }
    metrics_accepted(1);
    metrics_intake(1, 1);
    read_text(&text);
    assert_string_equal(find("complaintd_outbox_oldest_seconds", "", "")->text, "1.500001");
    assert_true(value("complaintd_store_batch_rows_total", "") == 3);
    static const char *const labels[] = {"channel=\"mail\",", "channel=\"sms\","};
    for (size_t c = 0; c < 2; c++) {
        double sum = 0;
        for (size_t i = 0; i < nseries; i++)
            if (!strcmp(series[i].name, "complaintd_intake_total") && !strncmp(series[i].labels, labels[c], strlen(labels[c])))
                sum += series[i].value;
        assert_true(sum == value("complaintd_accepted_total", labels[c]) && sum == (c ? 1 : 5));
    }
    buf_free(&text);
}

static void the_process_shows_itself(void **state)
{
    struct buf text;
    (void)state;
    read_text(&text);
    double fds = value("process_open_fds", ""), now = (double)clock_real_us() / 1e6;
    assert_true(fds >= 3 && fds < 100 && value("process_max_fds", "") >= fds);
    assert_true(value("process_resident_memory_bytes", "") > 500000);
    double started = value("process_start_time_seconds", "");
    assert_true(started > now - 600 && started <= now + 1);
    assert_true(value("process_cpu_seconds_total", "") >= 0);
    buf_free(&text);
    FILE *f = fopen("/dev/null", "re");
    assert_non_null(f);
    read_text(&text);
    assert_true(value("process_open_fds", "") == fds + 1);
    assert_true(value("process_start_time_seconds", "") == started);
    fclose(f);
    buf_free(&text);
}

/* A path may hold whatever a file name may. */
static void certificates_have_rows(void **state)
{
    struct buf text;
    (void)state;
    buf_init(&text, CD_MIB(1));
    metrics_certificate(0, "/etc/a\"b\\c\nd.pem", 1795000000);
    metrics_certificate(1, "/etc/second.pem", 0);
    metrics_render(&text);
    assert_non_null(strstr(buf_str(&text), "\ncomplaintd_tls_cert_not_after_seconds{certificate=\"/etc/a\\\"b\\\\c\\nd.pem\"} 1795000000\n"));
    assert_non_null(strstr(buf_str(&text), "\ncomplaintd_tls_cert_not_after_seconds{certificate=\"/etc/second.pem\"} 0\n"));
    metrics_certificate(0, NULL, 0);
    metrics_certificate(1, NULL, 0);
    buf_reset(&text);
    metrics_render(&text);
    assert_null(strstr(buf_str(&text), "\ncomplaintd_tls_cert_not_after_seconds{"));
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_is_sound),
        cmocka_unit_test(histograms_add_up),
        cmocka_unit_test(values_and_conservation),
        cmocka_unit_test(the_process_shows_itself),
        cmocka_unit_test(certificates_have_rows),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
