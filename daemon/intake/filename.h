#pragma once
/* The name that a sender gave a file, made fit to be shown and to be saved under. */
#include "daemon/core/base.h"

#define FILENAME_MAX_BYTES 255

/* In place, valid UTF-8 before and after: only what stands behind the last slash or backslash, no control characters, no marks that
 * turn the direction of writing; "." and ".." become ""; at most FILENAME_MAX_BYTES, the ending kept. */
void filename_make_safe(char *s);
