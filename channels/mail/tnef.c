/* What libytnef makes of a sieved stream, as members and text. The struct owns the library's structure and its own
 * copies of names and text; members' bytes are the library's. */
#include "channels/mail/tnef.h"

#include <stdio.h>
#include <string.h>
#include <ytnef.h>

#include "channels/mail/charset.h"
#include "daemon/core/str.h"

#define MAX_TEXT CD_MIB(8)
#define MAX_NAME 1000

static variableLength *find(MAPIProps *props, unsigned type, unsigned id)
{
    variableLength *v = MAPIFindProperty(props, PROP_TAG(type, id));
    return v == MAPI_UNDEFINED || !v || !v->data || v->size <= 0 ? NULL : v;
}

/* A short text whatever its form; NULL when absent. `codepage` for those of eight bits. */
static char *short_text(MAPIProps *props, unsigned id, const char *codepage)
{
    struct charset_note note;
    variableLength *v = find(props, PT_OBJECT, id);
    const char *charset = v ? "utf-16le" : codepage;
    if (!v)
        v = find(props, PT_STRING8, id);
    if (!v)
        return NULL;
    size_t n = CD_MIN((size_t)v->size, (size_t)MAX_NAME * 2);
    char *s = charset_to_utf8(charset, v->data, n, NULL, &note);
    s[utf8_cut(s, CD_MIN(strlen(s), (size_t)MAX_NAME))] = '\0';
    if (!*s) {
        free(s);
        return NULL;
    }
    return s;
}

/* Names of code pages as a mail would declare them. */
static void codepage_name(uint32_t cp, char out[24])
{
    static const struct {
        uint32_t number;
        const char *name;
    } names[] = {{20127, "us-ascii"}, {65001, "utf-8"},       {20866, "koi8-r"},      {21866, "koi8-u"}, {28591, "iso-8859-1"}, {28592, "iso-8859-2"},
                 {28605, "iso-8859-15"}, {50220, "iso-2022-jp"}, {50221, "iso-2022-jp"}, {51932, "euc-jp"}, {51949, "euc-kr"},     {54936, "gb18030"},
                 {1200, "utf-16le"}};
    snprintf(out, 24, "%s", "windows-1252");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].number == cp) {
            snprintf(out, 24, "%s", names[i].name);
            return;
        }
    if (cp > 0 && cp <= 1300)
        snprintf(out, 24, "cp%u", (unsigned)cp);
}

static void take_member(struct tnef *t, Attachment *a, const char *codepage)
{
    struct charset_note note;
    struct tnef_member *m = &t->members[t->nmembers++];
    *m = (struct tnef_member){.name = short_text(&a->MAPI, PR_ATTACH_LONG_FILENAME, codepage),
                              .type = short_text(&a->MAPI, PR_ATTACH_MIME_TAG, codepage),
                              .content_id = short_text(&a->MAPI, PR_ATTACH_CONTENT_ID, codepage)};
    if (!m->name && a->Title.data)
        m->name = charset_to_utf8(codepage, a->Title.data, CD_MIN((size_t)a->Title.size, (size_t)MAX_NAME), NULL, &note);
    if (!m->name)
        m->name = short_text(&a->MAPI, PR_ATTACH_FILENAME, codepage);
    m->data = a->FileData.data;
    m->n = a->FileData.data ? (size_t)a->FileData.size : 0;
    if (m->data)
        return;
    variableLength *v = find(&a->MAPI, PT_BINARY, PR_ATTACH_DATA_OBJ);
    size_t skip = 0;
    if (!v && (v = find(&a->MAPI, PT_OBJECT, PR_ATTACH_DATA_OBJ)) != NULL)
        skip = CD_MIN((size_t)v->size, (size_t)TNEF_IID_SIZE);
    if (v) {
        m->data = v->data + skip;
        m->n = (size_t)v->size - skip;
    }
}

static void set_text(struct tnef *t, enum tnef_text form, const variableLength *v, const char *charset)
{
    size_t n = CD_MIN((size_t)v->size, (size_t)MAX_TEXT);
    t->form = form;
    t->over_budget |= n < (size_t)v->size;
    t->text = cd_alloc(n + 1);
    memcpy(t->text, v->data, n);
    bool wide = str_eq(charset, "utf-16le");
    while (!wide && n > 0 && t->text[n - 1] == 0)
        n--;
    t->ntext = n;
    snprintf(t->charset, sizeof t->charset, "%s", charset);
}

/* The plainest form there is. */
static void take_text(struct tnef *t, TNEFStruct *s, const char *codepage)
{
    static const struct {
        unsigned id;
        enum tnef_text form;
    } forms[] = {{PR_BODY, TNEF_PLAIN}, {PR_BODY_HTML, TNEF_HTML}};
    MAPIProps *props = &s->MapiProperties;
    char html_set[24];
    variableLength *v = find(props, PT_LONG, PR_INTERNET_CPID);
    snprintf(html_set, sizeof html_set, "%s", codepage);
    if (v && v->size >= 4)
        codepage_name(v->data[0] | (uint32_t)v->data[1] << 8 | (uint32_t)v->data[2] << 16 | (uint32_t)v->data[3] << 24, html_set);
    if (s->body.data && s->body.size > 1) {
        set_text(t, TNEF_PLAIN, &s->body, codepage);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if ((v = find(props, PT_OBJECT, forms[i].id)) != NULL) {
            set_text(t, forms[i].form, v, "utf-16le");
            return;
        }
        if ((v = find(props, PT_STRING8, forms[i].id)) != NULL || (v = find(props, PT_BINARY, forms[i].id)) != NULL) {
            set_text(t, forms[i].form, v, forms[i].form == TNEF_HTML ? html_set : codepage);
            return;
        }
    }
    if ((v = find(props, PT_BINARY, PR_RTF_COMPRESSED)) != NULL) {
        t->text = tnef_unpack_rtf(v->data, (size_t)v->size, MAX_TEXT, &t->ntext);
        t->form = t->text ? TNEF_RTF : TNEF_NO_TEXT;
        t->damaged |= !t->text;
        snprintf(t->charset, sizeof t->charset, "%s", codepage);
    }
}

struct tnef *tnef_open(const void *p, size_t n)
{
    struct tnef *t = cd_alloc(sizeof *t);
    TNEFStruct *s = cd_alloc(sizeof *s);
    struct buf clean;
    char codepage[24] = "windows-1252";
    buf_init(&clean, n + CD_KIB(8));
    TNEFInitialize(s);
    t->own = s;
    if (!tnef_sieve(p, n, &clean, t) || TNEFParseMemory(clean.data, (long)clean.len, s) < 0) {
        buf_free(&clean);
        tnef_close(&t);
        return NULL;
    }
    buf_free(&clean);
    if (s->CodePage.data && s->CodePage.size >= 4)
        codepage_name(s->CodePage.data[0] | (uint32_t)s->CodePage.data[1] << 8 | (uint32_t)s->CodePage.data[2] << 16 |
                          (uint32_t)s->CodePage.data[3] << 24,
                      codepage);
    t->members = cd_alloc(TNEF_MAX_MEMBERS * sizeof *t->members);
    for (Attachment *a = s->starting_attach.next; a && t->nmembers < TNEF_MAX_MEMBERS; a = a->next)
        take_member(t, a, codepage);
    take_text(t, s, codepage);
    return t;
}

void tnef_close(struct tnef **tp)
{
    struct tnef *t = *tp;
    if (!t)
        return;
    *tp = NULL;
    for (size_t i = 0; i < t->nmembers; i++) {
        free(t->members[i].name);
        free(t->members[i].type);
        free(t->members[i].content_id);
    }
    free(t->members);
    free(t->text);
    TNEFFree(t->own);
    free(t->own);
    free(t);
}
