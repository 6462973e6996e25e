/* The process_* gauges, read from the kernel when someone asks for the metrics. What cannot be read (a /proc that is hidden, no
 * descriptor left to open it with) keeps the value it had. Nothing allocates but opendir. */
#include "daemon/core/metrics.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "daemon/core/clock.h"

static size_t read_file(const char *path, char *text, size_t size)
{
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, size - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = '\0';
    return n;
}

static void read_resident(void)
{
    char text[256], *end;
    if (!read_file("/proc/self/statm", text, sizeof text))
        return;
    char *second = strchr(text, ' '); /* total, then resident, in pages */
    long long pages = second ? strtoll(second, &end, 10) : 0;
    if (pages > 0)
        metrics_set(M_PROCESS_RESIDENT, pages * sysconf(_SC_PAGESIZE));
}

/* Field 22 of /proc/self/stat, in clock ticks since boot; the name in field 2 may hold anything but ends with the last ')'. */
static void read_start(void)
{
    char text[1024], *p;
    struct timespec boot;
    if (metrics_get(M_PROCESS_START_US) || !read_file("/proc/self/stat", text, sizeof text) || !(p = strrchr(text, ')')) ||
        clock_gettime(CLOCK_BOOTTIME, &boot) < 0)
        return;
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    if (!p)
        return;
    int64_t started_us = strtoll(p, NULL, 10) * (CD_SEC(1) / sysconf(_SC_CLK_TCK));
    int64_t up_us = CD_SEC(boot.tv_sec) + boot.tv_nsec / 1000;
    metrics_set(M_PROCESS_START_US, clock_real_us() - up_us + started_us);
}

static void read_descriptors(void)
{
    struct rlimit limit;
    DIR *d = opendir("/proc/self/fd");
    if (d) {
        int64_t n = -1; /* its own */
        for (struct dirent *e; (e = readdir(d));)
            n += e->d_name[0] != '.';
        closedir(d);
        metrics_set(M_PROCESS_FDS, n);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        metrics_set(M_PROCESS_MAX_FDS, limit.rlim_cur == RLIM_INFINITY ? INT64_MAX : (int64_t)limit.rlim_cur);
}

static void read_cpu(void)
{
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) == 0)
        metrics_set(M_PROCESS_CPU_US, CD_SEC(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

void metrics_read_process(void)
{
    read_resident();
    read_start();
    read_descriptors();
    read_cpu();
}
