/* Counters live in static tables: adding is one addition, rendering walks the table. One process, one thread writes. */
#include "daemon/core/metrics.h"

#include <string.h>

enum kind { COUNTER, GAUGE };
static const struct row {
    enum kind kind;
    const char *name, *labels, *help;
} rows[] = {
#define METRIC(id, kind, name, labels, help) {kind, name, labels, help},
#include "daemon/core/metrics.def"
#undef METRIC
};
static int64_t values[METRIC_COUNT];
static int64_t intake[METRICS_CHANNELS][METRICS_OUTCOMES], accepted[METRICS_CHANNELS];
static const char *const *channel_names, *const *outcome_names;
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

void metrics_name_intake(const char *const *c, size_t nc, const char *const *o, size_t no)
{
    cd_assert(nc <= METRICS_CHANNELS && no <= METRICS_OUTCOMES);
    channel_names = c;
    channels = nc;
    outcome_names = o;
    outcomes = no;
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

static void render_intake(struct buf *out)
{
    buf_printf(out, "# HELP complaintd_intake_total Accepted envelopes by channel and outcome.\n"
                    "# TYPE complaintd_intake_total counter\n");
    for (size_t c = 0; c < channels; c++)
        for (size_t o = 0; o < outcomes; o++)
            buf_printf(out, "complaintd_intake_total{channel=\"%s\",outcome=\"%s\"} %lld\n", channel_names[c],
                       outcome_names[o], (long long)intake[c][o]);
    buf_printf(out, "# HELP complaintd_accepted_total Envelopes answered with \"accepted\".\n# TYPE complaintd_accepted_total counter\n");
    for (size_t c = 0; c < channels; c++)
        buf_printf(out, "complaintd_accepted_total{channel=\"%s\"} %lld\n", channel_names[c], (long long)accepted[c]);
}

void metrics_render(struct buf *out)
{
    const char *last = "";
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        const struct row *r = &rows[i];
        if (strcmp(last, r->name) != 0)
            buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", r->name, r->help, r->name, r->kind == COUNTER ? "counter" : "gauge");
        last = r->name;
        buf_printf(out, r->labels[0] ? "%s{%s} %lld\n" : "%s%s %lld\n", r->name, r->labels, (long long)values[i]);
    }
    render_intake(out);
    buf_printf(out, "# HELP complaintd_build_info The version.\n# TYPE complaintd_build_info gauge\ncomplaintd_build_info{version=\"%s\"} 1\n", CD_VERSION);
}
