#pragma once
/* Private to channels/sms: bodies of type application/x-www-form-urlencoded, read strictly, duplicates kept
 * in order. */
#include "daemon/core/buf.h"

#define FORM_MAX_PAIRS 256

struct form_pair { /* decoded bytes, NUL-terminated, which may hold NUL bytes themselves */
    char *name, *value;
    size_t nname, nvalue;
};
struct form {
    struct form_pair v[FORM_MAX_PAIRS];
    size_t n;
    char *bytes; /* what the pairs point into */
};

/* 0; CD_EINVAL: a bad escape, a raw space or control byte, an empty name; CD_ELIMIT: too many pairs.
 * NULL on failure. */
int form_parse(const void *p, size_t n, struct form **ret) CD_MUSTUSE;
void form_free(struct form **f);
/* The first pair of this name, or NULL. */
const struct form_pair *form_find(const struct form *f, const char *name);
size_t form_count(const struct form *f, const char *name);
/* Its value if the name is there exactly once and the value has no NUL byte; otherwise NULL. */
const char *form_one(const struct form *f, const char *name);
/* Appends name=value, escaped, with "&" in front unless it is the first. */
void form_append(struct buf *b, const char *name, const char *value);
