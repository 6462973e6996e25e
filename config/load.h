#pragma once
/* Shared by the files of config/ and by nobody else: the YAML document, the option tables and the loader's
 * state. Nodes are views into a struct yfile; everything that outlives the load is copied into the
 * configuration. */
#include <yaml.h>

#include "config/config.h"
#include "daemon/core/crypto.h"

#define CONFIG_FILE_BYTES CD_MIB(4)
#define CONFIG_SECRET_BYTES CD_KIB(64)
#define CONFIG_DEPTH 16     /* nested lists and mappings */
#define CONFIG_NODES 800000 /* of one file */
#define CONFIG_KEYS 200     /* of one mapping */
#define CONFIG_FILES 1000   /* of one list of file patterns */
#define CONFIG_RULES 20000
#define CONFIG_FAULTS 100
#define CONFIG_LADDER_FIRES 48 /* of one policy and priority, repeats counted: what a plan has room for */

/* ---- one YAML file ---- */

struct yfile {
    const char *path; /* owned by config.files */
    yaml_document_t doc;
};
struct yn {
    struct yfile *file;
    yaml_node_t *node;
};
struct mark yn_mark(struct yn n);
struct yn yn_at(struct yn n, int id);
/* The text of a scalar; NULL for lists, mappings and scalars with a NUL inside. */
const char *yn_text(struct yn n);
bool yn_is_null(struct yn n);     /* nothing, or a plain ~ or null */
const char *yn_kind(struct yn n); /* "a list", "a group of keys", "one value" */
size_t yn_items(struct yn n);     /* of a sequence, else 0 */
struct yn yn_item(struct yn n, size_t i);
size_t yn_pairs(struct yn n); /* of a mapping, else 0 */
struct yn yn_key(struct yn n, size_t i);
struct yn yn_value(struct yn n, size_t i);
/* Feeds the meaning of a node (not its layout or comments) into a digest. */
void yn_digest(struct yn n, struct sha256_ctx *h);

/* Reads at most `max` bytes; NULL and a reason in *ret_why (static or errno text). */
char *file_read(const char *path, size_t max, size_t *ret_n, const char **ret_why);

/* ---- option tables ---- */

enum opt_type {
    OPT_STRING,
    OPT_TEXT, /* several lines */
    OPT_NAME,
    OPT_MAIL,
    OPT_PHONE,
    OPT_URL,
    OPT_BASE_URL, /* scheme://host[:port] */
    OPT_PATH,
    OPT_HOST,
    OPT_LANGUAGE,
    OPT_ZONE,
    OPT_COUNTRY, /* calling code, digits */
    OPT_SECRET,  /* X, X_file or X_credential */
    OPT_BOOL,
    OPT_TRISTATE, /* int: -1 when not given */
    OPT_COUNT,
    OPT_SIZE,
    OPT_DURATION,
    OPT_SECONDS,     /* a duration kept in whole seconds */
    OPT_CHOICE,      /* a number from `choices` */
    OPT_CHOICE_TEXT, /* the word itself */
    OPT_BITS,        /* list of words, their values or-ed */
    OPT_NAMES,
    OPT_STRINGS,
    OPT_MAILS,
    OPT_LANGUAGES,
    OPT_LISTEN,
    OPT_NETWORKS,
    OPT_ITEMS,  /* list of mappings, see `items` */
    OPT_CUSTOM, /* `parse` does it */
    OPT_TYPES
};
enum opt_flags {
    OPT_REQUIRED = 1,
    OPT_RELOAD = 2,  /* no socket or connection is made from it: a reload takes it over (reload.c) */
    OPT_UNIX = 4,    /* unix sockets may be listened on */
    OPT_INTERNAL = 8, /* for tests and measurements: not in the sample */
    OPT_PEER = 16,    /* of addresses: others listen there, we connect anew each time */
    OPT_HIDDEN = 32   /* no secret, but a guess at one could be tried on it: shown like one */
};

/* What a value names; looked up when everything is read. */
enum ref_kind {
    REF_NONE,
    REF_TEAM,
    REF_DESK,
    REF_TOLD, /* "team", a team or a contact */
    REF_WEBHOOK,
    REF_POLICY,
    REF_CALENDAR,
    REF_CATEGORY,
    REF_EXPECTED_CATEGORY, /* also "unclassified" */
    REF_MEMBER,            /* a team, a member of one, or a contact */
    REF_MAIN_FILE,         /* this and the next are only for loader.incomplete */
    REF_TEMPLATE,
    REF_KINDS
};

struct choice {
    const char *name;
    int value;
};
struct loader;
struct option {
    const char *path; /* "mail.max_message"; within its table */
    enum opt_type type;
    size_t offset, size, count_offset;
    const char *def;       /* as one would write it; NULL: none ("" or 0) */
    const char *min, *max; /* as one would write them; NULL: none */
    const char *unit;      /* of counts */
    const char *doc;
    unsigned flags;
    enum ref_kind refers;
    const struct choice *choices; /* ends with a NULL name */
    const struct section *items;
    void (*parse)(struct loader *l, const struct option *o, struct yn n, void *base);
    int arg; /* for parse */
};
#define FIELD(type, f) .offset = offsetof(type, f), .size = sizeof(((type *)0)->f)
#define ARRAY(type, f, n) .offset = offsetof(type, f), .count_offset = offsetof(type, n)

#define NO_OFFSET ((size_t)-1)
struct section {
    const char *noun;              /* "desk" */
    const struct option *options;  /* ends with a NULL path */
    size_t item_size, mark_offset; /* NO_OFFSET: keeps no mark */
    size_t name_offset;            /* NO_OFFSET: has none; else names are unique */
    enum ref_kind kind;            /* what its names are looked up as */
    size_t max;
    void (*begin)(void *item);                                 /* defaults that no option row gives */
    void (*end)(struct loader *l, void *item, struct yn node); /* checks within one item */
    void (*free)(void *item);                                  /* what no option row owns */
};

extern const struct option root_options[], rules_file_options[], policies_file_options[],
    calendars_file_options[];
extern const struct section section_certificates, section_relays, section_thread_keys, section_desks, section_members, section_teams, section_contacts, section_webhooks, section_clients,
    section_sms_providers, section_categories, section_calendars, section_policies, section_rules,
    section_rule_tests;

#define ROOT_MARKS 192 /* at least the rows of root_options */
struct loader {
    struct config *c;
    struct faults *f;
    char *dir;             /* of the configuration file; relative paths begin here */
    struct mark file_mark; /* of the configuration file as a whole */
    struct mark root_marks[ROOT_MARKS];
    struct strlist rule_files, policy_files, calendar_files; /* found by their patterns */
    char *templates_dir;
    struct sha256_ctx *hash, *rules_hash;
    struct reference {
        enum ref_kind kind;
        const char *name; /* owned by the configuration */
        struct mark mark;
    } * refs;
    size_t nrefs, size_refs;
    bool
        incomplete[REF_KINDS]; /* a source of such names could not be read: look-ups would only repeat that */
};

/* Sets an option from its written form; false with the whole sentence in `why`. Not for lists. */
bool option_set_text(const struct option *o, const char *text, void *base, struct buf *why);
/* Sets a list option. */
void option_set_list(struct loader *l, const struct option *o, struct yn n, void *base);
/* Bounds of a sequence option's elements and lists in general. */
const char *option_type_word(enum opt_type t);    /* "a size" */
const char *option_type_example(enum opt_type t); /* "25MB" */
enum opt_type option_element(enum opt_type list); /* OPT_TYPES when not a list of texts */
/* NULL, or what to write instead. */
const char *option_check(enum opt_type t, const char *text);
void options_default(const struct option *table, void *base);
void options_free(const struct option *table, void *base);
size_t options_count(const struct option *table);
/* Parses a listen address or a network; NULL, or what to write instead. */
const char *listen_parse(const char *text, bool allow_unix, struct listen_addr *ret);
const char *network_parse(const char *text, struct network *ret);
bool address_valid(const char *s); /* mail */
bool url_to_loopback(const char *url);
bool host_is_loopback(const char *host);

/* Reads a mapping into `base`. `seen` has a mark for each row of the table. */
void map_load(struct loader *l, struct yn map, const struct option *table, void *base, struct mark *seen,
              const char *noun);
void option_set_node(struct loader *l, const struct option *o, struct yn n, void *base);
void items_load(struct loader *l, const struct option *o, struct yn n, void *base);
/* Where the root option was written, else the configuration file. */
struct mark root_mark(const struct loader *l, const char *path);
bool root_given(const struct loader *l, const char *path);
void ref_add(struct loader *l, enum ref_kind kind, const char *name, struct mark m);
bool ref_known(const struct config *c, enum ref_kind kind, const char *name);

/* Secrets: `how` is 0 X, 1 X_file, 2 X_credential. */
char *secret_load(struct loader *l, int how, const char *value, struct mark m);

/* Reads and scans a file (path is added to config.files) and loads it by a table; `kind`: what its names are.
 */
void file_load(struct loader *l, const char *path, struct mark asked, const struct option *table, void *base,
               struct mark *seen, enum ref_kind kind, struct sha256_ctx *also);
char *path_resolve(const struct loader *l, const char *path);
void patterns_parse(struct loader *l, const struct option *o, struct yn n, void *base);
void templates_dir_parse(struct loader *l, const struct option *o, struct yn n, void *base);
void templates_load(struct loader *l);
void loader_digest_text(struct sha256_ctx *h, const char *p, size_t n);

void config_complete(struct loader *l); /* defaults that depend on other options */
void check_references(struct loader *l);
void check_names(struct loader *l);
void check_desks(struct loader *l);
void check_policies(struct loader *l);
void check_general(struct loader *l);
void client_end(struct loader *l, void *item, struct yn node);
void clients_settle(struct loader *l); /* checks them, and leaves the digests of their tokens alone */
void check_templates(struct loader *l);

/* ---- texts ---- */

bool faults_full(const struct faults *f);
void faults_sort(struct faults *f, const struct strlist *files);
/* A value for a message: control bytes replaced, cut at 60 bytes; one of eight rotating buffers. */
const char *show(const char *s);
/* The nearest of `names` (NULL-terminated or n), NULL when none is near. */
const char *suggest(const char *word, const char *const *names, size_t n);
