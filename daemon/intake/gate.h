#pragma once
/* The budget for everything between a channel and its commit. Over it, channels answer "try again" early. */
#include "daemon/intake/envelope.h"

struct gate_limits {
    size_t max_items, max_bytes;
};
void gate_init(const struct gate_limits *l);
/* true when one more envelope of about `bytes` may come in now. Who turns an envelope away for it counts that in M_INTAKE_BUSY. */
bool gate_open(size_t bytes);
void gate_enter(size_t bytes); /* counted until gate_leave */
void gate_leave(size_t bytes);
