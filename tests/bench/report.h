#pragma once
/* What became of each job, and the one line of JSON at the end. */
#include <stdio.h>

#include "daemon/core/base.h"

enum report_result { REPORT_ACCEPTED, REPORT_REFUSED, REPORT_ERROR };

struct report {
    uint64_t accepted, refused, errors, wanted;
    uint32_t *latency_us; /* of accepted ones; room for `wanted` */
    int64_t begin_us, last_us;
    double cpu_begin_s;
    char first_fault[200];
    FILE *log; /* NULL: none */
};

void report_begin(struct report *r, uint64_t wanted, const char *log_path);
void report_add(struct report *r, enum report_result result, int64_t since_us, const char *text);
uint64_t report_done(const struct report *r);
/* Prints the line; `more` is text that goes into the object, "" or ",\"a\":1". Frees what it holds. */
void report_end(struct report *r, const char *more);
/* CPU seconds of this process so far. */
double report_cpu_s(void);
