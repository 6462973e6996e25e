#pragma once
/* Counters, gauges and histograms, one table (metrics.def), and the conservation counters: accepted envelopes by channel and outcome.
 * One process, one thread writes; nothing here fails or allocates but rendering into the caller's buffer. */
#include "daemon/core/buf.h"

enum metric {
#define METRIC(id, kind, name, labels, help) M_##id,
#include "daemon/core/metrics.def"
    METRIC_COUNT
};
enum histogram {
    H_NONE, /* observing it does nothing */
#define HISTOGRAM(id, kind, name, labels, buckets, help) H_##id,
#include "daemon/core/metrics.def"
    HISTOGRAM_COUNT
};

void metrics_add(enum metric m, int64_t n);
void metrics_set(enum metric m, int64_t v);
int64_t metrics_get(enum metric m);
static inline void metrics_inc(enum metric m)
{
    metrics_add(m, 1);
}
/* One observation, never negative: microseconds for a TIME, else a count. */
void metrics_observe(enum histogram h, int64_t v);
uint64_t metrics_observed(enum histogram h); /* how many */

/* One accepted envelope: `channel` and `outcome` are enum channel_id and enum outcome (daemon/intake/envelope.h), whose
 * names are given once by metrics_name_intake(). */
#define METRICS_CHANNELS 8
#define METRICS_OUTCOMES 16
void metrics_name_intake(const char *const *channels, size_t nchannels, const char *const *outcomes, size_t noutcomes);
void metrics_intake(unsigned channel, unsigned outcome);
/* One answer "accepted" on its way to the sender. Counted apart from the outcomes, so that the two can be compared. */
void metrics_accepted(unsigned channel);
/* complaintd_tls_cert_not_after_seconds of the i-th certificate: the end of its time, 0 while none could be read. `file` is borrowed;
 * NULL takes the row away. */
#define METRICS_CERTIFICATES 8
void metrics_certificate(size_t i, const char *file, int64_t not_after_s);
/* complaintd_mail_relay_*: the i-th relay, by its "host:port" (copied). NULL takes the rows away; another name begins at 0. */
#define METRICS_RELAYS 8
enum metric_relay { MR_SESSIONS, MR_FAILURES, MR_MAILS, MR_COUNT };
void metrics_relay(size_t i, const char *name);
void metrics_relay_up(size_t i, bool up);
void metrics_relay_add(size_t i, enum metric_relay what);
/* Label of complaintd_build_info: the instance's name in the configuration; borrowed. */
void metrics_name_instance(const char *name);
/* Brings the process_* gauges up to date; a figure that the system does not give keeps its value. */
void metrics_read_process(void);
/* Prometheus text format 0.0.4. */
void metrics_render(struct buf *out);
