/* The intake budget of the process: how many envelopes and bytes may be between a channel and their commit.
 * Open or closed for now. Nothing is allocated, nothing fails. */
#include "daemon/intake/gate.h"

#include "daemon/core/metrics.h"

static struct gate_limits limits = {.max_items = SIZE_MAX, .max_bytes = SIZE_MAX};
static size_t items_in, bytes_in;

static void publish(void)
{
    metrics_set(M_INTAKE_QUEUED, (int64_t)items_in);
    metrics_set(M_INTAKE_QUEUED_BYTES, (int64_t)bytes_in);
}

void gate_init(const struct gate_limits *l)
{
    limits = *l;
    items_in = bytes_in = 0;
    publish();
}

bool gate_open(size_t bytes)
{
    /* Written so that no sum can overflow. */
    return items_in < limits.max_items && bytes_in <= limits.max_bytes &&
           bytes <= limits.max_bytes - bytes_in;
}

void gate_enter(size_t bytes)
{
    items_in++;
    bytes_in += bytes;
    publish();
}

void gate_leave(size_t bytes)
{
    cd_assert(items_in > 0 && bytes_in >= bytes);
    items_in--;
    bytes_in -= bytes;
    publish();
}
