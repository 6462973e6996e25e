#pragma once
/* The commands of complaintctl: one table that gives the parser its options, the help its text, and each
 * request its verb. */
#include <jansson.h>

#include "ctl/client.h"
#include "daemon/core/buf.h"

enum option_kind { OPTION_TEXT, OPTION_FLAG, OPTION_NUMBER, OPTION_TIME }; /* TIME: in the zone of the reader, see time_given() */
struct ctl_option {
    const char *name; /* without the dashes; in the request a '-' is a '_' */
    enum option_kind kind;
    const char *value, *help; /* "STATUS", "only complaints in this state" */
};

/* Global options. */
struct ctl_globals {
    const char *socket, *config, *token_file;
    const char *host, *port, *ca_file, *tls_name; /* TCP instead of the socket */
    bool tls, starttls;
    bool json, utc, help, version;
};

struct ctl_command {
    const char *name, *help;
    const char *verb;          /* NULL: does not talk to the daemon */
    const char *positional[2]; /* names in the request; one that ends in # takes a number; "ref|handle" is either */
    const char *usage;         /* of the positional ones: "REF WHO" */
    unsigned required;         /* how many positional ones must be there */
    int timeout_s;
    bool stream;               /* rows are printed as they come */
    const char *actions;       /* what the first positional may be, for completion; NULL: anything */
    const char *(*fix)(json_t *args); /* from words to the request's fields; says what is wrong, or NULL */
    int (*run)(const struct ctl_globals *g, json_t *args); /* instead of a request */
    void (*print)(const struct answer *a, struct buf *out);
    struct ctl_option options[20];
};
extern const struct ctl_command ctl_commands[];
extern const size_t ctl_command_count;
extern const struct ctl_option ctl_global_options[];
extern const size_t ctl_global_option_count;
const struct ctl_command *ctl_find(const char *name);

/* Fills globals and the request's object from the words after the program's name. EXIT_DONE or EXIT_USAGE
 * (told). */
int ctl_parse(int argc, char **argv, struct ctl_globals *g, const struct ctl_command **ret_command,
              json_t *args);
void ctl_option_field(const struct ctl_option *o, char out[32]); /* its name in the request */
void ctl_help(const struct ctl_command *c, struct buf *out); /* NULL: all */
void ctl_usage(const struct ctl_command *c);                 /* a line on standard error; NULL: of the program */
void ctl_unknown_command(const char *word);                  /* told on standard error */

/* hint.c. Which name somebody meant by a word: begin, try each name, look at `name`. */
struct nearest {
    const char *word, *name; /* borrowed; NULL: none is near */
    size_t len, slips;
};
void nearest_begin(struct nearest *n, const char *word, size_t len);
void nearest_try(struct nearest *n, const char *name);
/* After ctl_refused(): what to do about it. */
void ctl_hint(const struct ctl_command *c, const struct answer *a);
/* After a list of nothing: whether a filter named what no open complaint has, as a slip would. `stats` is the answer to STATS. */
void ctl_hint_empty(const json_t *args, const json_t *stats);

/* connect.c */
int ctl_connect(const struct ctl_globals *g, int timeout_s, struct client **ret); /* a session, authenticated; an exit code, told */
int ctl_refused(const struct answer *a); /* tells an ERR; its exit code */

/* main.c */
int ctl_request(const struct ctl_globals *g, const struct ctl_command *cmd, json_t *args); /* cmd->verb, and prints the answer */
void print_json(const struct answer *a, struct buf *out);

/* print.c */
void print_show(const struct answer *a, struct buf *out);
void print_list(const struct answer *a, struct buf *out);
void print_explain(const struct answer *a, struct buf *out);
/* The decisions on threads: of the first message (an array of candidates) and of those that followed it. */
void print_threads(const json_t *first, const json_t *messages, struct buf *out);
void print_stats(const struct answer *a, struct buf *out);
void print_fields(const struct answer *a, struct buf *out); /* whatever the object holds, a line each */

/* print_course.c: parts of SHOW's answer, arrays */
void print_deadlines(const json_t *list, struct buf *out);
void print_steps(const json_t *list, bool full, struct buf *out);
void print_notifications(const json_t *list, bool full, struct buf *out);
void print_events(const json_t *list, bool full, struct buf *out);

void print_event(const json_t *row, bool json, struct buf *out); /* a row of SUBSCRIBE */
void print_nothing(const struct answer *a, struct buf *out);

/* token.c: a new random token and its digest, for the configuration */
int run_token(const struct ctl_globals *g, json_t *args);
/* print_people.c */
void print_customer(const struct answer *a, struct buf *out);
void print_customers(const struct answer *a, struct buf *out);
void print_absences(const struct answer *a, struct buf *out); /* of ABSENT, PRESENT and ABSENCES */

void print_attachments(const struct answer *a, struct buf *out);
/* "…, image/png (its bytes are application/zip), inline picture", cleaned */
void print_attachment_type(const json_t *a, struct buf *out);

/* actions.c */
const char *fix_clock(json_t *args);
const char *fix_queue(json_t *args);
const char *fix_pending(json_t *args);
const char *fix_config(json_t *args);
const char *fix_subscribe(json_t *args);
const char *fix_degraded(json_t *args);

/* print_waiting.c */
void print_queue(const struct answer *a, struct buf *out);
void print_pending(const struct answer *a, struct buf *out);
void print_config(const struct answer *a, struct buf *out);

/* export.c */
int run_export(const struct ctl_globals *g, json_t *args);
void export_csv_head(struct buf *out);
void export_csv_row(const json_t *row, struct buf *out);
void export_csv_cell(const char *s, struct buf *out);

/* top.c */
int run_top(const struct ctl_globals *g, json_t *args);

/* completion.c */
int run_completion(const struct ctl_globals *g, json_t *args);
bool completion_script(const char *shell, struct buf *out); /* false: no such shell */

/* attachment.c */
int run_attachment(const struct ctl_globals *g, json_t *args);

/* degraded.c */
int run_degraded(const struct ctl_globals *g, json_t *args);

/* verify.c */
int run_verify(const struct ctl_globals *g, json_t *args);

/* migrate.c */
int run_migrate(const struct ctl_globals *g, json_t *args);
/* The configuration, or NULL with its faults told. */
struct config *ctl_config(const struct ctl_globals *g);
