/* The intake budget of the process: how many envelopes and bytes may be between a channel and their commit, and the mode that follows
 * from it. Each change of the counts decides the mode anew: two comparisons of shares. A change of mode is one log line and a
 * counter. Nothing is allocated, nothing fails. */
#include "daemon/intake/gate.h"

#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

static struct gate_limits limits = {.max_items = SIZE_MAX, .max_bytes = SIZE_MAX, .large_bytes = SIZE_MAX};
static size_t items_in, bytes_in, bytes_read;
static enum gate_mode mode;

const char *gate_mode_name(enum gate_mode m)
{
    static const char *const names[GATE_MODE_COUNT] = {"normal", "tight", "shed"};
    return (unsigned)m < GATE_MODE_COUNT ? names[m] : "unknown";
}

/* In percent, rounded down, 100 at the most; no product can overflow. */
static unsigned share(size_t part, size_t whole)
{
    if (part >= whole)
        return 100;
    return (unsigned)(whole > SIZE_MAX / 100 ? part / (whole / 100) : part * 100 / whole);
}

static size_t bytes_held(void)
{
    return bytes_in > SIZE_MAX - bytes_read ? SIZE_MAX : bytes_in + bytes_read;
}

static unsigned fullest(void)
{
    unsigned items = share(items_in, limits.max_items), bytes = share(bytes_held(), limits.max_bytes);
    return CD_MAX(items, bytes);
}

static enum gate_mode mode_at(unsigned percent)
{
    if (!limits.tight_on)
        return GATE_NORMAL;
    if (percent >= limits.shed_on || (mode == GATE_SHED && percent >= limits.shed_off))
        return GATE_SHED;
    if (percent >= limits.tight_on || (mode != GATE_NORMAL && percent >= limits.tight_off))
        return GATE_TIGHT;
    return GATE_NORMAL;
}

static void announce(enum gate_mode to, unsigned percent)
{
    static const enum metric counters[GATE_MODE_COUNT] = {M_GATE_TO_NORMAL, M_GATE_TO_TIGHT, M_GATE_TO_SHED};
    metrics_inc(counters[to]);
    log_event(to == GATE_NORMAL ? LOG_L_NOTICE : LOG_L_WARN, EV_INTAKE_GATE, "mode=%s was=%s percent=%u items=%zu bytes=%zu",
              gate_mode_name(to), gate_mode_name(mode), percent, items_in, bytes_held());
}

static void changed(void)
{
    unsigned percent = fullest();
    enum gate_mode to = mode_at(percent);
    metrics_set(M_INTAKE_QUEUED, (int64_t)items_in);
    metrics_set(M_INTAKE_QUEUED_BYTES, (int64_t)bytes_in);
    metrics_set(M_INTAKE_READING_BYTES, (int64_t)bytes_read);
    if (to == mode)
        return;
    announce(to, percent);
    mode = to;
    metrics_set(M_GATE_MODE, mode);
}

void gate_init(const struct gate_limits *l)
{
    items_in = bytes_in = bytes_read = 0;
    mode = GATE_NORMAL;
    metrics_set(M_GATE_MODE, mode);
    gate_set_limits(l);
}

void gate_set_limits(const struct gate_limits *l)
{
    limits = *l;
    metrics_set(M_INTAKE_MAX_ITEMS, (int64_t)CD_MIN(l->max_items, (size_t)INT64_MAX));
    metrics_set(M_INTAKE_MAX_BYTES, (int64_t)CD_MIN(l->max_bytes, (size_t)INT64_MAX));
    changed();
}

enum gate_mode gate_mode(void)
{
    return mode;
}

bool gate_large(size_t bytes)
{
    return bytes >= limits.large_bytes;
}

bool gate_admits(size_t bytes)
{
    if (mode == GATE_SHED || (mode == GATE_TIGHT && gate_large(bytes)))
        return false;
    /* Written so that no sum can overflow. */
    return items_in < limits.max_items && bytes_held() <= limits.max_bytes && bytes <= limits.max_bytes - bytes_held();
}

bool gate_fits(size_t bytes)
{
    return items_in < limits.max_items && bytes_in <= limits.max_bytes && bytes <= limits.max_bytes - bytes_in;
}

bool gate_within(void)
{
    return bytes_held() <= limits.max_bytes;
}

void gate_enter(size_t bytes)
{
    items_in++;
    bytes_in += bytes;
    changed();
}

void gate_leave(size_t bytes)
{
    cd_assert(items_in > 0 && bytes_in >= bytes);
    items_in--;
    bytes_in -= bytes;
    changed();
}

void gate_read(size_t bytes)
{
    bytes_read += bytes;
    changed();
}

void gate_hand_over(size_t bytes)
{
    cd_assert(bytes_read >= bytes);
    bytes_read -= bytes;
    metrics_set(M_INTAKE_READING_BYTES, (int64_t)bytes_read);
}

void gate_unread(size_t bytes)
{
    gate_hand_over(bytes);
    changed();
}
