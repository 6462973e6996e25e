/* Reply bodies with answers, where there are any: $CD_CORPUS or ../shared/corpus beside the source tree, mail/reply-trim. Each goes through
 * the decoder as the body of a mail; what is new must be what the answer says, white space aside. The share is printed and may not fall. */
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "reply_check.h"

#define FLOOR_PERCENT 93

static char *read_text(const char *folder, const char *kind, const char *name)
{
    char *path = cd_asprintf("%s/%s/%s", folder, kind, name), block[65536];
    FILE *f = fopen(path, "rb");
    struct buf b;
    size_t n;
    free(path);
    if (!f)
        return NULL;
    buf_init(&b, CD_MIB(4));
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        buf_append(&b, block, n);
    fclose(f);
    char *s = buf_steal(&b);
    return s ? s : cd_strdup("");
}

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

static bool is_right(const char *body, const char *want)
{
    char *raw = cd_asprintf("From: Ann <anna@example.net>\nTo: care@example.com\nSubject: Re: x\nMIME-Version: 1.0\n"
                            "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n%s",
                            body);
    struct decoded d = decode(raw);
    assert_int_equal(d.result, 0);
    bool right = same_text(d.r->text_new ? d.r->text_new : d.r->text, want);
    if (d.r->text_new) {
        struct buf new_text, quoted;
        buf_init(&new_text, CD_MIB(4));
        buf_init(&quoted, CD_MIB(4));
        buf_append_str(&new_text, d.r->text_new);
        buf_append_str(&quoted, d.r->text_quoted);
        assert_true(reply_check_whole(d.r->text, strlen(d.r->text), &new_text, &quoted));
        buf_free(&new_text);
        buf_free(&quoted);
    }
    done(&d);
    free(raw);
    return right;
}

static void visible_text_of_replies(void **state CD_UNUSED)
{
    const char *env = getenv("CD_CORPUS");
    char *folder = env ? cd_asprintf("%s/mail/reply-trim", env) : cd_strdup(CD_SOURCE_DIR "/../shared/corpus/mail/reply-trim");
    char *emails = cd_asprintf("%s/emails", folder);
    unsigned total = 0, right = 0, skipped = 0;
    DIR *dir = opendir(emails);
    struct dirent *e;
    free(emails);
    if (!dir) {
        printf("  no replies under %s: not run\n", folder);
        free(folder);
        skip();
    }
    while ((e = readdir(dir)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        char *body = read_text(folder, "emails", e->d_name), *want = read_text(folder, "trimmed", e->d_name);
        bool good = body && want && is_right(body, want);
        total++;
        right += good;
        skipped += !body || !want;
        if (!good)
            printf("  %s: %s\n", body && want ? "missed" : "skipped, counts as missed", e->d_name);
        free(body);
        free(want);
    }
    closedir(dir);
    printf("  visible reply text: %u of %u (%.1f %%), skipped %u\n", right, total, 100.0 * right / CD_MAX(total, 1u), skipped);
    assert_true(total > 0 && right * 100 >= total * FLOOR_PERCENT);
    free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(visible_text_of_replies)};
    return cmocka_run_group_tests(tests, prepare, NULL);
}
