#pragma once
/* winmail.dat, the container (TNEF, MS-OXTNEF) in which Outlook sends what it cannot say in MIME: its members, and the
 * text in it. Read by libytnef, from memory only, and only from a stream that tnef_sieve() has made: that library
 * trusts counts and lengths. To be called in a process that has shut itself in. */
#include "daemon/core/buf.h"

#define TNEF_MAX_MEMBERS 200
#define TNEF_MAX_PROPERTIES 1000 /* of one block; the library takes no more */
#define TNEF_MAX_VALUE ((size_t)500000) /* of a property; at 512 kB the library gives the whole stream up */

struct tnef_member {
    char *name, *type, *content_id; /* valid UTF-8, not made safe; NULL when absent */
    const uint8_t *data;            /* borrowed from the library */
    size_t n;
};

enum tnef_text { TNEF_NO_TEXT, TNEF_PLAIN, TNEF_HTML, TNEF_RTF };

struct tnef {
    struct tnef_member *members;
    size_t nmembers;
    enum tnef_text form; /* of the text below: the plainest there is */
    uint8_t *text;
    size_t ntext;
    char charset[24];  /* of the text */
    bool damaged;      /* something in it was broken and is left out */
    bool over_budget;  /* something in it was too much and is left out */
    void *own;         /* the library's structure, which the members point into */
};

/* NULL when it is no TNEF stream, or nothing in it can be read. The bytes are not needed afterwards. */
struct tnef *tnef_open(const void *p, size_t n);
void tnef_close(struct tnef **t);

/* ---- between tnef.c and tnef_sieve.c ---- */

#define TNEF_IID_SIZE 16 /* of the interface, in front of an object's bytes */

/* Appends to `out` a stream that has only what tnef.c looks at, each length checked, each checksum right, each value
 * once. false when there is no stream at all. */
bool tnef_sieve(const uint8_t *p, size_t n, struct buf *out, struct tnef *notes);

/* Compressed RTF (MS-OXRTFCP) as RTF, at most `max` bytes; NULL when it is none. Free it. */
uint8_t *tnef_unpack_rtf(const uint8_t *p, size_t n, size_t max, size_t *ret_n);
