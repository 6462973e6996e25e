#pragma once
/* Counters and gauges, one table (metrics.def), and the conservation counters: accepted envelopes by channel and outcome. */
#include "daemon/core/buf.h"

enum metric {
#define METRIC(id, kind, name, labels, help) M_##id,
#include "daemon/core/metrics.def"
#undef METRIC
    METRIC_COUNT
};

void metrics_add(enum metric m, int64_t n);
void metrics_set(enum metric m, int64_t v);
int64_t metrics_get(enum metric m);
static inline void metrics_inc(enum metric m)
{
    metrics_add(m, 1);
}
/* One accepted envelope: `channel` and `outcome` are enum channel_id and enum outcome (daemon/intake/envelope.h), whose
 * names are given once by metrics_name_intake(). */
#define METRICS_CHANNELS 8
#define METRICS_OUTCOMES 16
void metrics_name_intake(const char *const *channels, size_t nchannels, const char *const *outcomes, size_t noutcomes);
void metrics_intake(unsigned channel, unsigned outcome);
/* One answer "accepted" on its way to the sender. Counted apart from the outcomes, so that the two can be compared. */
void metrics_accepted(unsigned channel);
/* Prometheus text format 0.0.4. */
void metrics_render(struct buf *out);
