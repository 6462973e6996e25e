/* The HTTP interface in OpenAPI 3.1, printed from the tables of api.c and of the fields of a complaint (channels/submit.h), so that what
 * is written down is what is checked. YAML whose strings are all quoted as in JSON. */
#include "channels/web/api.h"

#include <string.h>

#include "channels/submit.h"
#include "daemon/core/json_text.h"
#include "daemon/core/str.h"

/* ---- YAML ---- */

static void line(struct buf *b, unsigned depth, const char *text)
{
    buf_printf(b, "%*s%s\n", (int)(2 * depth), "", text);
}

static void text(struct buf *b, unsigned depth, const char *name, const char *value)
{
    struct buf quoted;

    buf_init(&quoted, CD_KIB(64));
    json_text_string(&quoted, value);
    buf_printf(b, "%*s%s: %s\n", (int)(2 * depth), "", name, buf_str(&quoted));
    buf_free(&quoted);
}

/* ---- schemas ---- */

static void put_field(struct buf *b, unsigned depth, const struct submit_field *f)
{
    buf_printf(b, "%*s%s:\n", (int)(2 * depth), "", f->name);
    line(b, depth + 1, "type: string");
    if (f->flags & SUBMIT_REQUIRED)
        line(b, depth + 1, "minLength: 1");
    if (f->max != SIZE_MAX)
        buf_printf(b, "%*smaxLength: %zu\n", (int)(2 * depth + 2), "", f->max);
    if (f->pattern)
        text(b, depth + 1, "pattern", f->pattern);
    text(b, depth + 1, "description", f->doc);
}

/* An object among the fields. */
static void put_group(struct buf *b, const char *name, const struct submit_field *v, size_t n)
{
    bool any = false;
    buf_printf(b, "        %s:\n", name);
    line(b, 5, "type: object");
    line(b, 5, "additionalProperties: false");
    for (size_t i = 0; i < n; i++) {
        if (!(v[i].flags & SUBMIT_REQUIRED))
            continue;
        if (!any)
            line(b, 5, "required:");
        any = true;
        buf_printf(b, "            - %s\n", v[i].name);
    }
    line(b, 5, "properties:");
    for (size_t i = 0; i < n; i++)
        put_field(b, 6, &v[i]);
}

static void put_complaint(struct buf *b)
{
    line(b, 2, "Complaint:");
    line(b, 3, "type: object");
    line(b, 3, "additionalProperties: false");
    line(b, 3, "required:");
    for (size_t i = 0; i < submit_field_count; i++)
        if (submit_fields[i].flags & SUBMIT_REQUIRED && !(submit_fields[i].flags & SUBMIT_LINE))
            buf_printf(b, "        - %s\n", submit_fields[i].name);
    line(b, 3, "properties:");
    for (size_t i = 0; i < submit_field_count; i++)
        if (!(submit_fields[i].flags & SUBMIT_LINE))
            put_field(b, 4, &submit_fields[i]);
    put_group(b, "customer", submit_customer_fields, submit_customer_field_count);
    put_group(b, "representative", submit_representative_fields, submit_representative_field_count);
}

static void put_problem_schema(struct buf *b)
{
    line(b, 2, "Problem:");
    text(b, 3, "description", "RFC 9457. code is for programs, detail for people; retry: nothing is wrong with the request, send it again later.");
    line(b, 3, "type: object");
    line(b, 3, "required: [type, title, status, detail, code, retry]");
    line(b, 3, "properties:");
    line(b, 4, "type: {type: string}");
    line(b, 4, "title: {type: string}");
    line(b, 4, "status: {type: integer}");
    line(b, 4, "detail: {type: string}");
    line(b, 4, "code:");
    line(b, 5, "type: string");
    line(b, 5, "enum:");
    for (int i = API_OK + 1; i < API_PROBLEM_COUNT; i++)
        buf_printf(b, "            - %s\n", api_problems[i].code);
    line(b, 4, "field: {type: string}");
    line(b, 4, "retry: {type: boolean}");
}

static void put_schemas(struct buf *b)
{
    static const char *const rest[] = {
        "Accepted:",
        "  type: object",
        "  required: [outcome]",
        "  properties:",
        "    ref: {type: string}",
        "    outcome: {type: string, enum: [new, follow-up, duplicate, auto-reply, bounce, bulk, own, control, accepted]}",
        "    id: {type: string, format: uuid}",
        "    spooled: {type: boolean}",
        "    category: {type: string}",
        "    priority: {type: string, enum: [critical, high, normal, low]}",
        "    team: {type: string}",
        "    due: {type: string, format: date-time}",
        "Status:",
        "  type: object",
        "  required: [ref, status, outcome, received_at]",
        "  properties:",
        "    ref: {type: string}",
        "    status: {type: string, enum: [new, open, waiting, resolved, closed]}",
        "    outcome: {type: [string, 'null']}",
        "    received_at: {type: string, format: date-time}",
        "Ok:",
        "  type: object",
        "  properties:",
        "    ok: {type: boolean}",
        "Ready:",
        "  type: object",
        "  properties:",
        "    ready: {type: boolean}",
    };

    line(b, 1, "schemas:");
    put_complaint(b);
    for (size_t i = 0; i < ARRAY_LEN(rest); i++)
        line(b, 2, rest[i]);
    put_problem_schema(b);
}

/* ---- paths ---- */

static void put_request(struct buf *b)
{
    line(b, 3, "parameters:");
    line(b, 4, "- name: Idempotency-Key");
    line(b, 5, "in: header");
    line(b, 5, "required: true");
    text(b, 5, "description", "One for each complaint, bare or as a quoted string; the same again is the same complaint.");
    buf_printf(b, "          schema: {type: string, minLength: 1, maxLength: %d}\n", API_MAX_KEY);
    line(b, 3, "requestBody:");
    line(b, 4, "required: true");
    line(b, 4, "content:");
    line(b, 5, API_JSON ":");
    line(b, 6, "schema: {$ref: '#/components/schemas/Complaint'}");
    line(b, 5, API_FORM ":");
    line(b, 6, "schema:");
    line(b, 7, "type: object");
    line(b, 7, "required: [" API_FORM_PART "]");
    line(b, 7, "properties:");
    line(b, 8, API_FORM_PART ": {$ref: '#/components/schemas/Complaint'}");
    text(b, 7, "description", "The part " API_FORM_PART ", and any number of others: each is a file.");
    line(b, 7, "additionalProperties: {type: string, contentMediaType: application/octet-stream}");
    line(b, 6, "encoding:");
    line(b, 7, API_FORM_PART ": {contentType: " API_JSON "}");
}

static const char *schema_name(enum api_schema s)
{
    static const char *const names[] = {[API_SCHEMA_ACCEPTED] = "Accepted", [API_SCHEMA_STATUS] = "Status", [API_SCHEMA_OK] = "Ok", [API_SCHEMA_READY] = "Ready"};

    return names[s];
}

static void put_answers(struct buf *b, const struct api_route *r)
{
    for (const struct api_answer *a = r->answers; a->status; a++) {
        buf_printf(b, "        '%d':\n", a->status);
        text(b, 5, "description", a->doc);
        line(b, 5, "content:");
        line(b, 6, API_JSON ":");
        buf_printf(b, "              schema: {$ref: '#/components/schemas/%s'}\n", schema_name(a->schema));
    }
}

static bool lists(const enum api_problem *v, int p)
{
    for (; *v; v++)
        if ((int)*v == p)
            return true;
    return false;
}

/* The table of problems is in the order of their statuses. */
static void put_problems(struct buf *b, const struct api_route *r)
{
    int status = 0;
    struct buf doc;

    buf_init(&doc, CD_KIB(16));
    for (int p = API_OK + 1; p <= API_PROBLEM_COUNT; p++) {
        bool mine = p < API_PROBLEM_COUNT && (lists(r->problems, p) || lists(api_common, p));
        if (status && (p == API_PROBLEM_COUNT || (mine && api_problems[p].status != status))) {
            buf_printf(b, "        '%d':\n", status);
            text(b, 5, "description", buf_str(&doc));
            line(b, 5, "content:");
            line(b, 6, API_PROBLEM_TYPE ":");
            line(b, 7, "schema: {$ref: '#/components/schemas/Problem'}");
            buf_reset(&doc);
        }
        if (!mine)
            continue;
        buf_printf(&doc, "%s%s: %s.", doc.len ? " " : "", api_problems[p].code, api_problems[p].title);
        status = api_problems[p].status;
    }
    buf_free(&doc);
}

static void put_route(struct buf *b, const struct api_route *r)
{
    CD_CLEANUP_FREE char *method = cd_strdup(r->method);

    str_lower(method);
    buf_printf(b, "  %s:\n    %s:\n", r->path, method);
    buf_printf(b, "      operationId: %s\n", r->id);
    text(b, 3, "description", r->doc);
    line(b, 3, r->token ? "security: [{token: []}]" : "security: []");
    if (r->submit)
        put_request(b);
    else if (strstr(r->path, "{ref}")) {
        line(b, 3, "parameters:");
        line(b, 4, "- {name: ref, in: path, required: true, schema: {type: string}}");
    }
    line(b, 3, "responses:");
    put_answers(b, r);
    put_problems(b, r);
}

void api_describe(struct buf *b)
{
    line(b, 0, "# Printed by complaintd --describe-http; cmake --build build/release --target reference makes it anew.");
    line(b, 0, "openapi: 3.1.0");
    line(b, 0, "info:");
    line(b, 1, "title: complaintd");
    line(b, 1, "version: '1'");
    text(b, 1, "description", "Complaints by HTTP. One request a connection; no transfer coding; TLS is the proxy's in front.");
    line(b, 0, "paths:");
    for (size_t i = 0; i < api_route_count; i++)
        put_route(b, &api_routes[i]);
    line(b, 0, "components:");
    line(b, 1, "securitySchemes:");
    line(b, 2, "token: {type: http, scheme: bearer}");
    put_schemas(b);
}
