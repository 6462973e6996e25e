#pragma once
/* What tags mean for the layout, and attributes. Private to html.c. */
#include <libxml/xmlstring.h>

#include "daemon/core/base.h"

enum html_tag {
    TAG_INLINE,
    TAG_BLOCK,
    TAG_PARAGRAPH,
    TAG_SKIP,
    TAG_HEAD,
    TAG_BR,
    TAG_HR,
    TAG_LI,
    TAG_LIST,
    TAG_ROW,
    TAG_CELL,
    TAG_PRE,
    TAG_QUOTE,
    TAG_LINK,
    TAG_IMG,
    TAG_INPUT
};
enum html_tag html_tag(const char *name); /* TAG_INLINE when it means nothing */
/* The value of an attribute in libxml2's list, "" when it has none; NULL when it is not there. */
const char *html_attribute(const xmlChar **atts, const char *name);
/* Whether an element says a size for its text, and whether that is none at all. Templates have it around columns whose
 * elements say their own again, so it hides only what does not. */
bool html_font_size(const xmlChar **atts, bool *ret_zero);
/* Whether an element's own attributes keep it, and all in it, from being displayed. */
bool html_is_hidden(const xmlChar **atts);
