#pragma once
/* JSON written straight into a buffer, for what every complaint brings along (a tree of jansson costs some twenty times as much).
 * What is read, changed or compared is jansson's. Commas are put by themselves: a value that does not follow "{", "[" or ":" gets one.
 * Braces are the caller's, as plain text; a failing buffer is seen by its `failed`. */
#include "daemon/core/buf.h"

/* A string, escaped; "" when it is NULL or no valid UTF-8. */
void json_text_string(struct buf *b, const char *s);
void json_text_int(struct buf *b, int64_t v);
/* The name of a member; its value follows. Names are ours: plain ASCII, not escaped. */
void json_text_name(struct buf *b, const char *name);
void json_text_member(struct buf *b, const char *name, const char *value);
/* "{" or "[" as a value. */
void json_text_open(struct buf *b, char bracket);
