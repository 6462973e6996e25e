/* The tables of the HTTP interface. Static; the only function allocates the text that it returns. */
#include "channels/web/api.h"

#include "daemon/core/str.h"

const struct api_problem_row api_problems[API_PROBLEM_COUNT] = {
    [API_BAD_REQUEST] = {400, false, "bad-request", "The framing of the request is not sound"},
    [API_KEY_MISSING] = {400, false, "key-missing", "Idempotency-Key is missing or not well formed"},
    [API_BAD_JSON] = {400, false, "bad-json", "The complaint is not one JSON object"},
    [API_BAD_FORM] = {400, false, "bad-form", "The form is not well formed"},
    [API_UNAUTHORIZED] = {401, false, "auth-required", "The token is missing or unknown"},
    [API_NOT_FOUND] = {404, false, "not-found", "There is no such thing here"},
    [API_METHOD] = {405, false, "method", "The path does not know this method"},
    [API_LENGTH_REQUIRED] = {411, false, "length-required", "The length of the body is missing"},
    [API_TOO_LARGE] = {413, false, "too-large", "The request is over a limit"},
    [API_MEDIA_TYPE] = {415, false, "media-type", "The path does not take this kind of body"},
    [API_BAD_ARGUMENT] = {422, false, "bad-argument", "A field is missing, unknown, or holds what it must not"},
    [API_KEY_REUSED] = {422, false, "key-reused", "The key was used for another complaint"},
    [API_REJECTED] = {422, false, "rejected", "The complaint cannot be taken"},
    [API_TOO_MANY] = {429, true, "too-many", "The client has too much under way"},
    [API_HEAD_TOO_LARGE] = {431, false, "head-too-large", "The header of the request is over the limit"},
    [API_INTERNAL] = {500, false, "internal", "A fault of the daemon; its log says more"},
    [API_NOT_IMPLEMENTED] = {501, false, "not-implemented", "There is no such method"},
    [API_BUSY] = {503, true, "busy", "No place, or the database is away; nothing was kept"},
};

char *api_problem_text(enum api_problem p, const char *detail, const char *field)
{
    const struct api_problem_row *row = &api_problems[p];
    CD_CLEANUP_FREE char *type = cd_asprintf("urn:complaintd:problem:%s", row->code);
    json_t *o = json_pack("{s:s, s:s, s:i, s:s, s:s, s:s*, s:b}", "type", type, "title", row->title, "status", row->status, "detail",
                          detail && *detail ? detail : row->title, "code", row->code, "field", field, "retry", (int)row->retry);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

    json_decref(o);
    return text ? text : cd_strdup("{}");
}

const enum api_problem api_common[] = {API_BAD_REQUEST, API_LENGTH_REQUIRED, API_TOO_LARGE, API_HEAD_TOO_LARGE, API_NOT_IMPLEMENTED, API_OK};

const struct api_route api_routes[] = {
    {"POST", API_COMPLAINTS, "submitComplaint",
     "Hands in a complaint. It is answered after it is stored durably. The same key with the same content again is answered as the first "
     "time and creates nothing, however often and however parallel it comes.",
     .token = true, .submit = true,
     .answers = {{201, API_SCHEMA_ACCEPTED, "A new complaint; due is when the customer hears from us."},
                 {200, API_SCHEMA_ACCEPTED, "Known already (outcome duplicate), or a further message of a complaint that exists (follow-up)."},
                 {202, API_SCHEMA_ACCEPTED, "Stored, but not looked at yet: outcome is accepted, and ref may be missing."}},
     .problems = {API_KEY_MISSING, API_BAD_JSON, API_BAD_FORM, API_UNAUTHORIZED, API_METHOD, API_MEDIA_TYPE, API_BAD_ARGUMENT,
                  API_KEY_REUSED, API_REJECTED, API_TOO_MANY, API_BUSY}},
    {"GET", API_COMPLAINTS "/{ref}", "showComplaint", "How far a complaint is.", .token = true,
     .answers = {{200, API_SCHEMA_STATUS, "Its state."}},
     .problems = {API_UNAUTHORIZED, API_NOT_FOUND, API_METHOD, API_BAD_ARGUMENT, API_TOO_MANY, API_INTERNAL, API_BUSY}},
    {"GET", "/healthz", "health", "Whether the process lives.", .answers = {{200, API_SCHEMA_OK, "It does."}}, .problems = {API_METHOD}},
    {"GET", "/readyz", "ready", "Whether a complaint could be taken durably now.",
     .answers = {{200, API_SCHEMA_READY, "It could."}, {503, API_SCHEMA_READY, "It could not."}}, .problems = {API_METHOD}},
};
const size_t api_route_count = sizeof api_routes / sizeof *api_routes;

const char *api_allow(const char *path)
{
    if (str_eq(path, API_COMPLAINTS))
        return "POST";
    if (str_starts(path, API_COMPLAINTS "/") || str_eq(path, "/healthz") || str_eq(path, "/readyz") || str_eq(path, "/metrics"))
        return "GET, HEAD";
    return NULL;
}
