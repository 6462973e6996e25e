#pragma once
/* What SUBMIT of the line protocol and POST /v1/complaints share. The fields of a complaint are one table, from which the check and the
 * description of the HTTP interface are made. */
#include <jansson.h>

#include "config/config.h"
#include "daemon/intake/ack.h"
#include "daemon/intake/record.h"

/* The desk that the object names, else the client's, else the first; NULL: none is configured. */
const struct cfg_desk *submit_desk(const struct config *c, const json_t *args, const char *preferred);

/* ---- the check ---- */

struct submit_check {
    const struct config *cfg;
    const struct cfg_desk *desk;
    const struct strlist *scope; /* the only desks it may submit to; none: all */
    bool keyless; /* the key comes from elsewhere: the object must have none */
    char *phone;  /* E.164, owned; only when the number was given without its country */
    char field[64], message[160];
};
/* 0, or CD_EINVAL with field and message set. */
int submit_check(struct submit_check *k, const json_t *args) CD_MUSTUSE;

enum submit_field_flag { SUBMIT_REQUIRED = 1, SUBMIT_LINE = 2 /* of the line protocol only */ };
struct submit_field {
    const char *name;
    size_t max; /* characters; SIZE_MAX: as many as the request may have */
    unsigned flags;
    const char *(*check)(struct submit_check *k, const char *v); /* what is wrong, or NULL */
    const char *pattern, *doc; /* for the description; pattern NULL: none */
};
extern const struct submit_field submit_fields[], submit_customer_fields[], submit_representative_fields[];
extern const size_t submit_field_count, submit_customer_field_count, submit_representative_field_count;

/* ---- after it ---- */

/* {"ref","outcome",…} of an outcome whose verdict is ACK_STORED. */
CD_MUSTUSE json_t *submit_answer(const struct ack_result *r);
/* In the worker: fills the record from the object. */
int submit_decode(const struct envelope *e, const void *json, size_t n, struct record *r) CD_MUSTUSE;
