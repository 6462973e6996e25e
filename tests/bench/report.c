/* Counting and latencies. A latency takes four bytes, so that millions fit; percentiles are taken from the
 * sorted list. */
#include "tests/bench/report.h"

#include <string.h>
#include <sys/resource.h>

#include "daemon/core/clock.h"

double report_cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
           ((double)u.ru_utime.tv_usec + (double)u.ru_stime.tv_usec) / 1e6;
}

void report_begin(struct report *r, uint64_t wanted, const char *log_path)
{
    memset(r, 0, sizeof *r);
    r->wanted = wanted;
    r->latency_us = cd_alloc((wanted + 1) * sizeof *r->latency_us);
    if (log_path && !(r->log = fopen(log_path, "w"))) {
        perror(log_path);
        exit(2);
    }
    r->cpu_begin_s = report_cpu_s();
    r->begin_us = r->last_us = clock_mono_us();
}

uint64_t report_done(const struct report *r)
{
    return r->accepted + r->refused + r->errors;
}

void report_add(struct report *r, enum report_result result, int64_t since_us, const char *text)
{
    int64_t now = clock_mono_us();
    if (result == REPORT_ACCEPTED) {
        r->latency_us[r->accepted++] = (uint32_t)CD_MIN(now - since_us, INT64_C(0xffffffff));
        r->last_us = now;
        return;
    }
    *(result == REPORT_REFUSED ? &r->refused : &r->errors) += 1;
    if (!r->first_fault[0] && text)
        snprintf(r->first_fault, sizeof r->first_fault, "%s", text);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile_ms(const struct report *r, double p)
{
    if (!r->accepted)
        return 0;
    uint64_t at = (uint64_t)(p * (double)r->accepted);
    return r->latency_us[CD_MIN(at, r->accepted - 1)] / 1000.0;
}

void report_end(struct report *r, const char *more)
{
    double seconds = (double)(r->last_us - r->begin_us) / 1e6;
    double cpu = report_cpu_s() - r->cpu_begin_s;
    qsort(r->latency_us, r->accepted, sizeof *r->latency_us, by_value);
    printf("{\"accepted\":%llu,\"refused\":%llu,\"errors\":%llu,\"seconds\":%.4f,\"rate\":%.1f,\"p50_ms\":%."
           "3f,\"p99_ms\":%.3f,"
           "\"p999_ms\":%.3f,\"max_ms\":%.3f,\"cpu_seconds\":%.3f%s",
           (unsigned long long)r->accepted, (unsigned long long)r->refused, (unsigned long long)r->errors,
           seconds, seconds > 0 ? (double)r->accepted / seconds : 0, percentile_ms(r, 0.5),
           percentile_ms(r, 0.99), percentile_ms(r, 0.999), percentile_ms(r, 1), cpu, more);
    if (r->first_fault[0]) {
        printf(",\"first_fault\":\"");
        for (const char *c = r->first_fault; *c; c++)
            putchar(*c == '"' || *c == '\\' || (unsigned char)*c < 32 || (unsigned char)*c > 126 ? '\'' : *c);
        printf("\"");
    }
    printf("}\n");
    if (r->log && fclose(r->log) != 0)
        perror("log");
    free(r->latency_us);
    r->latency_us = NULL;
}
