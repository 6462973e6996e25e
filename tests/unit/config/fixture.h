#pragma once
/* A temporary folder with configuration files, and what loading them gives. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"

static char folder[64];

static inline char *in_folder(const char *name)
{
    return cd_asprintf("%s/%s", folder, name);
}

static inline void put_bytes(const char *name, const char *text, size_t n)
{
    CD_CLEANUP_FREE char *path = in_folder(name);
    for (char *slash = strchr(path + strlen(folder) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

static inline void put(const char *name, const char *text)
{
    put_bytes(name, text, strlen(text));
}

#define POLICY                                                                                               \
    "policies:\n"                                                                                            \
    "  - name: standard\n"                                                                                   \
    "    calendar: always\n"                                                                                 \
    "    targets:\n"                                                                                         \
    "      critical: {acknowledge: 15min, first_response: 1h, resolve: 1d}\n"                                \
    "      high: {acknowledge: 1h, first_response: 4h, resolve: 3d}\n"                                       \
    "      normal: {acknowledge: 4h, first_response: 1d, resolve: 7d}\n"                                     \
    "      low: {acknowledge: 1d, first_response: 2d, resolve: 14d}\n"

#define CONFIG                                                                                               \
    "mail: {from: care@example.com}\n"                                                                       \
    "desks: [{name: care, addresses: [Care@Example.com]}]\n"                                                 \
    "teams: [{name: general, mail: team@example.com}]\n"                                                     \
    "policies: [policies/*.yaml]\n"                                                                          \
    "calendars: [calendars/*.yaml]\n"                                                                        \
    "templates: templates\n"
#define CONFIG_LINES 6 /* what is put behind it begins in the next */

static inline int remove_one(const char *path, const struct stat *st CD_UNUSED, int type CD_UNUSED,
                             struct FTW *ftw CD_UNUSED)
{
    return remove(path);
}

static inline int folder_make(void **state CD_UNUSED)
{
    snprintf(folder, sizeof folder, "/tmp/cd-config-XXXXXX");
    assert_non_null(mkdtemp(folder));
    put("policies/standard.yaml", POLICY);
    put("calendars/always.yaml", "calendars: [{name: always, zone: UTC, always: true}]\n");
    put("templates/acknowledgement.mail.en.txt",
        "Subject: Your complaint {{ref}}\r\n\r\nWe have it, {{name}}.\r\n\r\n");
    put("templates/acknowledgement.sms.en.txt", "Complaint {{ref}}.\n");
    put("templates/escalation.mail.en.txt", "Subject: {{ref}} is late\n\nLevel {{level}}\n");
    put("templates/escalation.sms.en.txt", "{{ref}} level {{level}}\n");
    put("templates/reply.mail.en.txt", "Subject: Re: {{ref}}\n\n{{text}}\n");
    put("templates/reply.sms.en.txt", "{{ref}}: {{text}}\n");
    put("templates/waiting.mail.en.txt", "Subject: {{ref}} waits no longer\n\n{{team}}\n");
    put("templates/waiting.sms.en.txt", "{{ref}} waits no longer\n");
    put("templates/undeliverable.mail.en.txt", "Subject: {{ref}} came back\n\n{{address}}: {{error}}\n");
    put("templates/undeliverable.sms.en.txt", "{{ref}}: {{address}} came back\n");
    put("templates/assigned.mail.en.txt", "Subject: {{ref}} is yours\n\n{{category}}\n");
    put("templates/assigned.sms.en.txt", "{{ref}} is yours\n");
    return 0;
}

static inline int folder_remove(void **state CD_UNUSED)
{
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline struct config *load_file(const char *name, struct faults *f)
{
    CD_CLEANUP_FREE char *path = in_folder(name);
    return config_load(path, f);
}

/* Loads `text` as the configuration file; there must be no fault. */
static inline struct config *load_good(const char *text)
{
    struct faults f = {0};
    put("c.yaml", text);
    struct config *c = load_file("c.yaml", &f);
    if (!c) {
        struct buf out;
        buf_init(&out, CD_MIB(1));
        faults_print(&f, &out);
        fail_msg("%s", buf_str(&out));
    }
    assert_int_equal(f.n, 0);
    faults_free(&f);
    return c;
}

/* The report on what is in the folder, the folder's name left out; free it. */
static inline char *report(void)
{
    struct faults f = {0};
    struct buf out, cut;
    buf_init(&out, CD_MIB(1));
    buf_init(&cut, CD_MIB(1));
    assert_null(load_file("c.yaml", &f));
    faults_print(&f, &out);
    CD_CLEANUP_FREE char *prefix = cd_asprintf("%s/", folder);
    for (const char *p = buf_str(&out); *p;) {
        if (strncmp(p, prefix, strlen(prefix)) == 0)
            p += strlen(prefix);
        else
            buf_append_char(&cut, *p++);
    }
    buf_free(&out);
    faults_free(&f);
    return buf_steal(&cut);
}

static inline void assert_report(const char *expected)
{
    CD_CLEANUP_FREE char *r = report();
    assert_string_equal(r, expected);
}

static inline void assert_faults(const char *text, const char *expected)
{
    put("c.yaml", text);
    assert_report(expected);
}
