/* Fuzz target: the line protocol's grammar, and SUBMIT's object to a record. The first byte chooses the limit of a line, the second
 * how the rest is cut into pieces: cut or whole, the same lines come out, and those a reference finds. */
#include "tests/fuzz/record_check.h"

#include "channels/line/line_proto.h"
#include "channels/line/line_verbs.h"
#include "daemon/intake/handle.h"

#define SHORT_LINE 60
#define LONG_LINE 4000
#define JUDGED_JSON 250 /* bytes below which no field is too long for the front */

/* ---- lines ---- */

/* Each line as "R" and its text, each line over the limit as "T", NUL-terminated. */
static void note(struct buf *b, enum line_split r, const char *p, size_t n)
{
    buf_append_char(b, r == LINE_READY ? 'R' : 'T');
    if (r == LINE_READY)
        buf_append(b, p, n);
    buf_append_char(b, '\0');
}

static void split_all(const uint8_t *p, size_t n, size_t max, struct fuzz_steps steps, struct buf *out)
{
    struct line_splitter s;
    line_splitter_init(&s, max);
    for (size_t at = 0; at < n;) {
        size_t step = fuzz_step(&steps, n - at), used = 0;
        /* in a block of its own: a line must not be read behind its end */
        char *piece = malloc(step);
        memcpy(piece, p + at, step);
        for (size_t done = 0; done < step; done += used) {
            const char *line = NULL;
            size_t len = 0;
            used = step + 1;
            enum line_split r = line_split(&s, piece + done, step - done, &used, &line, &len);
            FUZZ_CHECK(used > 0 && used <= step - done);
            FUZZ_CHECK(r != LINE_NEED_MORE || done + used == step);
            if (r != LINE_NEED_MORE)
                note(out, r, line, len);
        }
        at += step;
        free(piece);
    }
    line_splitter_free(&s);
}

/* An unfinished line over the limit is told of at once, hence the last part. */
static void reference(const uint8_t *p, size_t n, size_t max, struct buf *out)
{
    for (size_t at = 0; at < n;) {
        const uint8_t *lf = memchr(p + at, '\n', n - at);
        size_t len = lf ? (size_t)(lf - p) - at : n - at, text = len;
        if (text && p[at + text - 1] == '\r')
            text--;
        if (text > max)
            note(out, LINE_TOO_LONG, NULL, 0);
        else if (lf)
            note(out, LINE_READY, (const char *)p + at, text);
        at += len + 1;
    }
}

/* ---- a line ---- */

static bool is_language(const char *s)
{
    return !fuzz_has_control(s) && !strchr(s, ' ');
}

static void check_decode(const struct line_request *rq)
{
    struct envelope *e = envelope_new(CH_LINE, rq->njson + 1);
    struct record *r = record_new();
    buf_append(&e->raw, rq->json, rq->njson);
    if (line_decode(e, r) == 0) {
        fuzz_good = true;
        FUZZ_CHECK(r->text && r->subject && r->language);
        if (rq->njson <= JUDGED_JSON && is_language(r->language))
            check_record(r, e);
    }
    record_free(&r);
    envelope_free(&e);
}

static void check_answers(const struct line_request *rq)
{
    struct buf b;
    buf_init(&b, CD_MIB(1));
    line_put_ok(&b, rq->args);
    line_put_row(&b, rq->args);
    FUZZ_CHECK(!b.failed && str_starts(buf_str(&b), "OK {") && utf8_valid(buf_str(&b), b.len));
    size_t lines = 0;
    for (size_t i = 0; i < b.len; i++) {
        FUZZ_CHECK(b.data[i] >= ' ' || b.data[i] == '\n');
        lines += b.data[i] == '\n';
    }
    FUZZ_CHECK(lines == 2 && b.data[b.len - 1] == '\n');
    buf_free(&b);
}

static void check_line(const char *p, size_t n)
{
    struct line_request rq;
    struct line_error err = {0};
    if (line_parse(p, n, &rq, &err) < 0) {
        FUZZ_CHECK(err.code && err.message[0] && !rq.args);
        fuzz_check_text(err.message);
        json_t *body = line_error_body(err.code, err.message, NULL, false);
        FUZZ_CHECK(json_is_string(json_object_get(body, "message")));
        json_decref(body);
        return;
    }
    size_t nverb = strlen(rq.verb);
    FUZZ_CHECK(nverb > 0 && nverb <= LINE_VERB_MAX && strspn(rq.verb, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == nverb);
    FUZZ_CHECK(json_is_object(rq.args) && rq.njson >= 2);
    FUZZ_CHECK(rq.json[0] == '{' || strchr(" \t\r\n", rq.json[0]));
    check_answers(&rq);
    check_decode(&rq);
    line_request_done(&rq);
}

int LLVMFuzzerInitialize(int *argc CD_UNUSED, char ***argv CD_UNUSED)
{
    json_object_seed(1); /* the library takes the first seed only: the same tables in each run */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz_in in = {data, n};
    struct buf want, got;
    size_t max = fuzz_u8(&in) & 1 ? SHORT_LINE : LONG_LINE;
    struct fuzz_steps steps = {fuzz_u8(&in)}, whole = {0};
    buf_init(&want, n * 2 + 16);
    buf_init(&got, n * 2 + 16);
    reference(in.p, in.n, max, &want);
    split_all(in.p, in.n, max, whole, &got);
    FUZZ_CHECK(want.len == got.len && (!got.len || memcmp(want.data, got.data, got.len) == 0));
    buf_reset(&got);
    split_all(in.p, in.n, max, steps, &got);
    FUZZ_CHECK(want.len == got.len && (!got.len || memcmp(want.data, got.data, got.len) == 0));
    for (size_t at = 0; at < in.n;) {
        const uint8_t *lf = memchr(in.p + at, '\n', in.n - at);
        size_t len = lf ? (size_t)(lf - in.p) - at : in.n - at;
        check_line((const char *)in.p + at, len);
        at += len + 1;
    }
    buf_free(&want);
    buf_free(&got);
    return 0;
}
