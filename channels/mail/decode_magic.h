#pragma once
/* What bytes are, by libmagic: its database is loaded before the worker shuts itself in, and only buffers are looked at.
 */
#include "daemon/core/base.h"

#define MAGIC_BYTES CD_KIB(4) /* from the front of an attachment */

/* Loads the database; without one nothing gets a type. Returns whether it is there. */
bool magic_prepare(void);
/* "image/png"; NULL when it cannot be told. Valid until the next call. */
const char *magic_type_of(const void *p, size_t n);
/* Whether an attachment is plainly of another type than its sender said: so that people are told, and not bothered where two
 * names mean the same or the sender claimed nothing. */
bool magic_differs(const char *declared, const char *magic);
