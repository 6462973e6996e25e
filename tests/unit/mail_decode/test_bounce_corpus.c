/* What is found in the bounces and automatic replies of the corpus (its folder sisimai), against what that states: class, recipient by
 * recipient status and reason; and in all its other groups, that no mail of a person is called automatic. Shares are printed and may not
 * fall; a mail that cannot be read counts as a miss. Where there is no corpus it says so and skips.
 * A status of the form X.0.9nn is one that the corpus's authors made up where the report holds none: then only its first digit counts. */
#include "fixture.h"

#include <dirent.h>
#include <jansson.h>
#include <sys/stat.h>

struct share {
    unsigned right, of;
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

/* As it came: reverse-path from its own Return-Path. */
static bool read_mail(const char *path, struct decoded *d)
{
    struct buf raw;
    char block[65536];
    size_t n;
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    buf_init(&raw, CD_MIB(64));
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        buf_append(&raw, block, n);
    fclose(f);
    *d = decode_bytes(raw.len ? (const void *)raw.data : "", raw.len, NULL);
    buf_free(&raw);
    return true;
}

static void tell(const char *what, struct share s)
{
    print_message("%-34s %3u of %3u, %5.1f %%\n", what, s.right, s.of, s.of ? 100.0 * s.right / s.of : 100.0);
}

static void count(struct share *s, bool right)
{
    s->of++;
    s->right += right;
}

struct scores {
    struct share bounces, replies, statuses, made_up, recipients, reasons;
    unsigned unreadable;
};

static const char *our_reason(const char *theirs)
{
    static const char *const pairs[][2] = {{"userunknown", "user-unknown"}, {"mailboxfull", "mailbox-full"}, {"suspend", "suspended"},
                                           {"hostunknown", "host-unknown"}, {"expired", "expired"},          {"blocked", "blocked"},
                                           {"policyviolation", "policy"},   {"toomanyconn", "rate-limited"}, {"authfailure", "authentication"},
                                           {"mailererror", "system"}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if (str_eq(theirs, pairs[i][0]))
            return pairs[i][1];
    return NULL; /* no word of ours for it: "filtered" is what a user unknown looks like behind some doors */
}

static void compare(const char *name, const json_t *expected, const struct record *r, struct scores *s)
{
    size_t i;
    json_t *x;
    const char *first = json_string_value(json_object_get(json_array_get(expected, 0), "reason"));
    if (str_eq(first, "vacation") || str_eq(first, "feedback")) {
        count(&s->replies, r->cls == MC_AUTO_REPLY);
        if (r->cls != MC_AUTO_REPLY)
            print_message("  %s: %s, class %s\n", name, first, message_class_name(r->cls));
        return;
    }
    count(&s->bounces, r->cls == MC_BOUNCE);
    if (r->cls != MC_BOUNCE)
        print_message("  %s: a bounce, class %s\n", name, message_class_name(r->cls));
    count(&s->recipients, r->nbounces == json_array_size(expected));
    if (r->nbounces != json_array_size(expected))
        print_message("  %s: %zu recipients, %zu expected\n", name, r->nbounces, json_array_size(expected));
    json_array_foreach(expected, i, x) {
        const char *status = json_string_value(json_object_get(x, "dsn")), *reason = our_reason(json_string_value(json_object_get(x, "reason")));
        const struct bounce *b = i < r->nbounces ? &r->bounces[i] : NULL;
        bool invented = strlen(status) > 5 && strncmp(status + 1, ".0.9", 4) == 0;
        bool right = b && b->status && (invented ? b->status[0] == status[0] : str_eq(b->status, status));
        count(invented ? &s->made_up : &s->statuses, right);
        if (!right)
            print_message("  %s: status %s expected, %s\n", name, status, b && b->status ? b->status : "-");
        if (!reason)
            continue;
        count(&s->reasons, b && str_eq(b->reason, reason));
        if (!b || !str_eq(b->reason, reason))
            print_message("  %s: reason %s expected, %s\n", name, reason, b && b->reason ? b->reason : "-");
    }
}

static void bounces_of_the_world(void **state CD_UNUSED)
{
    char *root = corpus();
    const char *name;
    json_t *expected;
    struct scores s = {0};
    if (!root) {
        print_message("no corpus: set CD_CORPUS to its folder; nothing was read\n");
        skip();
    }
    char *path = cd_asprintf("%s/sisimai/expected.json", root);
    json_t *all = json_load_file(path, 0, NULL);
    free(path);
    assert_true(json_object_size(all) >= 70);
    json_object_foreach(all, name, expected) {
        struct decoded d;
        path = cd_asprintf("%s/sisimai/%s", root, name);
        bool there = read_mail(path, &d);
        if (!there) {
            struct record *nothing = record_new();
            print_message("  %s: not readable, a miss\n", name);
            compare(name, expected, nothing, &s);
            record_free(&nothing);
            s.unreadable++;
        } else {
            compare(name, expected, d.r, &s);
            done(&d);
        }
        free(path);
    }
    json_decref(all);
    tell("bounces found", s.bounces);
    tell("automatic replies and reports found", s.replies);
    tell("number of recipients right", s.recipients);
    tell("status right, where one is stated", s.statuses);
    tell("first digit right, where none is", s.made_up);
    tell("reason right, where we have a word", s.reasons);
    print_message("not readable: %u\n", s.unreadable);
    assert_true(s.bounces.right * 100 >= s.bounces.of * 99);
    assert_true(s.replies.right * 100 >= s.replies.of * 98);
    assert_true(s.statuses.right * 100 >= s.statuses.of * 95);
    assert_true(s.made_up.right * 100 >= s.made_up.of * 95);
    assert_true(s.recipients.right * 100 >= s.recipients.of * 95);
    assert_true(s.reasons.right * 100 >= s.reasons.of * 85);
    free(root);
}

/* A mail that says of itself that it is none of a person's. Looked for in the raw text, apart from the classifier. */
static bool says_so(const struct envelope *e)
{
    static const char *const words[] = {"\nAuto-Submitted:", "\nPrecedence:", "\nList-", "\nMailing-List:", "multipart/report", "message/delivery-status",
                                        "MAILER-DAEMON", "\nX-Autoreply", "\nX-Auto-Response-Suppress:", "\nReturn-Path: <>", "disposition-notification",
                                        "\nX-Loop:", "\nX-Failed-Recipients:"};
    char *raw = cd_strndup((const char *)e->raw.data, e->raw.len), *end = strstr(raw, "\r\n\r\n");
    bool found = false;
    if (!end)
        end = strstr(raw, "\n\n");
    if (end)
        *end = '\0';
    for (size_t i = 0; i < ARRAY_LEN(words) && !found; i++)
        found = strcasestr(raw, words[i]) != NULL;
    free(raw);
    return found;
}

static void walk(const char *dir, struct share *persons, unsigned *automatic)
{
    struct dirent **list;
    int n = scandir(dir, &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        struct stat st;
        struct decoded d;
        char *path = cd_asprintf("%s/%s", dir, list[i]->d_name);
        size_t len = strlen(path);
        if (list[i]->d_name[0] != '.' && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
            walk(path, persons, automatic);
        } else if (len > 4 && strcmp(path + len - 4, ".eml") == 0 && read_mail(path, &d)) {
            if (d.result == 0 && says_so(d.e)) {
                (*automatic)++;
            } else if (d.result == 0) {
                count(persons, d.r->cls == MC_PERSON);
                if (d.r->cls != MC_PERSON)
                    print_message("  %s: class %s, by %s\n", path, message_class_name(d.r->cls), d.r->signals.n ? d.r->signals.v[0] : "-");
            }
            done(&d);
        }
        free(path);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
}

static void persons_stay_persons(void **state CD_UNUSED)
{
    static const char *const groups[] = {"ruby-mail", "hunnysoft", "php-imap", "php-mime", "mailcore", "mimekit", "jsmime", "rt", "sisimai/not"};
    char *root = corpus();
    struct share persons = {0};
    unsigned automatic = 0;
    if (!root)
        skip();
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        char *dir = cd_asprintf("%s/%s", root, groups[i]);
        walk(dir, &persons, &automatic);
        free(dir);
    }
    tell("mails of persons that stay theirs", persons);
    print_message("mails that name themselves automatic: %u\n", automatic);
    assert_true(persons.of >= 200);
    assert_int_equal(persons.right, persons.of);
    free(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bounces_of_the_world), cmocka_unit_test(persons_stay_persons)};
    return cmocka_run_group_tests(tests, prepare, NULL);
}
