/* Values live in static tables: adding is one addition, observing a walk over a dozen bounds, rendering walks the tables. One process,
 * one thread writes. Whether the text is sound (one HELP and TYPE a name, buckets that only grow) is shown by a test that parses it. */
#include "daemon/core/metrics.h"

#include <stdio.h>
#include <string.h>

enum kind { COUNTER, GAUGE, COUNTER_US, GAUGE_US };
static const struct row {
    enum kind kind;
    const char *name, *labels, *help;
} rows[] = {
#define METRIC(id, kind, name, labels, help) {kind, name, labels, help},
#include "daemon/core/metrics.def"
};
static int64_t values[METRIC_COUNT];

#define MAX_BUCKETS 16
struct buckets {
    size_t n;
    int64_t bound[MAX_BUCKETS]; /* in the unit that is observed */
};
/* Answers are expected in milliseconds; a sender's patience ends after seconds. */
static const struct buckets seconds = {14, {1000, 2500, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000, 2000000, 5000000,
                                            10000000, 30000000}};
static const struct buckets lag = {10, {500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 200000, 1000000}};
static const struct buckets batch_rows = {10, {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}};

enum hkind { TIME, COUNT };
static const struct hrow {
    enum hkind kind;
    const char *name, *labels, *help;
    const struct buckets *buckets;
} hrows[HISTOGRAM_COUNT] = {
#define HISTOGRAM(id, kind, name, labels, buckets, help) [H_##id] = {kind, name, labels, help, &buckets},
#include "daemon/core/metrics.def"
};
static struct {
    uint64_t in[MAX_BUCKETS + 1]; /* each observation in one; the last: over every bound */
    uint64_t n;
    int64_t sum;
} observed[HISTOGRAM_COUNT];

static int64_t intake[METRICS_CHANNELS][METRICS_OUTCOMES], accepted[METRICS_CHANNELS];
static const char *const *channel_names, *const *outcome_names, *instance_name = "";
static size_t channels, outcomes;

void metrics_add(enum metric m, int64_t n)
{
    values[m] += n;
}

void metrics_set(enum metric m, int64_t v)
{
    values[m] = v;
}

int64_t metrics_get(enum metric m)
{
    return values[m];
}

void metrics_observe(enum histogram h, int64_t v)
{
    if (h == H_NONE)
        return;
    const struct buckets *b = hrows[h].buckets;
    size_t i = 0;
    v = CD_MAX(v, 0);
    while (i < b->n && v > b->bound[i])
        i++;
    observed[h].in[i]++;
    observed[h].n++;
    observed[h].sum += v;
}

uint64_t metrics_observed(enum histogram h)
{
    return observed[h].n;
}

void metrics_name_intake(const char *const *c, size_t nc, const char *const *o, size_t no)
{
    cd_assert(nc <= METRICS_CHANNELS && no <= METRICS_OUTCOMES);
    channel_names = c;
    channels = nc;
    outcome_names = o;
    outcomes = no;
}

static struct {
    const char *file;
    int64_t not_after_s;
} certificates[METRICS_CERTIFICATES];

void metrics_certificate(size_t i, const char *file, int64_t not_after_s)
{
    cd_assert(i < METRICS_CERTIFICATES);
    certificates[i].file = file;
    certificates[i].not_after_s = not_after_s;
}

static struct {
    char name[300];
    bool up;
    int64_t n[MR_COUNT];
} relays[METRICS_RELAYS];

void metrics_relay(size_t i, const char *name)
{
    cd_assert(i < METRICS_RELAYS);
    if (name && strcmp(relays[i].name, name) == 0)
        return;
    memset(&relays[i], 0, sizeof relays[i]);
    snprintf(relays[i].name, sizeof relays[i].name, "%s", name ? name : "");
    relays[i].up = true;
}

void metrics_relay_up(size_t i, bool up)
{
    cd_assert(i < METRICS_RELAYS);
    relays[i].up = up;
}

void metrics_relay_add(size_t i, enum metric_relay what)
{
    cd_assert(i < METRICS_RELAYS && what < MR_COUNT);
    relays[i].n[what]++;
}

void metrics_name_instance(const char *name)
{
    instance_name = name;
}

void metrics_intake(unsigned channel, unsigned outcome)
{
    cd_assert(channel < METRICS_CHANNELS && outcome < METRICS_OUTCOMES);
    intake[channel][outcome]++;
}

void metrics_accepted(unsigned channel)
{
    cd_assert(channel < METRICS_CHANNELS);
    accepted[channel]++;
}

/* ---- the text ---- */

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Microseconds as seconds, exactly. */
static void put_us(struct buf *out, int64_t us)
{
    const char *sign = us < 0 ? "-" : "";
    unsigned long long v = us < 0 ? -(unsigned long long)us : (unsigned long long)us;
    buf_printf(out, "%s%llu.%06llu", sign, v / 1000000, v % 1000000);
}

static void put_value(struct buf *out, bool us, int64_t v)
{
    if (us)
        put_us(out, v);
    else
        buf_printf(out, "%lld", (long long)v);
    buf_append_char(out, '\n');
}

static void render_rows(struct buf *out)
{
    const char *last = "";
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        const struct row *r = &rows[i];
        if (strcmp(last, r->name) != 0)
            head(out, r->name, r->kind == COUNTER || r->kind == COUNTER_US ? "counter" : "gauge", r->help);
        last = r->name;
        buf_printf(out, r->labels[0] ? "%s{%s} " : "%s%s ", r->name, r->labels);
        put_value(out, r->kind == COUNTER_US || r->kind == GAUGE_US, values[i]);
    }
}

static void render_histogram(struct buf *out, const struct hrow *r, size_t h)
{
    uint64_t below = 0;
    const char *comma = r->labels[0] ? "," : "";
    for (size_t i = 0; i < r->buckets->n; i++) {
        int64_t bound = r->buckets->bound[i];
        below += observed[h].in[i];
        buf_printf(out, "%s_bucket{%s%sle=\"", r->name, r->labels, comma);
        if (r->kind == TIME)
            buf_printf(out, "%.10g", (double)bound / 1e6);
        else
            buf_printf(out, "%lld", (long long)bound);
        buf_printf(out, "\"} %llu\n", (unsigned long long)below);
    }
    buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", r->name, r->labels, comma, (unsigned long long)observed[h].n);
    buf_printf(out, r->labels[0] ? "%s_sum{%s} " : "%s_sum%s ", r->name, r->labels);
    put_value(out, r->kind == TIME, observed[h].sum);
    buf_printf(out, r->labels[0] ? "%s_count{%s} " : "%s_count%s ", r->name, r->labels);
    put_value(out, false, (int64_t)observed[h].n);
}

static void render_histograms(struct buf *out)
{
    const char *last = "";
    for (size_t h = H_NONE + 1; h < HISTOGRAM_COUNT; h++) {
        if (strcmp(last, hrows[h].name) != 0)
            head(out, hrows[h].name, "histogram", hrows[h].help);
        last = hrows[h].name;
        render_histogram(out, &hrows[h], h);
    }
}

static void render_intake(struct buf *out)
{
    head(out, "complaintd_intake_total", "counter", "Accepted envelopes by channel and outcome.");
    for (size_t c = 0; c < channels; c++)
        for (size_t o = 0; o < outcomes; o++)
            buf_printf(out, "complaintd_intake_total{channel=\"%s\",outcome=\"%s\"} %lld\n", channel_names[c],
                       outcome_names[o], (long long)intake[c][o]);
    head(out, "complaintd_accepted_total", "counter", "Envelopes answered with \"accepted\".");
    for (size_t c = 0; c < channels; c++)
        buf_printf(out, "complaintd_accepted_total{channel=\"%s\"} %lld\n", channel_names[c], (long long)accepted[c]);
}

static void put_label(struct buf *out, const char *s)
{
    for (; *s; s++)
        buf_printf(out, *s == '\n' ? "\\n" : *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
}

static void render_certificates(struct buf *out)
{
    head(out, "complaintd_tls_cert_not_after_seconds", "gauge", "End of a certificate's time since the epoch; 0 while none could be read.");
    for (size_t i = 0; i < METRICS_CERTIFICATES; i++) {
        if (!certificates[i].file)
            continue;
        buf_append_str(out, "complaintd_tls_cert_not_after_seconds{certificate=\"");
        put_label(out, certificates[i].file);
        buf_printf(out, "\"} %lld\n", (long long)certificates[i].not_after_s);
    }
}

static void render_relay_rows(struct buf *out, const char *name, const char *kind, const char *help, int what)
{
    head(out, name, kind, help);
    for (size_t i = 0; i < METRICS_RELAYS; i++) {
        if (!relays[i].name[0])
            continue;
        buf_printf(out, "%s{relay=\"", name);
        put_label(out, relays[i].name);
        buf_printf(out, "\"} %lld\n", what < 0 ? (long long)relays[i].up : (long long)relays[i].n[what]);
    }
}

static void render_relays(struct buf *out)
{
    render_relay_rows(out, "complaintd_mail_relay_up", "gauge", "0 while a relay counts as down.", -1);
    render_relay_rows(out, "complaintd_mail_relay_sessions_total", "counter", "Sessions in which a relay was reached.", MR_SESSIONS);
    render_relay_rows(out, "complaintd_mail_relay_failures_total", "counter", "Sessions in which a relay could not be reached.", MR_FAILURES);
    render_relay_rows(out, "complaintd_mail_relay_mails_total", "counter", "Mails that a relay took.", MR_MAILS);
}

void metrics_render(struct buf *out)
{
    metrics_read_process();
    render_rows(out);
    render_certificates(out);
    render_relays(out);
    render_histograms(out);
    render_intake(out);
    head(out, "complaintd_build_info", "gauge", "Version and name of this instance.");
    buf_printf(out, "complaintd_build_info{version=\"%s\",instance_name=\"%s\"} 1\n", CD_VERSION, instance_name);
}
