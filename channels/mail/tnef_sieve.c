/* A TNEF stream is walked with every length checked, and written anew with the few attributes and properties that
 * tnef.c reads. What libytnef does with the rest (it allocates by counts from the stream, frees by them after a
 * fault, forgets what comes twice) is of no concern then. Pure; fails on nothing but a missing signature. */
#include "channels/mail/tnef.h"

#include <stdio.h>
#include <string.h>
#include <ytnef.h>

#define SIGNATURE 0x223e9f78u
#define HEADER 9 /* level, type, size */
#define MAX_VALUES CD_KIB(16) /* of one multi-valued property, in a walk over it */

struct walk {
    const uint8_t *p, *end;
    bool bad;
};

static uint32_t get32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put32(struct buf *b, uint32_t v)
{
    const uint8_t p[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    buf_append(b, p, sizeof p);
}

static const uint8_t *take(struct walk *w, size_t n)
{
    const uint8_t *p = w->p;
    if (w->bad || n > (size_t)(w->end - p)) {
        w->bad = true;
        return NULL;
    }
    w->p += n;
    return p;
}

static uint32_t take32(struct walk *w)
{
    const uint8_t *p = take(w, 4);
    return p ? get32(p) : 0;
}

/* Values are padded to four bytes; the last one's padding is missing in some streams. */
static void skip_padding(struct walk *w, size_t n)
{
    size_t pad = (4 - n % 4) % 4;
    if (!w->bad)
        w->p += CD_MIN(pad, (size_t)(w->end - w->p));
}

static void put_attribute(struct buf *out, uint8_t level, uint32_t type, const void *data, size_t n)
{
    const uint8_t *p = data;
    uint16_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = (uint16_t)(sum + p[i]);
    const uint8_t check[2] = {(uint8_t)sum, (uint8_t)(sum >> 8)};
    buf_append(out, &level, 1);
    put32(out, type);
    put32(out, (uint32_t)n);
    buf_append(out, data, n);
    buf_append(out, check, sizeof check);
}

/* ---- properties ---- */

static bool is_wanted(unsigned id)
{
    static const unsigned ids[] = {PR_BODY,          PR_BODY_HTML,           PR_RTF_COMPRESSED,  PR_INTERNET_CPID,    PR_ATTACH_DATA_OBJ,
                                   PR_ATTACH_FILENAME, PR_ATTACH_LONG_FILENAME, PR_ATTACH_MIME_TAG, PR_ATTACH_CONTENT_ID};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* The bytes of a value of fixed size; 0: it says its own; -1: unknown. */
static int fixed_size(unsigned type)
{
    switch (type) {
    case PT_I2:
    case PT_LONG:
    case PT_R4:
    case PT_BOOLEAN:
    case PT_ERROR:
        return 4;
    case PT_DOUBLE:
    case PT_CURRENCY:
    case PT_APPTIME:
    case PT_I8:
    case PT_SYSTIME:
        return 8;
    case PT_CLSID:
        return 16;
    case PT_STRING8:
    case PT_UNICODE:
    case PT_OBJECT:
    case PT_BINARY:
        return 0;
    default:
        return -1;
    }
}

static void skip_name(struct walk *w)
{
    take(w, 16); /* GUID */
    if (take32(w) == 0) {
        take32(w); /* a number */
        return;
    }
    uint32_t n = take32(w);
    take(w, n);
    skip_padding(w, n);
}

/* What is too large for the library as a property: the bytes of a member, which an attribute may hold instead. */
struct large {
    const uint8_t *p;
    size_t n;
    bool object; /* behind the id of an interface */
    bool lost;   /* another one, which is left out */
};

/* One property: written to `out` when it is wanted, has one value and is the first of its id. UTF-16 goes as PT_OBJECT,
 * for the library's own conversion knows no surrogates and gives up on long texts. */
static void take_property(struct walk *w, struct buf *out, uint32_t *count, uint32_t seen[], size_t *nseen, struct large *large)
{
    uint32_t tag = take32(w), id = tag >> 16, type = tag & 0xffff;
    bool many = type & MV_FLAG, named = id >= 0x8000;
    int size = fixed_size(type & ~(unsigned)MV_FLAG);
    if (named)
        skip_name(w);
    uint32_t values = many || size == 0 ? take32(w) : 1;
    if (size < 0 || values > MAX_VALUES)
        w->bad = true;
    for (uint32_t i = 0; i < values && !w->bad; i++) {
        uint32_t n = size ? (uint32_t)size : take32(w);
        const uint8_t *p = take(w, n);
        skip_padding(w, n);
        bool again = false;
        for (size_t k = 0; k < *nseen; k++)
            again |= seen[k] == id;
        if (!p || n == 0 || again || many || named || values != 1 || !is_wanted(id) || (size && type != PT_LONG))
            continue;
        seen[(*nseen)++] = id;
        if (n > TNEF_MAX_VALUE) {
            *large = id == PR_ATTACH_DATA_OBJ ? (struct large){p, n, type == PT_OBJECT, large->lost} : (struct large){large->p, large->n, large->object, true};
            continue;
        }
        put32(out, id << 16 | (type == PT_UNICODE ? PT_OBJECT : type));
        if (!size) {
            put32(out, 1);
            put32(out, n);
        }
        buf_append(out, p, n);
        for (size_t k = n; k % 4; k++)
            buf_append_char(out, '\0');
        ++*count;
    }
}

static struct large take_properties(const uint8_t *p, size_t n, uint8_t level, uint32_t type, struct buf *out, struct tnef *notes)
{
    struct walk w = {p, p + n, false};
    struct large large = {.n = 0};
    struct buf block;
    uint32_t seen[16], kept = 0, count = take32(&w); /* fewer ids are wanted than there are places */
    size_t nseen = 0;
    buf_init(&block, n + 64);
    put32(&block, 0);
    notes->over_budget |= count > TNEF_MAX_PROPERTIES;
    for (uint32_t i = 0; i < CD_MIN(count, (uint32_t)TNEF_MAX_PROPERTIES) && !w.bad; i++)
        take_property(&w, &block, &kept, seen, &nseen, &large);
    notes->damaged |= w.bad;
    notes->over_budget |= large.lost;
    if (kept > 0 && !block.failed) {
        const uint8_t number[4] = {(uint8_t)kept};
        memcpy(block.data, number, sizeof number);
        put_attribute(out, level, type, block.data, block.len);
    }
    buf_free(&block);
    return large;
}

/* ---- attributes ---- */

struct seen {
    size_t members;
    bool body, codepage, properties;          /* of the message */
    bool title, data, member_properties;      /* of the member at hand */
};

static bool once(bool *seen)
{
    bool first = !*seen;
    *seen = true;
    return first;
}

/* A member begins. Those in front of the first one's own mark get one too. */
static bool begin_member(struct seen *s, struct buf *out, struct tnef *notes)
{
    static const uint8_t nothing[14];
    if (s->members == TNEF_MAX_MEMBERS) {
        notes->over_budget = true;
        return false;
    }
    s->members++;
    s->title = s->data = s->member_properties = false;
    put_attribute(out, LVL_ATTACHMENT, attAttachRenddata, nothing, sizeof nothing);
    return true;
}

static bool in_member(struct seen *s, struct buf *out, struct tnef *notes)
{
    return s->members > 0 || begin_member(s, out, notes);
}

static void take_large(struct large l, struct seen *s, struct buf *out)
{
    size_t skip = l.object ? TNEF_IID_SIZE : 0;
    if (l.n > skip && once(&s->data))
        put_attribute(out, LVL_ATTACHMENT, attAttachData, l.p + skip, l.n - skip);
}

static void take_attribute(uint32_t type, const uint8_t *p, size_t n, struct seen *s, bool *full, struct buf *out, struct tnef *notes)
{
    if (type == attAttachRenddata)
        *full = !begin_member(s, out, notes);
    else if (type == attBody && once(&s->body))
        put_attribute(out, LVL_MESSAGE, type, p, n);
    else if (type == attOemCodepage && n >= 4 && once(&s->codepage))
        put_attribute(out, LVL_MESSAGE, type, p, n);
    else if (type == attMAPIProps && once(&s->properties))
        notes->over_budget |= take_properties(p, n, LVL_MESSAGE, type, out, notes).n > 0;
    if (*full || (type != attAttachTitle && type != attAttachData && type != attAttachment) || !in_member(s, out, notes))
        return;
    if (type == attAttachTitle && once(&s->title))
        put_attribute(out, LVL_ATTACHMENT, type, p, n);
    else if (type == attAttachData && once(&s->data))
        put_attribute(out, LVL_ATTACHMENT, type, p, n);
    else if (type == attAttachment && once(&s->member_properties))
        take_large(take_properties(p, n, LVL_ATTACHMENT, type, out, notes), s, out);
}

bool tnef_sieve(const uint8_t *p, size_t n, struct buf *out, struct tnef *notes)
{
    struct walk w = {p, p + n, false};
    struct seen seen = {0};
    bool full = false; /* the member at hand is one too many */
    if (take32(&w) != SIGNATURE || !take(&w, 2))
        return false;
    buf_append(out, p, 6);
    while (!w.bad && (size_t)(w.end - w.p) >= HEADER) {
        const uint8_t *head = take(&w, HEADER);
        uint32_t type = get32(head + 1), size = get32(head + 5);
        const uint8_t *data = take(&w, size);
        if (!data || head[0] < LVL_MESSAGE || head[0] > LVL_ATTACHMENT) {
            notes->damaged = true;
            break;
        }
        uint16_t sum = 0;
        for (size_t i = 0; i < size; i++)
            sum = (uint16_t)(sum + data[i]);
        const uint8_t *check = take(&w, 2);
        if (!check || sum != (uint16_t)(check[0] | check[1] << 8))
            notes->damaged = true; /* it is taken nevertheless: people can look */
        if (size > 0)
            take_attribute(type, data, size, &seen, &full, out, notes);
    }
    notes->damaged |= w.p != w.end;
    return !out->failed;
}
