#pragma once
/* Attributes, small macros and assertions that every file may use.
 * Nothing here allocates or logs. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define CD_MUSTUSE __attribute__((warn_unused_result))
#define CD_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define CD_NORETURN __attribute__((noreturn))
#define CD_UNUSED __attribute__((unused))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CD_MIN(a, b) ((a) < (b) ? (a) : (b))
#define CD_MAX(a, b) ((a) > (b) ? (a) : (b))

/* Times are int64_t microseconds everywhere; names end in _us. */
#define CD_MSEC(n) ((int64_t)(n)*1000)
#define CD_SEC(n) ((int64_t)(n)*1000000)
#define CD_MIN_US(n) (CD_SEC(60) * (n))
#define CD_HOUR(n) (CD_SEC(3600) * (n))

#define CD_KIB(n) ((size_t)(n) << 10)
#define CD_MIB(n) ((size_t)(n) << 20)

/* A broken invariant is a bug of ours: report it and abort with a core. */
CD_NORETURN void cd_panic(const char *file, int line, const char *what);
#define cd_assert(x) ((x) ? (void)0 : cd_panic(__FILE__, __LINE__, #x))

/* Allocation that ends the process (exit 75, restarted by the service manager) when memory is gone.
 * Use for small, bounded things; sizes that a peer controls go through struct buf, which has a cap. */
CD_MUSTUSE void *cd_alloc(size_t size);              /* zeroed */
CD_MUSTUSE void *cd_realloc(void *p, size_t size);
CD_MUSTUSE char *cd_strdup(const char *s);           /* NULL stays NULL */
CD_MUSTUSE char *cd_strndup(const char *s, size_t n);
CD_MUSTUSE char *cd_asprintf(const char *fmt, ...) CD_PRINTF(1, 2);

static inline void cd_freep(void *p)
{
    free(*(void **)p);
}
#define CD_CLEANUP_FREE __attribute__((cleanup(cd_freep)))
