/* Fuzz target: loading a configuration. The first byte says which file of a small, sound configuration the rest replaces: the main
 * file, rules, policies, calendars or a template. Whatever it holds, loading ends in a tree or in faults that can be printed.
 *
 * Slashes are taken away from the main file except behind a letter or digit, so that no pattern leads out of the folder. */
#include "tests/fuzz/config_folder.h"

#include <ctype.h>

#define FUZZED_PARTS 5

static void keep_inside(char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] == '/' && (i == 0 || !isalnum((unsigned char)s[i - 1])))
            s[i] = '_';
}

/* Somebody may hand in complaints, and they need a desk. */
static bool config_needs_desk(const struct config *c)
{
    return config_takes_mail(c) || c->nhttp_listen || c->nclients || c->nsms_providers;
}

static void load(const char *name)
{
    struct faults f = {0};
    struct buf out;
    char path[400];
    snprintf(path, sizeof path, "%s/%s", config_folder, name);
    struct config *c = config_load(path, &f);
    FUZZ_CHECK(c ? f.n == 0 : f.n > 0);
    buf_init(&out, CD_MIB(4));
    faults_print(&f, &out);
    FUZZ_CHECK(!out.failed && utf8_valid(buf_str(&out), out.len) && strlen(buf_str(&out)) == out.len);
    for (size_t i = 0; i < f.n; i++)
        FUZZ_CHECK(f.v[i].file && f.v[i].text && *f.v[i].text && !fuzz_has_control(f.v[i].text));
    fuzz_good = c;
    if (c)
        FUZZ_CHECK(strlen(c->hash) == 16 && c->files.n > 0 && (c->ndesks > 0 || !config_needs_desk(c)));
    buf_free(&out);
    faults_free(&f);
    config_free(&c);
}

int LLVMFuzzerInitialize(int *argc CD_UNUSED, char ***argv CD_UNUSED)
{
    config_folder_make();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz_in in = {data, n};
    size_t which = fuzz_u8(&in) % FUZZED_PARTS;
    char *text = malloc(in.n + 1);
    if (in.n)
        memcpy(text, in.p, in.n);
    if (which == 0)
        keep_inside(text, in.n);
    config_put(config_parts[which].name, text, in.n);
    load("c.yaml");
    config_put(config_parts[which].name, config_parts[which].text, strlen(config_parts[which].text));
    free(text);
    return 0;
}
