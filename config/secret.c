/* Secrets: written in place, in a file, or handed over by the service manager in $CREDENTIALS_DIRECTORY.
 * Texts of secrets never go into a fault; paths and names do. */
#include "config/load.h"

#include <string.h>

static char *from_file(struct loader *l, const char *path, struct mark m)
{
    size_t n = 0;
    const char *why = NULL;
    char *p = file_read(path, CONFIG_SECRET_BYTES, &n, &why);
    if (!p) {
        faults_add(l->f, m,
                   "secret file %s can't be read (%s): make it, readable for the daemon, of at most %zu kB",
                   path, why, CONFIG_SECRET_BYTES >> 10);
        return NULL;
    }
    if (n && p[n - 1] == '\n')
        n--;
    if (n && p[n - 1] == '\r')
        n--;
    p[n] = '\0';
    const char *fault = n == 0 ? "is empty: write the secret into it"
                        : strlen(p) != n || strpbrk(p, "\r\n")
                            ? "holds several lines or a NUL: write one line"
                            : NULL;
    if (fault) {
        faults_add(l->f, m, "secret file %s %s", path, fault);
        free(p);
        return NULL;
    }
    return p;
}

static char *from_credential(struct loader *l, const char *name, struct mark m)
{
    const char *dir = getenv("CREDENTIALS_DIRECTORY");
    if (strchr(name, '/') || name[0] == '.') {
        faults_add(l->f, m,
                   "'%s' is not the name of a credential: write the name that LoadCredential= gives it",
                   show(name));
        return NULL;
    }
    if (!dir || !*dir) {
        faults_add(l->f, m,
                   "credential '%s' is asked for, but $CREDENTIALS_DIRECTORY is not set: write "
                   "LoadCredential=%s:PATH into the unit, or a secret file here",
                   show(name), show(name));
        return NULL;
    }
    CD_CLEANUP_FREE char *path = cd_asprintf("%s/%s", dir, name);
    return from_file(l, path, m);
}

char *secret_load(struct loader *l, int how, const char *value, struct mark m)
{
    CD_CLEANUP_FREE char *path = NULL;
    switch (how) {
    case 1:
        path = path_resolve(l, value);
        return from_file(l, path, m);
    case 2:
        return from_credential(l, value, m);
    default:
        if (strpbrk(value, "\r\n")) {
            faults_add(l->f, m, "a secret holds a line end: write it as one line");
            return NULL;
        }
        return cd_strdup(value);
    }
}
