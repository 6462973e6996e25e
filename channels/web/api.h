#pragma once
/* The HTTP interface as tables. What a path takes and what it may answer stands here once; the server answers
 * from it, and docs/openapi.yaml is printed from it (api_text.c). */
#include <jansson.h>

#include "daemon/core/buf.h"

/* ---- problems (RFC 9457) ---- */

enum api_problem {
    API_OK, /* none */
    API_BAD_REQUEST,
    API_KEY_MISSING,
    API_BAD_JSON,
    API_BAD_FORM,
    API_UNAUTHORIZED,
    API_NOT_FOUND,
    API_METHOD,
    API_LENGTH_REQUIRED,
    API_TOO_LARGE,
    API_MEDIA_TYPE,
    API_BAD_ARGUMENT,
    API_KEY_REUSED,
    API_REJECTED,
    API_TOO_MANY,
    API_HEAD_TOO_LARGE,
    API_INTERNAL,
    API_NOT_IMPLEMENTED,
    API_BUSY,
    API_PROBLEM_COUNT
};
struct api_problem_row {
    int status;
    bool retry;
    const char *code, *title;
};
extern const struct api_problem_row api_problems[API_PROBLEM_COUNT];
#define API_PROBLEM_TYPE "application/problem+json"
/* {"type","title","status","detail","code","field"?,"retry"} as text. `field` may be NULL. Free it. */
CD_MUSTUSE char *api_problem_text(enum api_problem p, const char *detail, const char *field);

/* ---- paths ---- */

#define API_COMPLAINTS "/v1/complaints"
#define API_JSON "application/json"
#define API_FORM "multipart/form-data"
#define API_FORM_PART "complaint" /* the part of the form that holds the JSON object */
#define API_MAX_KEY 200           /* characters of an Idempotency-Key */

enum api_schema { API_SCHEMA_NONE, API_SCHEMA_ACCEPTED, API_SCHEMA_STATUS, API_SCHEMA_OK, API_SCHEMA_READY };
struct api_answer {
    int status; /* 0 ends the list */
    enum api_schema schema;
    const char *doc;
};
struct api_route {
    const char *method, *path, *id, *doc;
    bool token; /* needs one, role intake or higher */
    bool submit; /* takes a complaint, as JSON or form */
    struct api_answer answers[5];
    enum api_problem problems[API_PROBLEM_COUNT]; /* API_OK ends the list; those of every request (api_common) are not in it */
};
/* For Allow: "POST"; NULL when the path is not in the table. */
const char *api_allow(const char *path);
extern const struct api_route api_routes[];
extern const size_t api_route_count;
extern const enum api_problem api_common[]; /* API_OK ends the list */

/* The whole interface in OpenAPI 3.1, YAML. */
void api_describe(struct buf *out);
