#pragma once
/* Two clocks. Real and monotonic time come from the kernel and serve leases, rate limits, keys and ids.
 * Service time is the database's complaintd.now(): it serves due times, retries and receipts, and can be moved in
 * a sandbox. The front keeps an offset between the two, set by daemon/store from each answer of the database. */
#include "daemon/core/base.h"

int64_t clock_real_us(void);  /* microseconds since 1970, UTC */
int64_t clock_mono_us(void);
int64_t clock_service_us(void); /* clock_real_us() plus the offset */
void clock_set_service_offset_us(int64_t offset_us);

#define CLOCK_TEXT_SIZE 40
/* RFC 3339 UTC with microseconds ("2026-11-22T10:00:00.000000Z"), which PostgreSQL reads as timestamptz. */
void clock_format(int64_t us, char out[CLOCK_TEXT_SIZE]);
/* The same without a fraction. */
void clock_format_s(int64_t us, char out[CLOCK_TEXT_SIZE]);
/* RFC 5322 date-time in UTC. */
void clock_format_mail(int64_t us, char out[CLOCK_TEXT_SIZE]);
/* Reads RFC 3339, also the form that PostgreSQL prints with a zone; 0 or CD_EINVAL. */
int clock_parse(const char *s, int64_t *ret_us) CD_MUSTUSE;
