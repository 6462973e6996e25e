/* Fuzz target: the dot stream of DATA. The first byte chooses what is refused and whether the limit is low, the second how the rest
 * is cut into pieces. The stream is read in one piece, cut in two at every byte (short ones), and cut as chosen; each time the same
 * must come out as by the reference below, which knows the whole stream and looks ahead where the real one has to withhold. */
#include "tests/fuzz/fuzz.h"

#include "channels/mail/smtp_parse.h"

#define LOW_LIMIT 40
#define HIGH_LIMIT CD_MIB(8)
#define CUT_EVERYWHERE 300 /* bytes; the work grows with the square */

struct outcome {
    struct smtp_dots d;
    struct buf out;
    bool end;
    size_t used;
};

/* RFC 5321 4.1.1.4, 4.5.2. */
static void reference(const uint8_t *p, size_t n, struct outcome *o)
{
    bool line_start = true;
    size_t i = 0;
    while (i < n) {
        if (line_start && p[i] == '.') {
            if (n - i >= 3 && p[i + 1] == '\r' && p[i + 2] == '\n') {
                o->end = true;
                o->used = i + 3;
                return;
            }
            i++; /* the sender doubled it */
            line_start = false;
            continue;
        }
        bool crlf = p[i] == '\r' && i + 1 < n && p[i + 1] == '\n';
        if (p[i] == '\r' && i + 1 == n)
            break; /* only the next byte will tell */
        if (p[i] == '\r' || p[i] == '\n') {
            o->d.bare_cr |= p[i] == '\r' && !crlf;
            o->d.bare_lf |= p[i] == '\n';
            buf_append(&o->out, "\r\n", 2);
        } else {
            o->d.nul |= p[i] == '\0';
            buf_append(&o->out, p + i, 1);
        }
        line_start = crlf;
        i += crlf ? 2 : 1;
    }
    o->used = n;
}

static void begin(struct outcome *o, size_t limit, unsigned refuse)
{
    memset(o, 0, sizeof *o);
    smtp_dots_init(&o->d, limit, refuse);
    buf_init(&o->out, HIGH_LIMIT * 2);
}

/* One piece; false once the end was found. */
static bool feed(struct outcome *o, const uint8_t *p, size_t n)
{
    size_t used = n + 1;
    o->end = smtp_dots_feed(&o->d, p, n, &o->out, &used);
    FUZZ_CHECK(used <= n && (o->end || used == n));
    o->used += used;
    return !o->end;
}

static void compare(struct outcome *o, const struct outcome *want, size_t limit)
{
    const struct smtp_dots *d = &o->d, *w = &want->d;
    FUZZ_CHECK(o->end == want->end && o->used == want->used);
    FUZZ_CHECK(d->bytes == want->out.len);
    FUZZ_CHECK(d->bare_lf == w->bare_lf && d->bare_cr == w->bare_cr && d->nul == w->nul);
    FUZZ_CHECK(d->over == (want->out.len > limit) && !d->no_memory);
    bool refused = ((d->refuse & DOTS_BARE_LF) && w->bare_lf) || ((d->refuse & DOTS_BARE_CR) && w->bare_cr) ||
                   ((d->refuse & DOTS_NUL) && w->nul);
    FUZZ_CHECK(smtp_dots_faulty(d) == (d->over || refused));
    FUZZ_CHECK(o->out.len <= limit && o->out.len <= want->out.len);
    FUZZ_CHECK(smtp_dots_faulty(d) || o->out.len == want->out.len);
    FUZZ_CHECK(!o->out.len || memcmp(o->out.data, want->out.data, o->out.len) == 0);
    buf_free(&o->out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz_in in = {data, n};
    struct outcome want, got;
    uint8_t mode = fuzz_u8(&in);
    struct fuzz_steps steps = {fuzz_u8(&in)};
    unsigned refuse = mode & (DOTS_BARE_LF | DOTS_BARE_CR | DOTS_NUL);
    size_t limit = mode & 8 ? LOW_LIMIT : HIGH_LIMIT;

    begin(&want, limit, refuse);
    reference(in.p, in.n, &want);

    begin(&got, limit, refuse);
    feed(&got, in.p, in.n);
    compare(&got, &want, limit);

    for (size_t cut = 0; cut <= in.n && in.n <= CUT_EVERYWHERE; cut++) {
        begin(&got, limit, refuse);
        if (feed(&got, in.p, cut))
            feed(&got, in.p + cut, in.n - cut);
        compare(&got, &want, limit);
    }

    begin(&got, limit, refuse);
    for (size_t at = 0, k; at < in.n; at += k) {
        k = fuzz_step(&steps, in.n - at);
        if (!feed(&got, in.p + at, k))
            break;
    }
    compare(&got, &want, limit);
    buf_free(&want.out);
    return 0;
}
