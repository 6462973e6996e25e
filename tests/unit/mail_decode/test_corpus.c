/* Every mail of the corpus, where there is one: $CD_CORPUS or ../shared/corpus beside the source tree.
 * Nothing may fail; where the corpus states what should be found, the share that is found is printed and may
 * not fall. */
#include "fixture.h"

#include <dirent.h>
#include <jansson.h>
#include <sys/stat.h>

struct group {
    const char *name;
    json_t *expected; /* NULL when there is none */
    unsigned mails, empty, degraded, subjects, subjects_right, senders, senders_right;
    unsigned bounces, bounces_right;
};

static char *corpus(void)
{
    const char *env = getenv("CD_CORPUS");
    char *path = env ? cd_asprintf("%s/mail", env) : cd_strdup(CD_SOURCE_DIR "/../shared/corpus/mail");
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return path;
    free(path);
    return NULL;
}

static struct decoded decode_file(const char *path)
{
    struct buf raw;
    char block[65536];
    size_t n;
    buf_init(&raw, CD_MIB(64));
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        buf_append(&raw, block, n);
    fclose(f);
    struct decoded d = decode_bytes(raw.len ? (const void *)raw.data : "", raw.len, NULL);
    buf_free(&raw);
    return d;
}

/* White space does not count: the sources of the expectations differ in how they unfold. */
static bool same_text(const char *a, const char *b)
{
    for (;; a++, b++) {
        while (*a && (unsigned char)*a <= ' ')
            a++;
        while (*b && (unsigned char)*b <= ' ')
            b++;
        if (*a != *b || !*a)
            return *a == *b;
    }
}

static const char *text_of(json_t *o, const char *a, const char *b)
{
    json_t *v = json_object_get(o, a);
    if (!v)
        v = json_object_get(o, b);
    return json_string_value(v);
}

static void compare(struct group *g, const char *name, const struct record *r)
{
    json_t *x = json_object_get(g->expected, name);
    if (json_is_array(x)) { /* the group of bounces: one entry for each recipient reported */
        const char *reason = text_of(json_array_get(x, 0), "reason", "");
        bool bounce = reason && !str_eq(reason, "vacation") && !str_eq(reason, "feedback");
        if (strstr(name, "not/") == name)
            return;
        g->bounces++;
        if (bounce ? r->cls == MC_BOUNCE : r->cls == MC_AUTO_REPLY || r->cls == MC_BOUNCE)
            g->bounces_right++;
        else
            print_message("  %s: %s expected, class %s\n", name, reason, message_class_name(r->cls));
        return;
    }
    const char *subject = text_of(x, "Subject", "subject");
    if (subject) {
        g->subjects++;
        if (same_text(subject, r->subject))
            g->subjects_right++;
        else
            print_message("  %s: subject [%s] expected, [%s] found\n", name, subject, r->subject);
    }
    json_t *from = json_object_get(x, "From");
    if (!from)
        from = json_object_get(x, "from_values");
    const char *email = text_of(from, "email", "");
    if (email && *email) {
        g->senders++;
        if (r->email && str_ieq(email, r->email))
            g->senders_right++;
        else
            print_message("  %s: sender [%s] expected, [%s] found\n", name, email, r->email ? r->email : "");
    }
}

static void walk(struct group *g, const char *root, const char *below)
{
    char *dir = cd_asprintf("%s/%s%s", root, g->name, below);
    struct dirent **list;
    int n = scandir(dir, &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        struct stat st;
        char *path = cd_asprintf("%s/%s", dir, list[i]->d_name);
        char *name = cd_asprintf("%s/%s", below, list[i]->d_name);
        size_t len = strlen(path);
        if (list[i]->d_name[0] != '.' && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
            walk(g, root, name);
        } else if (len > 4 && strcmp(path + len - 4, ".eml") == 0) {
            struct decoded d = decode_file(path);
            assert_int_equal(d.result, st.st_size > 0 ? 0 : CD_EINVAL);
            g->mails++;
            g->empty += d.r->text[0] == '\0';
            g->degraded += (d.r->flags & REC_DEGRADED) != 0;
            if (g->expected && json_object_get(g->expected, name + 1))
                compare(g, name + 1, d.r);
            done(&d);
        }
        free(path);
        free(name);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    free(dir);
}

static void every_mail(void **state CD_UNUSED)
{
    static const struct {
        const char *name;
        unsigned subjects, senders, bounces; /* least shares in per cent */
    } groups[] = {{"hunnysoft", 100, 100, 0}, {"ruby-mail", 95, 95, 0}, {"php-imap", 100, 0, 0},
                  {"php-mime", 100, 0, 0},    {"sisimai", 0, 0, 95},    {"mailcore", 0, 0, 0},
                  {"mimekit", 0, 0, 0},      {"jsmime", 0, 0, 0},      {"rt", 0, 0, 0}};
    char *root = corpus();
    if (!root) {
        print_message("no corpus: set CD_CORPUS to its folder; nothing was decoded\n");
        skip();
    }
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        struct group g = {.name = groups[i].name};
        char *path = cd_asprintf("%s/%s/expected.json", root, g.name);
        g.expected = json_load_file(path, 0, NULL);
        free(path);
        walk(&g, root, "");
        print_message("%-10s %3u mails, %u without text, %u degraded, subjects %u of %u, senders %u of %u, "
                      "bounces and auto-replies %u of %u\n",
                      g.name, g.mails, g.empty, g.degraded, g.subjects_right, g.subjects, g.senders_right,
                      g.senders, g.bounces_right, g.bounces);
        assert_true(g.mails > 0);
        assert_true(g.subjects_right * 100 >= g.subjects * groups[i].subjects);
        assert_true(g.senders_right * 100 >= g.senders * groups[i].senders);
        assert_true(g.bounces_right * 100 >= g.bounces * groups[i].bounces);
        json_decref(g.expected);
    }
    free(root);
}

/* Pairs of parts with one greeting, first in an old character set, then in UTF-8. */
static void pairs_of_charsets(void **state CD_UNUSED)
{
    char *root = corpus();
    if (!root)
        skip();
    char *path = cd_asprintf("%s/jsmime/charsets.eml", root);
    struct decoded d = decode_file(path);
    char *save = NULL, *text = cd_strdup(d.r->text), *first = NULL;
    unsigned n = 0, right = 0;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (n++ % 2 == 0)
            first = line;
        else
            right += same_text(first, line);
    }
    print_message("pairs of character sets: %u of %u alike\n", right, n / 2);
    assert_true(n >= 10);
    assert_int_equal(right, n / 2);
    free(text);
    done(&d);
    free(path);
    free(root);
}

/* ---- for tests/integration/test_corpus_facts.py ---- */

static json_t *text_or_null(const char *s)
{
    return s ? json_string(s) : json_null();
}

static json_t *attachments_of(const struct record *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->nattachments; i++) {
        const struct attachment *a = &r->attachments[i];
        char hex[2 * SHA256_SIZE + 1];
        hex_encode(a->sha256, SHA256_SIZE, hex);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:s, s:o, s:o}", "filename", a->filename, "type", a->content_type, "kind",
                                              attachment_kind_name(a->kind), "size", (json_int_t)a->size_bytes, "offset", (json_int_t)a->offset,
                                              "length", (json_int_t)a->length, "encoding", a->encoding, "sha256", hex, "magic",
                                              text_or_null(a->magic_type), "member", text_or_null(a->inner)));
    }
    return list;
}

/* A line of JSON for each file: what the decoder makes of it. */
static int dump(char **paths)
{
    if (mail_decode_prepare() < 0)
        return 1;
    for (; *paths; paths++) {
        struct decoded d = decode_file(*paths);
        json_t *o = json_pack("{s:s, s:o, s:o, s:s, s:s, s:b, s:b, s:o, s:o, s:s, s:o}", "path", *paths, "email", text_or_null(d.r->email), "name",
                              text_or_null(d.r->name), "subject", d.r->subject, "text", d.r->text, "html_only", (d.r->flags & REC_HTML_ONLY) != 0,
                              "degraded", (d.r->flags & REC_DEGRADED) != 0, "charset_note", text_or_null(d.r->charset_note), "security",
                              text_or_null(d.r->security), "class", message_class_name(d.r->cls), "attachments", attachments_of(d.r));
        char *line = json_dumps(o, JSON_COMPACT);
        puts(line);
        free(line);
        json_decref(o);
        done(&d);
    }
    return 0;
}

int main(int argc CD_UNUSED, char **argv)
{
    if (argv[1] && str_eq(argv[1], "--dump"))
        return dump(argv + 2);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_mail), cmocka_unit_test(pairs_of_charsets)};
    return cmocka_run_group_tests(tests, prepare, NULL);
}
