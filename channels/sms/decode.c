/* Reads an SMS in the triage worker: the form of the provider's webhook becomes the record. Pure; the record
 * is the caller's, on failure it may be filled in part. */
#include <stdio.h>
#include <string.h>

#include "channels/sms/form.h"
#include "channels/sms/sms_private.h"
#include "daemon/core/err.h"
#include "daemon/intake/handle.h"
#include "daemon/intake/language.h"

#define MEDIA_MAX 10

static void set(char **field, char *value)
{
    free(*field);
    *field = value;
}

static char *value_of(const struct form *f, const char *name)
{
    const struct form_pair *p = form_find(f, name);

    return p ? utf8_clean(p->value, p->nvalue, NULL) : cd_strdup("");
}

/* What was attached stays with the provider: the text says where. */
static char *text_of(const struct form *f)
{
    CD_CLEANUP_FREE char *body = value_of(f, "Body");
    struct buf b;

    buf_init(&b, RECORD_MAX_TEXT);
    buf_append_str(&b, body);
    for (int i = 0; i < MEDIA_MAX; i++) {
        char name[32];
        snprintf(name, sizeof name, "MediaUrl%d", i);
        CD_CLEANUP_FREE char *url = value_of(f, name);
        snprintf(name, sizeof name, "MediaContentType%d", i);
        CD_CLEANUP_FREE char *type = value_of(f, name);
        if (url[0])
            buf_printf(&b, "%s[attachment: %s %s]", b.len ? "\n" : "", type[0] ? type : "unknown", url);
    }
    if (b.len)
        return buf_steal(&b);
    buf_free(&b);
    return cd_strdup("");
}

/* A word by which carriers let people opt out, alone: nothing automatic may be sent back, the provider would
 * refuse it. */
static bool is_opt_out(const char *body)
{
    static const char *const words[] = {"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END",
                                        "QUIT", "OPTOUT",  "REVOKE",      "TD",     "退订"};
    size_t from = strspn(body, " \t\r\n"), n = strlen(body);

    while (n > from && strchr(" \t\r\n.", body[n - 1]))
        n--;
    CD_CLEANUP_FREE char *word = cd_strndup(body + from, n - from);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_ieq(word, words[i]))
            return true;
    return false;
}

int sms_decode(const struct envelope *e, struct record *r)
{
    struct form *f;
    int rc = form_parse(e->raw.data, e->raw.len, &f);

    if (rc < 0)
        return rc;
    CD_CLEANUP_FREE char *from = value_of(f, "From");
    CD_CLEANUP_FREE char *body = value_of(f, "Body");
    r->cls = MC_PERSON;
    set(&r->subject, cd_strdup(""));
    set(&r->text, text_of(f));
    set(&r->phone, phone_normalize(from, NULL));
    set(&r->language, cd_strdup(language_guess("", body)));
    if (is_opt_out(body)) {
        r->flags |= REC_NO_AUTO_ANSWER;
        set(&r->no_answer_reason, cd_strdup("opt-out word"));
    }
    r->nrefs = ref_find(r->text, strlen(r->text), r->refs, RECORD_MAX_REFS);
    form_free(&f);
    return 0;
}
