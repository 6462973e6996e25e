/* The bytes of an attachment. What stands in the mail comes piece by piece from the daemon; a child that has shut itself
 * in makes the attachment of it, for it is a stranger's. Nothing is handed out whose size and digest are not those that were
 * recorded, no file is ever overwritten, and nothing goes to a terminal. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channels/mail/content.h"
#include "ctl/commands.h"
#include "ctl/text.h"
#include "daemon/core/crypto.h"
#include "daemon/core/log.h"
#include "daemon/core/str.h"
#include "daemon/worker/worker.h"

#define TIMEOUT_S 60
#define MAX_ATTACHMENT CD_MIB(512)
#define CHILD_MEMORY CD_MIB(256) /* and four times the bytes */
#define CHILD_CPU_S 60

static int fault(const char *what, const char *why)
{
    fprintf(stderr, "complaintctl: %s%s%s\n", what, why ? ": " : "", why ? why : "");
    return EXIT_REFUSED;
}

/* ---- base64 of the daemon's own making ---- */

static int sextet(char c)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

static bool append_base64(struct buf *out, const char *s)
{
    size_t n = strlen(s);
    if (n % 4 || buf_reserve(out, n / 4 * 3) < 0)
        return false;
    for (; *s; s += 4) {
        int v[4];
        int pad = s[3] != '=' ? 0 : s[2] != '=' ? 1 : 2;
        for (int i = 0; i < 4; i++)
            if ((v[i] = i < 4 - pad ? sextet(s[i]) : 0) < 0)
                return false;
        if (pad && s[4])
            return false;
        const uint8_t three[] = {(uint8_t)(v[0] << 2 | v[1] >> 4), (uint8_t)(v[1] << 4 | v[2] >> 2), (uint8_t)(v[2] << 6 | v[3])};
        buf_append(out, three, (size_t)(3 - pad));
    }
    return !out->failed;
}

/* All pieces of what stands in the mail; *ret_about is the first answer's object. */
static int fetch(struct client *c, json_t *args, struct buf *raw, json_t **ret_about)
{
    for (;;) {
        struct answer a;
        json_object_set_new(args, "offset", json_integer((json_int_t)raw->len));
        int r = client_call(c, "ATTACHMENT", args, &a);
        if (r == EXIT_DONE && !a.ok)
            r = ctl_refused(&a);
        const char *data = r == EXIT_DONE ? json_string_value(json_object_get(a.body, "data")) : NULL;
        json_int_t whole = json_integer_value(json_object_get(a.body, "raw_length"));
        size_t before = raw->len;
        if (r == EXIT_DONE && (!data || !append_base64(raw, data)))
            r = fault("the daemon's answer could not be read", NULL);
        if (r == EXIT_DONE && !*ret_about) {
            *ret_about = json_incref(a.body);
            /* the next pieces are of the very same message */
            json_object_set(args, "message", json_object_get(a.body, "message"));
        }
        answer_free(&a);
        if (r != EXIT_DONE || (json_int_t)raw->len >= whole)
            return r;
        if (raw->len == before)
            return fault("the attachment ends early", NULL);
    }
}

/* ---- the child ---- */

struct writer {
    int fd;
    bool failed;
};

static void write_out(void *arg, const void *p, size_t n)
{
    struct writer *w = arg;
    const uint8_t *at = p;
    while (n > 0 && !w->failed) {
        ssize_t r = write(w->fd, at, n);
        if (r < 0 && errno == EINTR)
            continue;
        w->failed = r <= 0;
        at += r > 0 ? (size_t)r : 0;
        n -= r > 0 ? (size_t)r : 0;
    }
}

static void child(int fd, const char *encoding, const char *inner, const struct buf *raw)
{
    const struct worker_limits l = {.memory_bytes = CHILD_MEMORY + 4 * (uint64_t)raw->len, .cpu_seconds = CHILD_CPU_S, .filter_log_only = worker_sanitized()};
    struct writer w = {.fd = STDIN_FILENO};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(fd, STDIN_FILENO) < 0) /* the pipe; whatever libraries print goes to standard error */
        _exit(74);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    close_range(3, ~0U, 0);
    log_open();
    if (worker_lock_in(&l) < 0)
        _exit(70);
    worker_job_begin();
    int r = content_member(encoding, inner, buf_str(raw), raw->len, write_out, &w);
    _exit(r < 0 ? 66 : w.failed ? 74 : 0);
}

/* The attachment's bytes, made by a child. */
static int decode(const char *encoding, const char *inner, const struct buf *raw, struct buf *out)
{
    int ends[2], status = 0;
    ssize_t n;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fault("cannot make a pipe", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child(ends[1], encoding, inner, raw);
    close(ends[1]);
    do {
        n = pid < 0 || buf_reserve(out, CD_KIB(64)) < 0 ? 0 : read(ends[0], out->data + out->len, CD_KIB(64));
        out->len += n > 0 ? (size_t)n : 0;
    } while (n > 0 || (n < 0 && errno == EINTR));
    close(ends[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid < 0)
        return fault("cannot start a process", strerror(errno));
    if (out->failed)
        return fault("the attachment is too large", NULL);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return fault("the attachment could not be decoded", WIFSIGNALED(status) ? "the process that did it died" : NULL);
    return EXIT_DONE;
}

static bool is_as_recorded(const json_t *about, const struct buf *out)
{
    uint8_t digest[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    sha256(buf_str(out), out->len, digest);
    hex_encode(digest, sizeof digest, hex);
    return json_integer_value(json_object_get(about, "size_bytes")) == (json_int_t)out->len &&
           str_eq(json_string_value(json_object_get(about, "sha256")), hex);
}

/* ---- where it goes ---- */

/* FILE, or the attachment's own name in the folder FILE. The daemon's names hold no slash; a dot in front would hide it. */
static char *path_of(const char *file, const json_t *about)
{
    struct stat st;
    const char *name = json_string_value(json_object_get(about, "filename"));
    if (stat(file, &st) < 0 || !S_ISDIR(st.st_mode))
        return cd_strdup(file);
    if (!name || !*name || strchr(name, '/'))
        return cd_asprintf("%s/attachment-%d", file, (int)json_integer_value(json_object_get(about, "n")));
    return cd_asprintf("%s/%s%s", file, *name == '.' ? "_" : "", name);
}

static int save(const char *file, const json_t *about, const struct buf *out)
{
    char *path CD_CLEANUP_FREE = path_of(file, about);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct writer w = {.fd = fd};
    if (fd < 0)
        return fault(path, errno == EEXIST ? "is there already, and is not overwritten" : strerror(errno));
    write_out(&w, buf_str(out), out->len);
    bool done = !w.failed && fsync(fd) == 0;
    int why = errno;
    if (close(fd) == 0 && done) {
        struct buf text;
        buf_init(&text, CD_KIB(16));
        text_clean(path, 0, &text);
        fprintf(stderr, "%s: %zu bytes\n", buf_str(&text), out->len);
        buf_free(&text);
        return EXIT_DONE;
    }
    unlink(path);
    return fault(path, strerror(why));
}

static int hand_out(const char *file, const json_t *about, const struct buf *out)
{
    struct writer w = {.fd = STDOUT_FILENO};
    if (file)
        return save(file, about, out);
    write_out(&w, buf_str(out), out->len);
    return w.failed ? fault("standard output", strerror(errno)) : EXIT_DONE;
}

/* ---- the command ---- */

static int list(struct client *c, const struct ctl_globals *g, json_t *args)
{
    struct answer a;
    struct buf out;
    int r = client_call(c, "ATTACHMENT", args, &a);
    if (r != EXIT_DONE)
        return r;
    buf_init(&out, CD_MIB(64));
    if (g->json)
        print_json(&a, &out);
    else if (a.ok)
        print_attachments(&a, &out);
    fwrite(buf_str(&out), 1, out.len, stdout);
    buf_free(&out);
    if (!a.ok)
        r = ctl_refused(&a);
    answer_free(&a);
    return fflush(stdout) == 0 ? r : EXIT_REFUSED;
}

static int get(struct client *c, json_t *args, const char *file)
{
    struct buf raw, out;
    json_t *about = NULL;
    buf_init(&raw, MAX_ATTACHMENT);
    buf_init(&out, MAX_ATTACHMENT);
    int r = fetch(c, args, &raw, &about);
    if (r == EXIT_DONE)
        r = decode(json_string_value(json_object_get(about, "encoding")), json_string_value(json_object_get(about, "member")), &raw, &out);
    if (r == EXIT_DONE && !is_as_recorded(about, &out))
        r = fault("the bytes are not those that were recorded: nothing is handed out", NULL);
    if (r == EXIT_DONE)
        r = hand_out(file, about, &out);
    json_decref(about);
    buf_free(&raw);
    buf_free(&out);
    return r;
}

int run_attachment(const struct ctl_globals *g, json_t *args)
{
    char *file CD_CLEANUP_FREE = cd_strdup(json_string_value(json_object_get(args, "output")));
    bool one = json_object_get(args, "n") != NULL;
    struct client *c = NULL;
    json_object_del(args, "output");
    if (one && !file && isatty(STDOUT_FILENO)) {
        fprintf(stderr, "complaintctl: an attachment does not go to a terminal: name a file with -o, or a pipe\n");
        return EXIT_USAGE;
    }
    int r = ctl_connect(g, TIMEOUT_S, &c);
    if (r == EXIT_DONE)
        r = one ? get(c, args, file) : list(c, g, args);
    client_close(&c);
    return r;
}
