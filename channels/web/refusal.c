/* The words of an answer that ends a request. Nothing fails. */
#include "channels/web/refusal.h"

#include <string.h>
#include <time.h>

#include "daemon/core/clock.h"
#include "daemon/core/str.h"

#define RETRY_AFTER_S "5"

/* "Busy" passes in seconds: a sender that knows waits, and does not hammer. */
const char *refusal_header(int status, const char *path, const char **ret_value)
{
    switch (status) {
    case 401:
        *ret_value = "Bearer realm=\"complaintd\"";
        return "WWW-Authenticate";
    case 405:
        *ret_value = api_allow(path);
        return *ret_value ? "Allow" : NULL;
    case 429:
    case 503:
        *ret_value = RETRY_AFTER_S;
        return "Retry-After";
    default:
        return NULL;
    }
}

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } rows[] = {{400, "Bad Request"},
                {401, "Unauthorized"},
                {404, "Not Found"},
                {405, "Method Not Allowed"},
                {411, "Length Required"},
                {413, "Content Too Large"},
                {415, "Unsupported Media Type"},
                {429, "Too Many Requests"},
                {431, "Request Header Fields Too Large"},
                {501, "Not Implemented"},
                {503, "Service Unavailable"}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].status == status)
            return rows[i].reason;
    return "Error";
}

/* RFC 9110 5.6.7 */
static void format_date(int64_t at_us, char out[40])
{
    time_t seconds = (time_t)(at_us / 1000000);
    struct tm tm;

    gmtime_r(&seconds, &tm);
    strftime(out, 40, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

char *refusal_text(const struct web_verdict *v, const struct web_head *h)
{
    const struct api_problem_row *row = &api_problems[v->problem];
    CD_CLEANUP_FREE char *body = api_problem_text(v->problem, v->detail, v->field);
    const char *value, *name = refusal_header(row->status, h->path ? h->path : "", &value);
    char date[40];
    format_date(clock_real_us(), date);
    CD_CLEANUP_FREE char *field = name ? cd_asprintf("%s: %s\r\n", name, value) : cd_strdup("");

    return cd_asprintf("HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: " API_PROBLEM_TYPE "\r\nCache-Control: no-store\r\n"
                       "Date: %s\r\n%sContent-Length: %zu\r\n\r\n%s",
                       row->status, reason_of(row->status), date, field, strlen(body), h->method == WEB_HEAD ? "" : body);
}
