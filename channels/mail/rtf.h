#pragma once
/* RTF to readable text, as far as Outlook's bodies need it: paragraphs, lines, tabs, characters of code pages and of
 * Unicode. Fonts, styles, pictures and the HTML tags that some of them carry are left out. */
#include "daemon/core/buf.h"

/* Appends to `out` in UTF-8 (bounded by its cap). `charset`: of bytes, where the text names none. Never fails: what is
 * no RTF gives little or nothing. */
void rtf_to_text(const void *p, size_t n, const char *charset, struct buf *out);
