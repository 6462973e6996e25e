/* The main of a fuzz target in builds without libFuzzer: gives each file named on the command line, or lying in a folder named
 * there, to the target once, and the empty input besides. Prints as cmocka does, so that what adds up tests adds up these. A fault
 * ends the process where it is found; the file is the last one named. Status 1 without any file. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>


bool fuzz_good;
static unsigned passed, failed;

__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

/* A copy of the exact size, so that AddressSanitizer sees the first byte behind it. */
static void run(const char *path, const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n);
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (n)
        memcpy(copy, p, n);
    fprintf(stderr, "[ RUN      ] %s\n", path);
    fuzz_good = false;
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
    if (str_starts(name, "good-") && !fuzz_good) {
        fprintf(stderr, "[  FAILED  ] %s: the target finds a fault in it; has its format changed?\n", path);
        failed++;
        return;
    }
    fprintf(stderr, "[       OK ] %s\n", path);
    passed++;
}

static void run_file(const char *path)
{
    struct buf b;
    uint8_t chunk[4096];
    size_t n;
    FILE *f = fopen(path, "re");
    if (!f) {
        fprintf(stderr, "[  FAILED  ] %s: %s\n", path, strerror(errno));
        failed++;
        return;
    }
    buf_init(&b, CD_MIB(64));
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_append(&b, chunk, n);
    fclose(f);
    run(path, b.data, b.len);
    buf_free(&b);
}

static int visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static void run_path(const char *path)
{
    struct stat st;
    struct dirent **names;
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
        run_file(path);
        return;
    }
    int n = scandir(path, &names, visible, alphasort);
    for (int i = 0; i < n; i++) {
        char *file = cd_asprintf("%s/%s", path, names[i]->d_name);
        run_file(file);
        free(file);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
}

int main(int argc, char **argv)
{
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++)
        run_path(argv[i]);
    unsigned files = passed + failed;
    run("(empty input)", (const uint8_t *)"", 0);
    printf("[  PASSED  ] %u test(s).\n", passed);
    if (failed)
        printf("[  FAILED  ] %u test(s).\n", failed);
    if (!files)
        fprintf(stderr, "usage: %s FILE|FOLDER…\n", argv[0]);
    return failed || !files ? 1 : 0;
}
