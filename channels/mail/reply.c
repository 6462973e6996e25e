/* reply_split(): deals out lines, from the first to the last. What may be new is gathered as a run; at a mark, and at the end, the
 * run is closed: signatures at its end go to the quoted text, the rest is new. Nothing fails but for want of memory, which ends the
 * process as everywhere. */
#include "channels/mail/reply.h"

#include <string.h>

#include "channels/mail/reply_impl.h"

#define SIGNATURE_LINES 25
#define SIGNATURE_BYTES 2000
#define BLANKS_TO_QUOTE 5 /* between an attribution and what it is of */

struct split {
    const char *text, *end;
    struct buf *new_text, *quoted;
    const char *run;       /* where the run begins; NULL: no run */
    const char *signature; /* "-- " in the run; NULL: none */
    unsigned signature_lines;
    struct reply_seen back[REPLY_BACK]; /* the last lines of the run, nearest first */
    size_t nback;
    bool visible;  /* the run, or what is new already, has a character */
    bool answer;   /* an attribution was seen: this answers a mail */
    bool forward;  /* a mail was forwarded */
    bool passed_on; /* without a word: what it forwards is new, and what that forwards */
    unsigned quote_lines; /* of the quote being read */
};

static bool is_blank(const char *p, const char *end)
{
    while (p < end && (unsigned char)*p <= ' ')
        p++;
    return p == end;
}

/* The line in front of `at`, which is the beginning of a line or the end. */
static const char *line_before(const char *begin, const char *at)
{
    for (at--; at > begin && at[-1] != '\n';)
        at--;
    return at;
}

static void quote(struct split *s, const char *from, const char *to)
{
    if (to == from)
        return;
    buf_append(s->quoted, from, (size_t)(to - from));
    if (to[-1] != '\n')
        buf_append_char(s->quoted, '\n');
}

/* Up to `to` the run is over: in front of its signatures it is new. */
static void close_run(struct split *s, const char *to)
{
    const char *keep = to, *from = s->run, *line;
    if (!from)
        return;
    if (s->signature && s->signature < to && s->signature_lines <= SIGNATURE_LINES && to - s->signature <= SIGNATURE_BYTES)
        keep = s->signature;
    for (; keep > from; keep = line) {
        line = line_before(from, keep);
        struct reply_line l = {line, (size_t)(keep - line) - (keep[-1] == '\n')};
        if (!is_blank(line, keep) && !reply_is_rule(l) && !reply_is_device_line(l))
            break;
    }
    if (from == s->text && keep == s->end) { /* all is new: nobody wants a copy */
        s->run = NULL;
        return;
    }
    if (s->new_text->len > 0 && !is_blank(from, keep))
        buf_append_char(s->new_text, '\n'); /* two pieces are two paragraphs */
    if (!is_blank(from, keep)) {
        buf_append(s->new_text, from, (size_t)(keep - from));
        if (keep[-1] != '\n')
            buf_append_char(s->new_text, '\n');
    }
    quote(s, keep, to);
    s->run = s->signature = NULL;
    s->nback = 0;
    s->visible = s->new_text->len > 0;
}

static bool above_quote(const struct split *s, const char *p)
{
    for (int i = 0; i <= BLANKS_TO_QUOTE && p < s->end; i++) {
        struct reply_line l = reply_line_at(p, s->end, &p);
        if (!is_blank(l.s, l.s + l.n))
            return reply_is_quote(l);
    }
    return false;
}

/* A mark of history from `from` to `to`: what follows is history too when somebody wrote something above. Returns where to go on. */
static const char *history(struct split *s, const char *from, const char *to, bool forward)
{
    close_run(s, from);
    s->passed_on |= forward && !s->visible;
    if (s->visible && !(forward && s->passed_on))
        to = s->end;
    quote(s, from, to);
    return to;
}

static void remember(struct split *s, struct reply_line l)
{
    memmove(s->back + 1, s->back, (REPLY_BACK - 1) * sizeof *s->back);
    s->back[0] = (struct reply_seen){.line = l};
    s->nback = CD_MIN(s->nback + 1, (size_t)REPLY_BACK);
}

/* A line within a quote: whether it says that somebody answered or forwarded, which counts when nothing else does. */
static void look_into_quote(struct split *s, struct reply_line l)
{
    bool strong, forward;
    if (s->quote_lines++ > 3)
        return;
    while (l.n > 0 && (*l.s == '>' || *l.s == ' '))
        l = (struct reply_line){l.s + 1, l.n - 1};
    if (l.n < 4)
        return;
    s->answer |= reply_attribution(&(struct reply_seen){.line = l}, 1, &strong) > 0;
    if (reply_is_separator(l, &forward))
        s->forward = true;
}

/* Cheap: whether a line may be one of the marks at all. Most are not. */
static bool may_be_mark(struct reply_line l)
{
    size_t n = l.n;
    while (n > 0 && (l.s[n - 1] == ' ' || l.s[n - 1] == '*' || l.s[n - 1] == '\t'))
        n--;
    if (n < 2 || l.n >= REPLY_FOLD_MAX)
        return false;
    unsigned char first = (unsigned char)l.s[strspn(l.s, " *") < n ? strspn(l.s, " *") : 0], last = (unsigned char)l.s[n - 1];
    return last == ':' || last == '-' || last == '_' || last == '=' || last == 0x9a || first == '-' || first == '_' || first == '=' ||
           (first >= '0' && first <= '9') || memchr(l.s, ':', CD_MIN(n, (size_t)48)) || memchr(l.s, 0xef, CD_MIN(n, (size_t)48)); /* ： */
}

/* One line that is not a quote, in the run. Returns where the next one begins. */
static const char *take_line(struct split *s, struct reply_line l, const char *next)
{
    const char *block_end;
    bool strong, forward;
    if (!s->run)
        s->run = l.s;
    remember(s, l);
    if (may_be_mark(l)) {
        size_t n = reply_attribution(s->back, s->nback, &strong);
        const char *from = n > 0 ? s->back[n - 1].line.s : NULL;
        if (n > 0 && above_quote(s, next)) {
            s->answer = true;
            close_run(s, from);
            quote(s, from, next);
            return next;
        }
        if (n > 0 && strong) {
            s->answer = true;
            return history(s, from, next, false);
        }
        if (reply_is_separator(l, &forward)) {
            s->forward |= forward;
            while (next < s->end && *next == '\n')
                next++;
            if (next < s->end && reply_header_block(next, s->end, true, &block_end))
                next = block_end;
            return history(s, l.s, next, forward);
        }
        if (reply_header_block(l.s, s->end, false, &block_end))
            return history(s, l.s, block_end, false);
    }
    s->signature_lines++;
    if (reply_is_signature_mark(l) && (!s->signature || s->signature_lines > SIGNATURE_LINES)) {
        s->signature = l.s;
        s->signature_lines = 0;
    }
    return next;
}

/* "> wrote:" is no quote but the end of an attribution whose address was wrapped. */
static bool ends_attribution(const struct split *s, struct reply_line l)
{
    struct reply_seen back[REPLY_BACK];
    bool strong;
    if (!s->run || s->nback == 0 || l.n > 80 || l.n < 2 || !memchr(l.s, ':', l.n))
        return false;
    back[0] = (struct reply_seen){.line = l};
    memcpy(back + 1, s->back, (REPLY_BACK - 1) * sizeof *back);
    return memchr(s->back[0].line.s, '@', s->back[0].line.n) && reply_attribution(back, CD_MIN(s->nback + 1, (size_t)REPLY_BACK), &strong) > 1;
}

static void trim(struct buf *b)
{
    size_t blank = 0;
    for (size_t i = 0; i < b->len && b->data[i] <= ' '; i++)
        if (b->data[i] == '\n')
            blank = i + 1;
    buf_consume(b, blank);
    while (b->len > 0 && b->data[b->len - 1] <= ' ')
        b->data[--b->len] = '\0';
}

static bool finish(struct split *s)
{
    trim(s->new_text);
    trim(s->quoted);
    /* a line below the text is no reason to keep two texts */
    bool rule = s->quoted->len > 0 && !memchr(s->quoted->data, '\n', s->quoted->len) &&
                reply_is_rule((struct reply_line){buf_str(s->quoted), s->quoted->len});
    bool separated = s->quoted->len > 0 && !rule && (s->new_text->len > 0 || (s->answer && !s->forward));
    if (!separated) {
        buf_reset(s->new_text);
        buf_reset(s->quoted);
    }
    return separated;
}

bool reply_split(const char *text, size_t n, struct buf *ret_new, struct buf *ret_quoted)
{
    struct split s = {.text = text, .end = text + n, .new_text = ret_new, .quoted = ret_quoted};
    const char *next;
    for (const char *p = text; p < s.end; p = next) {
        struct reply_line l = reply_line_at(p, s.end, &next);
        if (reply_is_quote(l) && !ends_attribution(&s, l)) {
            close_run(&s, p);
            look_into_quote(&s, l);
            quote(&s, p, next);
        } else if (!s.run && is_blank(p, next)) { /* between quotes, or before everything */
            quote(&s, p, next);
        } else {
            s.quote_lines = 0;
            next = take_line(&s, l, next);
        }
    }
    close_run(&s, s.end);
    return finish(&s);
}
