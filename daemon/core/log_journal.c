/* A record in the journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): KEY=value lines, which is enough because no
 * value of ours holds a line end. Written by us and not by sd_journal_sendv(), which waits when journald does not read, and which
 * asks for files and memory descriptors that a worker's filter forbids. Pure; what does not fit is left out, field by field. */
#include "daemon/core/log_impl.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/str.h"

#define KEY_MAX 60 /* journald takes 64 bytes */

struct writer {
    char *out;
    size_t n;
};

static void put(struct writer *w, const char *key, const char *value, size_t n)
{
    size_t k = strlen(key);
    if (w->n + k + n + 2 > LOG_DATAGRAM_SIZE)
        return;
    memcpy(w->out + w->n, key, k);
    w->n += k;
    w->out[w->n++] = '=';
    memcpy(w->out + w->n, value, n);
    w->n += n;
    w->out[w->n++] = '\n';
}

static void put_text(struct writer *w, const char *key, const char *value)
{
    put(w, key, value, strlen(value));
}

/* The names that a line's keys have in the journal, where they are not just the key in capitals. */
static void field_name(const char *key, size_t n, char out[KEY_MAX + 16])
{
    static const struct {
        const char *key, *field;
    } known[] = {{"id", "ENVELOPE_ID"},     {"peer", "REMOTE_ADDR"},   {"notification", "NOTIFICATION_ID"},
                 {"sqlstate", "DB_SQLSTATE"}, {"complaint", "COMPLAINT_ID"}, {"priority", "COMPLAINT_PRIORITY"}};
    /* Taken by the journal itself. */
    static const char *const reserved[] = {"MESSAGE", "PRIORITY", "CODE_", "SYSLOG_", "COMPLAINTD_", "UNIT", "USER_UNIT", "TID",
                                           "OBJECT_", "COREDUMP_", "DOCUMENTATION", "INVOCATION_ID", "USER_INVOCATION_ID"};
    char name[KEY_MAX + 1];
    n = CD_MIN(n, (size_t)KEY_MAX);
    for (size_t i = 0; i < n; i++) {
        char c = key[i];
        name[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ? c : '_';
    }
    name[n] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strlen(known[i].key) == n && memcmp(known[i].key, key, n) == 0) {
            snprintf(out, KEY_MAX + 16, "%s", known[i].field);
            return;
        }
    bool taken = name[0] < 'A' || name[0] > 'Z';
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        taken |= str_starts(name, reserved[i]);
    snprintf(out, KEY_MAX + 16, taken ? "COMPLAINTD_%.48s" : "%.60s", name);
}

/* Reads one value behind '='; into `value` without its quotes. Returns what follows. */
static const char *read_value(const char *p, char *value, size_t *ret_n)
{
    size_t n = 0;
    if (*p != '"') {
        n = strcspn(p, " ");
        memcpy(value, p, n);
        *ret_n = n;
        return p + n;
    }
    for (p++; *p && *p != '"'; p++) {
        if (*p == '\\' && p[1])
            p++;
        value[n++] = *p;
    }
    *ret_n = n;
    return *p ? p + 1 : p;
}

static void put_fields(struct writer *w, const char *p)
{
    char value[LOG_LINE_SIZE], name[KEY_MAX + 16];
    while (*p) {
        p += strspn(p, " ");
        size_t n = strcspn(p, "= ");
        if (p[n] != '=' || n == 0) { /* not a field: it stays in MESSAGE */
            p += n + (p[n] == '=');
            continue;
        }
        field_name(p, n, name);
        p = read_value(p + n + 1, value, &n);
        put(w, name, value, n);
    }
}

size_t log_journal_format(const struct log_record *r, char out[LOG_DATAGRAM_SIZE])
{
    struct writer w = {out, 0};
    char message[LOG_LINE_SIZE];
    snprintf(message, sizeof message, "%s%s%s", r->event->name, r->fields[0] ? " " : "", r->fields);
    put_text(&w, "MESSAGE", message);
    put_text(&w, "MESSAGE_ID", r->event->message_id);
    put(&w, "PRIORITY", &"01234567"[r->level & 7], 1);
    put_text(&w, "SYSLOG_IDENTIFIER", "complaintd");
    put_text(&w, "COMPLAINTD_EVENT", r->event->name);
    if (r->process[0])
        put_text(&w, "COMPLAINTD_PROCESS", r->process);
    put_fields(&w, r->fields);
    return w.n;
}
