/* What a mail says about who brought it, read from the two fields that we wrote in front of it ourselves: an envelope that waited in the
 * database has them as well, and a stored message too. scan_mail_free() frees what scan_mail_read() made. */
#include <string.h>

#include "daemon/intake/headers.h"
#include "daemon/scan/scan.h"

/* "<address>" */
static char *path_of(const char *s)
{
    size_t n = strlen(s);
    return n >= 2 && s[0] == '<' && s[n - 1] == '>' ? cd_strndup(s + 1, n - 2) : NULL;
}

/* "from HELO ([IPv6:ADDRESS]) …" or "from HELO (local) …", then "by HOST with PROTOCOL id …" */
static bool read_received(const char *s, struct scan_mail *m)
{
    if (!str_starts(s, "from "))
        return false;
    s += strlen("from ");
    size_t n = strcspn(s, " ");
    m->helo = cd_strndup(s, n);
    s += n;
    if (str_starts(s, " (local)")) {
        s += strlen(" (local)");
    } else if (str_starts(s, " ([")) {
        s += strlen(" ([");
        if (str_starts(s, "IPv6:"))
            s += strlen("IPv6:");
        n = strcspn(s, "])");
        m->client = cd_strndup(s, n);
        if (!str_starts(s + n, "])"))
            return false;
        s += n + 2;
    } else {
        return false;
    }
    const char *with = strstr(s, " with ");
    if (!with)
        return false;
    with += strlen(" with ");
    m->lmtp = memmem(with, strcspn(with, " "), "LMTP", 4) != NULL;
    return true;
}

bool scan_mail_read(const struct buf *raw, const struct uuid *id, const struct strlist *recipients, struct scan_mail *ret)
{
    struct headers_scan s;
    struct headers_field f;
    struct buf value;
    char text[UUID_TEXT_SIZE];
    bool ok = false;
    *ret = (struct scan_mail){.recipients = recipients};
    buf_init(&value, CD_KIB(8));
    headers_scan_init(&s, raw->data, raw->len);
    if (headers_next(&s, &f) && headers_is(&f, "Return-Path")) {
        headers_value(&f, &value);
        ret->from = value.failed ? NULL : path_of(buf_str(&value));
    }
    buf_reset(&value);
    if (ret->from && headers_next(&s, &f) && headers_is(&f, "Received")) {
        headers_value(&f, &value);
        ok = !value.failed && read_received(buf_str(&value), ret);
    }
    buf_free(&value);
    if (!ok) {
        scan_mail_free(ret);
        return false;
    }
    ret->text = s.p;
    ret->n = raw->len - (size_t)(s.p - (const char *)raw->data);
    uuid_format(id, text);
    ret->id = cd_strdup(text);
    return true;
}

void scan_mail_free(struct scan_mail *m)
{
    free(m->id);
    free(m->from);
    free(m->helo);
    free(m->client);
    *m = (struct scan_mail){0};
}

bool scan_mail_from_front(const struct config *c, const struct scan_mail *m)
{
    return m->lmtp || !m->client || config_in_networks(c->scan_authserv_from, c->nscan_authserv_from, m->client);
}

static bool is_trusted(const struct config *c, const char *server)
{
    for (size_t i = 0; i < c->scan_trusted_authserv_ids.n; i++)
        if (str_ieq(c->scan_trusted_authserv_ids.v[i], server))
            return true;
    return false;
}

/* Of several fields the upper one is the later one. A check that failed anywhere is not made good by another field, so that one which the
 * server in front should have removed and did not can only do harm to its own mail. */
static enum auth_verdict both(enum auth_verdict upper, enum auth_verdict lower)
{
    return upper == AUTH_FAIL || lower == AUTH_FAIL ? AUTH_FAIL : upper == AUTH_NONE ? lower : upper;
}

void scan_auth_take(const struct config *c, const struct scan_mail *m, const struct auth_result *v, size_t n, struct scan_auth *ret)
{
    if (!scan_mail_from_front(c, m))
        return;
    for (size_t i = 0; i < n; i++) {
        if (!v[i].server || !is_trusted(c, v[i].server))
            continue;
        if (!ret->known) {
            *ret = (struct scan_auth){.known = true};
            size_t len = utf8_cut(v[i].server, CD_MIN(strlen(v[i].server), sizeof ret->by - 1));
            memcpy(ret->by, v[i].server, len);
        }
        ret->spf = both(ret->spf, v[i].spf);
        ret->dkim = both(ret->dkim, v[i].dkim);
        ret->dmarc = both(ret->dmarc, v[i].dmarc);
        ret->arc = both(ret->arc, v[i].arc);
    }
}
