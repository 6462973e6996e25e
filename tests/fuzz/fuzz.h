#pragma once
/* What the fuzz targets share. A target is one file fuzz_NAME.c with the two functions below; it is linked with libFuzzer (preset
 * `fuzz`) or with replay.c (all others). A target never trusts that its input is long enough, keeps nothing between two inputs but
 * what is dear to make, and gives all memory back. */
#include "daemon/core/buf.h"
#include "daemon/core/str.h"

#include <stdio.h>
#include <string.h>

/* Once, before the first input. Not every target needs it: replay.c has a weak one. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n); /* 0 */

/* Said by a target whose input was good as a whole: replay.c wants it of seeds named good-*, so that a change of a format does not
 * leave seeds behind that end at their first byte. */
extern bool fuzz_good;

/* What must hold. Stays in optimized builds; abort() is what libFuzzer reports with its input. */
#define FUZZ_CHECK(x) ((x) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #x))
CD_UNUSED CD_NORETURN static inline void fuzz_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "\n%s:%d: this does not hold: %s\n", file, line, what);
    abort();
}

/* ---- input, from the front; when there is no more: zeros ---- */

struct fuzz_in {
    const uint8_t *p;
    size_t n;
};
CD_UNUSED static inline uint8_t fuzz_u8(struct fuzz_in *in)
{
    if (!in->n)
        return 0;
    in->n--;
    return *in->p++;
}

/* Small steps that a byte of the input chooses: 0 is "all at once", others a sequence of sizes from 1 on. */
struct fuzz_steps {
    uint32_t state;
};
CD_UNUSED static inline size_t fuzz_step(struct fuzz_steps *s, size_t left)
{
    if (!s->state || left < 2)
        return left;
    s->state = s->state * 1664525u + 1013904223u;
    uint32_t r = s->state >> 16;
    size_t max = r & 1 ? 3 : (r & 2 ? 40 : 1000);
    return CD_MIN(left, 1 + (r >> 2) % max);
}

/* ---- texts ---- */

CD_UNUSED static inline bool fuzz_has_control(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return true;
    return false;
}

/* A NULL is no text and right. */
CD_UNUSED static inline void fuzz_check_text(const char *s)
{
    FUZZ_CHECK(!s || utf8_valid(s, strlen(s)));
}
