/* HTML to text by libxml2's SAX push parser. No tree is built: the tree stops at 256 levels and at memory
 * limits without a word, and text would be lost. What is open is known by the parser's own stack of names
 * (nameNr), so a mail that closes what it never opened cannot hide the rest. When nothing is left to see, the
 * text is taken again with nothing hidden. */
#include "channels/mail/html.h"

#include <libxml/HTMLparser.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "channels/mail/html_tags.h"
#include "channels/mail/html_text.h"
#include "daemon/core/str.h"

#define CHUNK CD_KIB(32)
#define MAX_LISTS 16
#define MAX_HREF 500
#define MAX_SIZES 64
#define MAX_DECLARATION ((size_t)200)

struct html {
    htmlParserCtxtPtr parser;
    struct html_text text;
    bool show_all; /* second try: hide scripts and styles only */
    int hidden_at; /* nameNr of the element that hides what is in it; 0: nothing is hidden */
    struct size {
        int at; /* nameNr of the element that says it */
        bool zero;
    } sizes[MAX_SIZES]; /* of text, the innermost last; deeper ones are not followed */
    unsigned nsizes;
    struct list {
        bool ordered;
        unsigned item;
    } lists[MAX_LISTS];
    unsigned depth; /* of lists, may exceed MAX_LISTS */
    char href[MAX_HREF + 8];
    size_t link_from; /* length of the output where the text of the link begins */
};

/* Hidden until the parser's stack is lower than where it began. */
static bool hidden_now(struct html *h)
{
    if (h->hidden_at && h->parser->nameNr < h->hidden_at)
        h->hidden_at = 0;
    return h->hidden_at != 0;
}

static void say_size(struct html *h, const xmlChar **atts)
{
    bool zero;
    if (h->nsizes < MAX_SIZES && !h->show_all && html_font_size(atts, &zero))
        h->sizes[h->nsizes++] = (struct size){.at = h->parser->nameNr, .zero = zero};
}

/* Text of no size is left out. */
static bool no_size_now(struct html *h)
{
    while (h->nsizes > 0 && h->parser->nameNr < h->sizes[h->nsizes - 1].at)
        h->nsizes--;
    return h->nsizes > 0 && h->sizes[h->nsizes - 1].zero;
}

static void begin_item(struct html *h)
{
    char mark[32] = "- ";
    unsigned level = CD_MIN(h->depth, (unsigned)MAX_LISTS);
    html_text_newlines(&h->text, 1);
    if (level > 0 && h->lists[level - 1].ordered)
        snprintf(mark, sizeof mark, "%u. ", ++h->lists[level - 1].item);
    html_text_mark(&h->text, level > 1 ? (level - 1) * 2 : 0, mark);
}

static void begin_list(struct html *h, const char *name)
{
    html_text_newlines(&h->text, h->depth ? 1 : 2);
    if (h->depth < MAX_LISTS)
        h->lists[h->depth] = (struct list){.ordered = strcasecmp(name, "ol") == 0};
    h->depth++;
}

static void end_list(struct html *h)
{
    if (h->depth)
        h->depth--;
    html_text_newlines(&h->text, h->depth ? 1 : 2);
}

static void begin_link(struct html *h, const xmlChar **atts)
{
    const char *href = html_attribute(atts, "href");
    h->href[0] = '\0';
    h->link_from = h->text.out->len;
    if (href && strlen(href) <= MAX_HREF &&
        (str_istarts(href, "http:") || str_istarts(href, "https:") || str_istarts(href, "mailto:") ||
         str_istarts(href, "tel:")))
        snprintf(h->href, sizeof h->href, "%s", href);
}

/* The address behind the text of a link, unless the text says it already. */
static void end_link(struct html *h)
{
    const char *href = h->href, *bare = href;
    if (!*href)
        return;
    const char *text = buf_str(h->text.out) + CD_MIN(h->link_from, h->text.out->len);
    text += strspn(text, " \t\r\n>");
    if (str_istarts(bare, "mailto:") || str_istarts(bare, "tel:"))
        bare = strchr(bare, ':') + 1;
    else
        bare = strstr(bare, "://") ? strstr(bare, "://") + 3 : bare;
    size_t n = strcspn(bare, "?");
    while (n > 0 && bare[n - 1] == '/')
        n--;
    char *core = cd_strndup(bare, n);
    if (n > 0 && !strcasestr(text, core)) {
        html_text_str(&h->text, *text ? " (" : "(");
        html_text_str(&h->text, href);
        html_text_str(&h->text, ")");
    }
    free(core);
    h->href[0] = '\0';
}

/* The line ends that an element puts before and behind itself. */
static unsigned newlines_around(enum html_tag kind)
{
    switch (kind) {
    case TAG_PARAGRAPH:
        return 2;
    case TAG_BLOCK:
    case TAG_ROW:
    case TAG_HR:
    case TAG_PRE:
    case TAG_QUOTE:
    case TAG_LI:
        return 1;
    default:
        return 0;
    }
}

/* What a picture or an input field shows instead of itself. */
static void show_attribute(struct html *h, enum html_tag kind, const xmlChar **atts)
{
    const char *type = html_attribute(atts, "type");
    const char *text = html_attribute(atts, kind == TAG_IMG ? "alt" : "value");
    if (text && !(kind == TAG_INPUT && type && strcasecmp(type, "hidden") == 0))
        html_text_str(&h->text, text);
}

static void on_start(void *ctx, const xmlChar *name, const xmlChar **atts)
{
    struct html *h = ctx;
    enum html_tag kind = html_tag((const char *)name);
    if (hidden_now(h))
        return;
    if (kind == TAG_SKIP || (!h->show_all && (kind == TAG_HEAD || html_is_hidden(atts)))) {
        h->hidden_at = h->parser->nameNr;
        return;
    }
    no_size_now(h);
    if (kind != TAG_BR && kind != TAG_IMG && kind != TAG_INPUT && kind != TAG_HR) /* those have nothing in them */
        say_size(h, atts);
    if (newlines_around(kind))
        html_text_newlines(&h->text, newlines_around(kind));
    if (kind == TAG_BR) {
        html_text_break(&h->text);
    } else if (kind == TAG_HR) {
        html_text_str(&h->text, "----------");
    } else if (kind == TAG_LIST) {
        begin_list(h, (const char *)name);
    } else if (kind == TAG_LI) {
        begin_item(h);
    } else if (kind == TAG_ROW) {
        html_text_row(&h->text, true);
    } else if (kind == TAG_CELL) {
        html_text_cell(&h->text);
    } else if (kind == TAG_PRE) {
        h->text.pre++;
    } else if (kind == TAG_QUOTE) {
        h->text.quote++;
    } else if (kind == TAG_LINK) {
        begin_link(h, atts);
    } else if (kind == TAG_IMG || kind == TAG_INPUT) {
        show_attribute(h, kind, atts);
    }
}

static void on_end(void *ctx, const xmlChar *name)
{
    struct html *h = ctx;
    enum html_tag kind = html_tag((const char *)name);
    if (h->hidden_at) {
        /* its own end: the parser takes the name from its stack only after this call */
        if (h->parser->nameNr <= h->hidden_at)
            h->hidden_at = 0;
        return;
    }
    while (h->nsizes > 0 && h->parser->nameNr <= h->sizes[h->nsizes - 1].at)
        h->nsizes--;
    if (kind == TAG_LI)
        html_text_mark(&h->text, 0, "");
    if (kind == TAG_ROW)
        html_text_row(&h->text, false);
    if (newlines_around(kind))
        html_text_newlines(&h->text, newlines_around(kind));
    if (kind == TAG_LIST)
        end_list(h);
    else if (kind == TAG_PRE)
        h->text.pre -= h->text.pre > 0;
    else if (kind == TAG_QUOTE)
        h->text.quote -= h->text.quote > 0;
    else if (kind == TAG_LINK)
        end_link(h);
}

static void on_text(void *ctx, const xmlChar *s, int n)
{
    struct html *h = ctx;
    if (n > 0 && !hidden_now(h) && !no_size_now(h))
        html_text_add(&h->text, (const char *)s, (size_t)n);
}

/* The length of a declaration that is none ("<!VR>", "<![if !mso]>"), which a browser takes for a comment and the library for text;
 * 0: nothing of that kind stands here. */
static size_t bogus_declaration(const char *p, size_t n)
{
    if (n < 4 || p[0] != '<' || p[1] != '!')
        return 0;
    const char *gt = memchr(p, '>', CD_MIN(n, MAX_DECLARATION));
    if (!gt)
        return 0;
    bool letter = (p[2] | 0x20) >= 'a' && (p[2] | 0x20) <= 'z' && strncasecmp(p + 2, "doctype", CD_MIN(n - 2, (size_t)7)) != 0;
    bool condition = gt[-1] == ']' && (strncasecmp(p + 2, "[if", CD_MIN(n - 2, (size_t)3)) == 0 || strncasecmp(p + 2, "[endif", CD_MIN(n - 2, (size_t)6)) == 0);
    return letter || condition ? (size_t)(gt - p) + 1 : 0;
}

/* How many bytes to feed at once: up to and with the next <html>, <body>, </body> or </html> tag, *ret_edge,
 * or CHUNK. */
static size_t next_chunk(const char *p, size_t n, bool *ret_edge)
{
    n = CD_MIN(CHUNK, n);
    *ret_edge = false;
    for (const char *at = p; (at = memchr(at, '<', n - (size_t)(at - p))) != NULL; at++) {
        size_t left = n - (size_t)(at - p);
        if (at > p && bogus_declaration(at, left))
            return (size_t)(at - p);
        const char *name = at + (left > 1 && at[1] == '/' ? 2 : 1);
        if (left < 7 || (strncasecmp(name, "body", 4) != 0 && strncasecmp(name, "html", 4) != 0))
            continue;
        const char *gt = memchr(at, '>', left);
        *ret_edge = gt != NULL;
        return gt ? (size_t)(gt - p) + 1 : n;
    }
    return n;
}

static void run(const char *html, size_t n, struct buf *out, bool show_all, bool *ret_cut)
{
    struct html h = {.show_all = show_all};
    htmlSAXHandler sax = {.startElement = on_start,
                          .endElement = on_end,
                          .characters = on_text,
                          .ignorableWhitespace = on_text};
    html_text_init(&h.text, out);
    h.parser = htmlCreatePushParserCtxt(&sax, &h, NULL, 0, NULL, XML_CHAR_ENCODING_UTF8);
    if (!h.parser)
        return;
    htmlCtxtUseOptions(h.parser, HTML_PARSE_IGNORE_ENC | HTML_PARSE_NONET | HTML_PARSE_NOERROR |
                                     HTML_PARSE_NOWARNING | HTML_PARSE_RECOVER | HTML_PARSE_NOIMPLIED);
    h.parser->options |= XML_PARSE_HUGE; /* an image of 10 MB inside an attribute must not end the text */
    /* The parser stops for good when its stack gets empty: at an end tag in front, and at </html>, behind
     * which mails go on. So a body is opened for it, and its count of repeated <html> and <body> tags, each
     * of which lets one end tag pass without effect, is set out of reach. */
    h.parser->depth = 1 << 30;
    htmlParseChunk(h.parser, "<html><body>", 12, 0);
    for (size_t at = 0; at < n && !h.text.cut;) {
        size_t skip = bogus_declaration(html + at, n - at);
        bool edge;
        if (skip > 0) {
            at += skip;
            continue;
        }
        size_t len = next_chunk(html + at, n - at, &edge);
        htmlParseChunk(h.parser, html + at, (int)len, 0);
        if (edge)
            html_text_newlines(&h.text, 1); /* such a tag itself makes no call */
        at += len;
    }
    htmlParseChunk(h.parser, NULL, 0, 1);
    if (h.parser->myDoc)
        xmlFreeDoc(h.parser->myDoc);
    htmlFreeParserCtxt(h.parser);
    *ret_cut = h.text.cut;
}

static bool is_blank(const struct buf *b, size_t from)
{
    for (size_t i = from; i < b->len; i++)
        if (b->data[i] > ' ')
            return false;
    return true;
}

void html_to_text(const char *html, size_t n, struct buf *out, bool *ret_cut)
{
    size_t from = out->len;
    *ret_cut = false;
    run(html, n, out, false, ret_cut);
    if (is_blank(out, from) && !*ret_cut) {
        if (out->data)
            out->data[out->len = from] = '\0';
        run(html, n, out, true, ret_cut);
    }
    while (out->len > from && (out->data[out->len - 1] == ' ' || out->data[out->len - 1] == '\n'))
        out->data[--out->len] = '\0';
}

void html_prepare(void)
{
    struct buf b;
    bool cut;
    static const char sample[] =
        "<html><head><meta charset=gb2312><title>x</title></head><body><p style='display:none'>&eacute;&nbsp;"
        "<table><tr><td>a<td>&#x4e2d;</table><ul><li>b</ul><a href='http://c.example/'>c</a><!-- d "
        "--></body>";
    xmlInitParser();
    buf_init(&b, CD_KIB(64));
    html_to_text(sample, sizeof sample - 1, &b, &cut);
    buf_free(&b);
}

void html_meta_charset(const void *html, size_t n, char out[64])
{
    char head[2049];
    size_t w = 0, len = 0;
    for (size_t i = 0; i < n && w < sizeof head - 1; i++)
        head[w++] = ((const char *)html)[i] ? ((const char *)html)[i] : ' ';
    head[w] = '\0';
    out[0] = '\0';
    for (const char *p = head; (p = strcasestr(p, "<meta")) != NULL; p++) {
        const char *end = strchr(p, '>'), *c = strcasestr(p, "charset");
        if (!c || (end && c > end))
            continue;
        c += strlen("charset");
        c += strspn(c, " \t\r\n");
        if (*c != '=')
            continue;
        c += 1 + strspn(c + 1, " \t\r\n\"'");
        len = strcspn(c, " \t\r\n\"';/>");
        if (len == 0 || len >= 64)
            continue;
        memcpy(out, c, len);
        out[len] = '\0';
        return;
    }
}
