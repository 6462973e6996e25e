/* Tables and small judgements about HTML elements; see html_tags.h. Pure functions. */
#include "channels/mail/html_tags.h"

#include <string.h>
#include <strings.h>

static const struct tag {
    const char *name;
    enum html_tag kind;
} tags[] = {
    /* sorted */
    {"a", TAG_LINK},
    {"address", TAG_BLOCK},
    {"area", TAG_IMG},
    {"article", TAG_BLOCK},
    {"aside", TAG_BLOCK},
    {"blockquote", TAG_QUOTE},
    {"body", TAG_BLOCK},
    {"br", TAG_BR},
    {"caption", TAG_BLOCK},
    {"center", TAG_BLOCK},
    {"dd", TAG_BLOCK},
    {"dir", TAG_LIST},
    {"div", TAG_BLOCK},
    {"dl", TAG_BLOCK},
    {"dt", TAG_BLOCK},
    {"fieldset", TAG_BLOCK},
    {"figcaption", TAG_BLOCK},
    {"figure", TAG_BLOCK},
    {"footer", TAG_BLOCK},
    {"form", TAG_BLOCK},
    {"h1", TAG_PARAGRAPH},
    {"h2", TAG_PARAGRAPH},
    {"h3", TAG_PARAGRAPH},
    {"h4", TAG_PARAGRAPH},
    {"h5", TAG_PARAGRAPH},
    {"h6", TAG_PARAGRAPH},
    {"head", TAG_HEAD},
    {"header", TAG_BLOCK},
    {"hr", TAG_HR},
    {"html", TAG_BLOCK},
    {"img", TAG_IMG},
    {"input", TAG_INPUT},
    {"li", TAG_LI},
    {"listing", TAG_PRE},
    {"main", TAG_BLOCK},
    {"menu", TAG_LIST},
    {"nav", TAG_BLOCK},
    {"ol", TAG_LIST},
    {"option", TAG_BLOCK},
    {"p", TAG_PARAGRAPH},
    {"pre", TAG_PRE},
    {"script", TAG_SKIP},
    {"section", TAG_BLOCK},
    {"select", TAG_BLOCK},
    {"style", TAG_SKIP},
    {"table", TAG_BLOCK},
    {"tbody", TAG_INLINE},
    {"td", TAG_CELL},
    {"template", TAG_SKIP},
    {"tfoot", TAG_INLINE},
    {"th", TAG_CELL},
    {"thead", TAG_INLINE},
    {"title", TAG_SKIP},
    {"tr", TAG_ROW},
    {"ul", TAG_LIST},
    {"xmp", TAG_PRE},
};

enum html_tag html_tag(const char *name)
{
    size_t lo = 0, hi = ARRAY_LEN(tags);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = strcasecmp(name, tags[mid].name);
        if (c == 0)
            return tags[mid].kind;
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return TAG_INLINE;
}

const char *html_attribute(const xmlChar **atts, const char *name)
{
    for (; atts && atts[0]; atts += 2)
        if (strcasecmp((const char *)atts[0], name) == 0)
            return atts[1] ? (const char *)atts[1] : "";
    return NULL;
}

/* "property: value" in a style attribute, white space and case ignored. */
static bool style_says(const char *style, const char *property, const char *value)
{
    for (const char *p = style; (p = strcasestr(p, property)) != NULL; p++) {
        const char *q = p + strlen(property);
        q += strspn(q, " \t\r\n");
        if (*q != ':' || (p > style && !strchr("; \t\r\n", p[-1])))
            continue;
        q++;
        q += strspn(q, " \t\r\n");
        if (strncasecmp(q, value, strlen(value)) == 0)
            return true;
    }
    return false;
}

/* The value of a property as it is said last, which is the one that counts; NULL when it is not said. */
static const char *style_value(const char *style, const char *property)
{
    const char *found = NULL;
    for (const char *p = style; (p = strcasestr(p, property)) != NULL; p++) {
        const char *q = p + strlen(property);
        q += strspn(q, " \t\r\n");
        if (*q == ':' && (p == style || strchr("; \t\r\n", p[-1])))
            found = q + 1 + strspn(q + 1, " \t\r\n");
    }
    return found;
}

/* "0", "0px", "0.0em": nothing to be seen. */
static bool is_zero(const char *value)
{
    if (!value || *value != '0')
        return false;
    value += strspn(value, "0.");
    return !(*value >= '1' && *value <= '9');
}

/* What mails use to hide the text that mailboxes show as a preview, and what spam hides its own words with. */
static bool is_shrunk(const char *style)
{
    const char *overflow = style_value(style, "overflow"), *indent = style_value(style, "text-indent");
    if (is_zero(style_value(style, "opacity")))
        return true;
    if (overflow && strncasecmp(overflow, "hidden", 6) == 0 &&
        (is_zero(style_value(style, "max-height")) || is_zero(style_value(style, "height")) || is_zero(style_value(style, "max-width")) ||
         is_zero(style_value(style, "width"))))
        return true;
    return indent && strncmp(indent, "-9999", 5) == 0;
}

bool html_font_size(const xmlChar **atts, bool *ret_zero)
{
    const char *style = html_attribute(atts, "style"), *size = style ? style_value(style, "font-size") : NULL;
    *ret_zero = is_zero(size);
    return size != NULL;
}

bool html_is_hidden(const xmlChar **atts)
{
    const char *style = html_attribute(atts, "style");
    if (html_attribute(atts, "hidden"))
        return true;
    return style && (style_says(style, "display", "none") || style_says(style, "visibility", "hidden") ||
                     style_says(style, "mso-hide", "all") || is_shrunk(style));
}
