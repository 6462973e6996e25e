#pragma once
/* A small, sound configuration in a folder of its own, which goes when the process ends by exit(). For one target each. */
#include "tests/fuzz/fuzz.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"

static char config_folder[256];

/* The first is the main file. */
static const struct config_part {
    const char *name, *text;
} config_parts[] = {
    {"c.yaml", "mail: {from: care@example.com}\n"
               "desks: [{name: care, addresses: [care@example.com]}]\n"
               "teams: [{name: general, mail: team@example.com}]\n"
               "categories: [{name: billing}]\n"
               "policies: [policies/p.yaml]\ncalendars: [calendars/c.yaml]\nrules: [rules/r.yaml]\ntemplates: templates\n"},
    {"rules/r.yaml", "rules: [{id: refund, when: {any: [refund]}, then: {category: billing}}]\n"},
    {"policies/p.yaml", "policies:\n- name: standard\n  calendar: always\n  targets:\n"
                        "    critical: {acknowledge: 15min, first_response: 1h, resolve: 1d}\n"
                        "    high: {acknowledge: 1h, first_response: 4h, resolve: 3d}\n"
                        "    normal: {acknowledge: 4h, first_response: 1d, resolve: 7d}\n"
                        "    low: {acknowledge: 1d, first_response: 2d, resolve: 14d}\n"},
    {"calendars/c.yaml", "calendars: [{name: always, zone: UTC, always: true}]\n"},
    {"templates/acknowledgement.mail.en.txt", "Subject: Your complaint {{ref}}\n\nWe have it, {{name}}.\n"},
    {"templates/acknowledgement.sms.en.txt", "Complaint {{ref}}.\n"},
    {"templates/escalation.mail.en.txt", "Subject: {{ref}} is late\n\nLevel {{level}}\n"},
    {"templates/escalation.sms.en.txt", "{{ref}} level {{level}}\n"},
    {"templates/undeliverable.mail.en.txt", "Subject: {{ref}} came back\n\n{{address}}: {{error}}\n"},
    {"templates/undeliverable.sms.en.txt", "{{ref}}: {{address}} came back\n"},
    {"templates/assigned.mail.en.txt", "Subject: {{ref}} is yours\n\n{{category}}\n"},
    {"templates/assigned.sms.en.txt", "{{ref}} is yours\n"},
    {"templates/reply.mail.en.txt", "Subject: Re: {{ref}}\n\n{{text}}\n"},
    {"templates/reply.sms.en.txt", "{{ref}}: {{text}}\n"},
    {"templates/waiting.mail.en.txt", "Subject: {{ref}} waits no longer\n\n{{team}}\n"},
    {"templates/waiting.sms.en.txt", "{{ref}} waits no longer\n"},
};

CD_UNUSED static void config_put(const char *name, const void *text, size_t n)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", config_folder, name);
    unlink(path); /* ext4 writes a file that was cut to nothing out at once: a hundred runs a second instead of thousands */
    FILE *f = fopen(path, "we");
    FUZZ_CHECK(f && fwrite(text, 1, n, f) == n && fclose(f) == 0);
}

CD_UNUSED static int config_remove_one(const char *path, const struct stat *st CD_UNUSED, int type CD_UNUSED,
                                       struct FTW *ftw CD_UNUSED)
{
    return remove(path);
}

CD_UNUSED static void config_folder_remove(void)
{
    nftw(config_folder, config_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

CD_UNUSED static void config_folder_make(void)
{
    static const char *const below[] = {"rules", "policies", "calendars", "templates"};
    const char *tmp = getenv("TMPDIR");
    char path[400];
    snprintf(config_folder, sizeof config_folder, "%s/cd-fuzz-config-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    FUZZ_CHECK(mkdtemp(config_folder));
    atexit(config_folder_remove);
    for (size_t i = 0; i < ARRAY_LEN(below); i++) {
        snprintf(path, sizeof path, "%s/%s", config_folder, below[i]);
        FUZZ_CHECK(mkdir(path, 0700) == 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(config_parts); i++)
        config_put(config_parts[i].name, config_parts[i].text, strlen(config_parts[i].text));
}
