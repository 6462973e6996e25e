#pragma once
/* The hash of a complaint's first event, as complaintd.event_hash computes it for the later ones (schema/0005_events.sql). */
#include "daemon/core/crypto.h"
#include "daemon/core/uuid.h"

void event_hash_first(const struct uuid *id, int64_t at_us, const char *actor, const char *kind, const char *data, uint8_t out[SHA256_SIZE]);
