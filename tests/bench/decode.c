/* complaint-decode: what a mail costs in the triage worker, from the frame that it gets to the frame that it answers (envelope, decoding, new
 * text apart from quoted, class, patterns of the shipped rules, record), beside GMime alone on the same mails: parser, all header values,
 * text of all text parts. Both take turns in one process, the order changes each round, figures are CPU time and medians. No process, no
 * socket, no sandbox. Prints a table and a line of JSON a kind; ends with 1 when a mail is not read as it should be. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <gmime/gmime.h>

#include "channels/mail/decode.h"
#include "daemon/intake/keys.h"
#include "daemon/triage/match.h"
#include "tests/bench/text.h"

#define MAILS 200 /* different ones of a kind */
#define MAX_ROUNDS 100

enum kind { PLAIN, MULTIPART, IMAGE, BINARY, REPLY, KINDS };
static const char *const kind_names[] = {"plain-1.5k", "multipart-1.5k", "image-30k", "binary-30k", "reply-1.5k"};

struct mail {
    struct buf frame, raw;
};

struct bench {
    struct text text;
    struct matcher *matcher;
    size_t match_bytes;
    struct buf answer;
    struct mail mails[MAILS];
    uint64_t checked; /* so that no compiler leaves work out, and as a proof that something was read */
};

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- the mails ---- */

static void add_head(const struct text_item *who, const char *type, struct buf *out)
{
    buf_printf(out,
               "From: %s <%s>\r\nTo: Example care <care@example.com>\r\nSubject: %s\r\nDate: Mon, 2 Nov 2026 09:15:00 +0000\r\n"
               "Message-ID: <%s>\r\nUser-Agent: complaint-decode\r\nMIME-Version: 1.0\r\nContent-Type: %s\r\n",
               who->name, who->sender, who->subject, who->key, type);
}

/* Plain text of about `size` bytes with CRLF, each line behind `prefix`. */
static void add_text(struct bench *b, uint64_t i, const struct text_item *who, size_t size, const char *prefix, struct buf *out)
{
    struct buf text;
    buf_init(&text, CD_MIB(1));
    text_plain(&b->text, i, who, size, &text);
    char *rest = NULL, *line = strtok_r((char *)text.data, "\n", &rest);
    for (; line; line = strtok_r(NULL, "\n", &rest))
        buf_printf(out, "%s%s\r\n", prefix, line);
    buf_free(&text);
}

/* A JPEG by its first bytes, or bytes of no known kind, for which all signatures are tried. */
static void add_bytes(uint64_t i, size_t size, bool jpeg, struct buf *out)
{
    static const uint8_t jfif[] = {0xff, 0xd8, 0xff, 0xe0, 0, 16, 'J', 'F', 'I', 'F', 0, 1, 1, 1, 0, 72, 0, 72, 0, 0, 0xff, 0xdb, 0, 67, 0};
    uint64_t state = i;
    uint8_t bytes[57];
    for (size_t done = 0; done < size; done += sizeof bytes) {
        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = (uint8_t)text_random(&state);
        if (jpeg && done == 0)
            memcpy(bytes, jfif, sizeof jfif);
        char *line = g_base64_encode(bytes, sizeof bytes);
        buf_printf(out, "%s\r\n", line);
        g_free(line);
    }
}

static void make_raw(struct bench *b, enum kind kind, uint64_t i, const struct text_item *who, struct buf *out)
{
    switch (kind) {
    case PLAIN:
        add_head(who, "text/plain; charset=utf-8", out);
        buf_append_str(out, "Content-Transfer-Encoding: 8bit\r\n\r\n");
        add_text(b, i, who, 1200, "", out);
        break;
    case REPLY:
        add_head(who, "text/plain; charset=utf-8", out);
        buf_append_str(out, "In-Reply-To: <earlier@example.com>\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
        add_text(b, i, who, 400, "", out);
        buf_append_str(out, "\r\nOn Sun, 1 Nov 2026 at 20:00, Example care <care@example.com> wrote:\r\n\r\n");
        add_text(b, i + 1, who, 600, "> ", out);
        break;
    case IMAGE:
    case BINARY:
        add_head(who, "multipart/mixed; boundary=\"=_mixed\"", out);
        buf_append_str(out, "\r\n--=_mixed\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n");
        add_text(b, i, who, 1000, "", out);
        buf_printf(out, "--=_mixed\r\nContent-Type: %s; name=\"kettle\"\r\nContent-Transfer-Encoding: base64\r\n"
                        "Content-Disposition: attachment; filename=\"kettle\"\r\n\r\n",
                   kind == IMAGE ? "image/jpeg" : "application/octet-stream");
        add_bytes(i, 20500, kind == IMAGE, out);
        buf_append_str(out, "--=_mixed--\r\n");
        break;
    default:
        text_mail(&b->text, i, who, out);
    }
}

static void make_mail(struct bench *b, enum kind kind, size_t k)
{
    struct mail *m = &b->mails[k];
    struct envelope *e = envelope_new(CH_MAIL, CD_MIB(16));
    struct text_item who;
    uint64_t i = (uint64_t)kind * 10000 + k;
    text_item(&b->text, "decode-", i, &who);
    e->id = uuid_new();
    e->received_at_us = 1793610900000000;
    e->client = cd_strdup("192.0.2.7");
    e->sender = cd_strdup(who.sender);
    strlist_add(&e->recipients, "care@example.com");
    strlist_add(&e->desks, "care");
    buf_printf(&e->raw, "Return-Path: <%s>\r\nReceived: from load.example ([192.0.2.7])\r\n\tby complaints.example.com with ESMTP;\r\n\t%s\r\n",
               who.sender, "Mon, 2 Nov 2026 09:15:01 +0000");
    make_raw(b, kind, i, &who, &e->raw);
    keys_of_mail(e->raw.data, e->raw.len, &e->key, e->digest);
    buf_init(&m->frame, CD_MIB(16));
    envelope_write(e, &m->frame);
    buf_init(&m->raw, CD_MIB(16));
    buf_append(&m->raw, e->raw.data, e->raw.len);
    envelope_free(&e);
}

static void free_mails(struct bench *b)
{
    for (size_t i = 0; i < MAILS; i++) {
        buf_free(&b->mails[i].frame);
        buf_free(&b->mails[i].raw);
    }
}

/* ---- the two sides ---- */

static void by_worker(struct bench *b, const struct mail *m)
{
    struct envelope *e = NULL;
    if (envelope_read(m->frame.data, m->frame.len, &e) < 0)
        return;
    struct record *r = record_new();
    if (mail_decode(e, r) == 0) {
        matcher_run(b->matcher, r, b->match_bytes);
        buf_reset(&b->answer);
        record_write(r, &b->answer);
        b->checked += b->answer.len;
    }
    record_free(&r);
    envelope_free(&e);
}

static void take_text(GMimeObject *parent CD_UNUSED, GMimeObject *part, gpointer arg)
{
    struct bench *b = arg;
    if (!GMIME_IS_TEXT_PART(part))
        return;
    char *text = g_mime_text_part_get_text(GMIME_TEXT_PART(part));
    b->checked += text ? strlen(text) : 0;
    g_free(text);
}

static void by_gmime(struct bench *b, const struct mail *m)
{
    GMimeStream *stream = g_mime_stream_mem_new_with_buffer((const char *)m->raw.data, m->raw.len);
    GMimeParser *parser = g_mime_parser_new_with_stream(stream);
    GMimeMessage *message = g_mime_parser_construct_message(parser, NULL);
    GMimeHeaderList *headers = g_mime_object_get_header_list(GMIME_OBJECT(message));
    for (int i = 0; i < g_mime_header_list_get_count(headers); i++)
        b->checked += strlen(g_mime_header_get_value(g_mime_header_list_get_header_at(headers, i)));
    g_mime_message_foreach(message, take_text, b);
    g_object_unref(message);
    g_object_unref(parser);
    g_object_unref(stream);
}

/* ---- rounds ---- */

static double time_side(struct bench *b, bool worker, unsigned count)
{
    double begin = cpu_s();
    for (unsigned i = 0; i < count; i++)
        (worker ? by_worker : by_gmime)(b, &b->mails[i % MAILS]);
    return (cpu_s() - begin) * 1e6 / count;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Every mail must be read as what it is, or the figures mean nothing. */
static bool reads_well(struct bench *b, enum kind kind)
{
    for (size_t i = 0; i < MAILS; i++) {
        struct envelope *e = NULL;
        struct record *r = record_new(), *back = NULL;
        bool good = envelope_read(b->mails[i].frame.data, b->mails[i].frame.len, &e) == 0 && mail_decode(e, r) == 0 &&
                    !(r->flags & REC_DEGRADED) && strlen(r->text) > 200 && (r->text_new != NULL) == (kind == REPLY) &&
                    r->nattachments == (kind == IMAGE || kind == BINARY ? 1u : 0u);
        buf_reset(&b->answer);
        if (good) {
            matcher_run(b->matcher, r, b->match_bytes);
            record_write(r, &b->answer);
            good = record_read(b->answer.data, b->answer.len, &back) == 0;
            record_free(&back);
        }
        record_free(&r);
        envelope_free(&e);
        if (!good)
            return false;
    }
    return true;
}

static void measure(struct bench *b, enum kind kind, unsigned count, unsigned rounds)
{
    double ours[MAX_ROUNDS], theirs[MAX_ROUNDS];
    size_t bytes = 0;
    time_side(b, true, MAILS);
    time_side(b, false, MAILS);
    for (unsigned i = 0; i < rounds; i++) {
        if (i % 2)
            theirs[i] = time_side(b, false, count);
        ours[i] = time_side(b, true, count);
        if (i % 2 == 0)
            theirs[i] = time_side(b, false, count);
    }
    for (size_t i = 0; i < MAILS; i++)
        bytes += b->mails[i].raw.len;
    qsort(ours, rounds, sizeof *ours, by_value);
    qsort(theirs, rounds, sizeof *theirs, by_value);
    double us = ours[rounds / 2], gmime = theirs[rounds / 2];
    printf("%-15s %6zu bytes   worker %7.1f us  %7.0f mails/s a core   GMime alone %7.1f us   ratio %.2f\n", kind_names[kind], bytes / MAILS,
           us, 1e6 / us, gmime, us / gmime);
    printf("{\"kind\":\"%s\",\"bytes\":%zu,\"worker_us\":%.2f,\"worker_us_min\":%.2f,\"worker_us_max\":%.2f,\"mails_per_core_second\":%.0f,"
           "\"gmime_us\":%.2f,\"gmime_us_min\":%.2f,\"gmime_us_max\":%.2f,\"ratio\":%.3f,\"rounds\":%u,\"mails_a_round\":%u}\n",
           kind_names[kind], bytes / MAILS, us, ours[0], ours[rounds - 1], 1e6 / us, gmime, theirs[0], theirs[rounds - 1], us / gmime, rounds,
           count);
}

static struct matcher *shipped_rules(const char *path, size_t *ret_match_bytes)
{
    struct faults faults = {.max = 5};
    struct matcher *m = NULL;
    struct buf patterns;
    buf_init(&patterns, CD_MIB(256));
    struct config *c = config_load(path, &faults);
    if (c && match_compile(&c->rules, &patterns, &faults) == 0 && matcher_new(patterns.data, patterns.len, &m) == 0)
        *ret_match_bytes = c->triage_match_bytes;
    if (!m)
        fprintf(stderr, "complaint-decode: no rules from %s: %s\n", path, faults.n ? faults.v[0].text : "they do not compile");
    config_free(&c);
    faults_free(&faults);
    buf_free(&patterns);
    return m;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'}, {"only", required_argument, NULL, 'o'},
                                            {"rounds", required_argument, NULL, 'r'}, {"count", required_argument, NULL, 'n'},
                                            {"worker-only", no_argument, NULL, 'w'},  {NULL, 0, NULL, 0}};
    static struct bench b = {.text = {.seed = 7, .size = 1500, .senders = TEXT_SENDERS}};
    const char *config = CD_SOURCE_DIR "/config/complaintd.yaml", *only = NULL;
    uint64_t rounds = 11, count = 2000;
    bool profile = false;
    int o, result = 0;
    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (o == 'c')
            config = optarg;
        else if (o == 'o')
            only = optarg;
        else if (o == 'w')
            profile = true;
        else if (o == '?' || str_parse_u64(optarg, o == 'r' ? MAX_ROUNDS : 10000000, o == 'r' ? &rounds : &count) < 0 || rounds == 0 || count == 0) {
            fprintf(stderr, "usage: complaint-decode [--config FILE] [--only KIND] [--rounds N] [--count MAILS] [--worker-only]\n"
                            "--worker-only: for a profiler, no figures\n");
            return 64;
        }
    }
    buf_init(&b.answer, CD_MIB(48));
    b.matcher = shipped_rules(config, &b.match_bytes);
    if (!b.matcher || mail_decode_prepare() < 0)
        return 1;
    for (int k = 0; k < KINDS; k++) {
        if (only && !str_eq(only, kind_names[k]))
            continue;
        for (size_t i = 0; i < MAILS; i++)
            make_mail(&b, (enum kind)k, i);
        if (!reads_well(&b, (enum kind)k)) {
            fprintf(stderr, "complaint-decode: %s: a mail was not read as it should be\n", kind_names[k]);
            result = 1;
        } else if (profile) {
            time_side(&b, true, (unsigned)count);
        } else {
            measure(&b, (enum kind)k, (unsigned)count, (unsigned)rounds);
        }
        free_mails(&b);
    }
    matcher_free(&b.matcher);
    buf_free(&b.answer);
    return result;
}
