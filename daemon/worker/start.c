/* One worker process. vfork, because a front with a large memory forks slowly; between it and exec only
 * system calls are made, with all signals blocked. The descriptors are the caller's; on failure none is left.
 */
#include "daemon/worker/start.h"

#include "daemon/core/err.h"
#include "daemon/core/str.h"
#include "daemon/worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a worker must not learn, or must not mistake for its own. */
static bool is_withheld(const char *variable)
{
    static const char *const prefixes[] = {"PG",      "NOTIFY_SOCKET=", "WATCHDOG_",
                                           "LISTEN_", "CD_WORKER=",     "CREDENTIALS_DIRECTORY="};

    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (str_starts(variable, prefixes[i]))
            return true;
    return false;
}

/* The environment of the worker: borrowed strings but for the first. */
static char **make_environment(const char *name)
{
    size_t n = 0, k = 0;

    while (environ && environ[n])
        n++;
    char **env = cd_alloc((n + 2) * sizeof(*env));
    env[k++] = cd_asprintf("CD_WORKER=%s", name);
    for (size_t i = 0; i < n; i++)
        if (!is_withheld(environ[i]))
            env[k++] = environ[i];
    return env;
}

/* The service manager and a terminal signal the whole group; when a worker ends is for the front alone to
 * say, by closing the socket. A stop signal must not cost the jobs that a draining front still waits for. */
static void child_signals(void)
{
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction act = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int i = 1; i < NSIG; i++)
        sigaction(i, &act, NULL);
    act.sa_handler = SIG_IGN;
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
        sigaction(ignored[i], &act, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Runs in the memory of the parent: touches nothing but the kernel and *error. */
static CD_NORETURN void child_exec(const struct worker_start *s, const char *exe, char **env, int socket_fd,
                                   pid_t parent, volatile int *error)
{
    int sock, config = -1, null;

    child_signals();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        goto fail;
    if (getppid() != parent)
        _exit(127); /* the front died before the line above */
    /* Out of the way first: any of them may have a number that is to be overwritten. */
    sock = fcntl(socket_fd, F_DUPFD, 10);
    null = open("/dev/null", O_RDONLY);
    if (s->config_fd >= 0)
        config = fcntl(s->config_fd, F_DUPFD, 10);
    if (sock < 0 || null < 0 || (s->config_fd >= 0 && config < 0))
        goto fail;
    if (dup2(null, STDIN_FILENO) < 0 || dup2(sock, WORKER_SOCKET_FD) < 0)
        goto fail;
    dup2(STDERR_FILENO,
         STDOUT_FILENO); /* whatever a library prints there; no harm if there is no standard error */
    if (config >= 0 ? dup2(config, WORKER_CONFIG_FD) < 0 : (close(WORKER_CONFIG_FD), false))
        goto fail;
    if (close_range(WORKER_CONFIG_FD + 1, ~0U, 0) < 0)
        goto fail;
    execve(exe, (char *const *)s->argv, env);
fail:
    *error = errno ? errno : EIO;
    _exit(127);
}

static pid_t spawn(const struct worker_start *s, const char *exe, char **env, int socket_fd)
{
    volatile int error = 0;
    sigset_t all, old;
    pid_t parent = getpid();

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    pid_t pid = vfork();
    if (pid == 0)
        child_exec(s, exe, env, socket_fd, parent, &error);
    int saved = errno;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (pid > 0 && error) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        saved = error;
        pid = -1;
    }
    errno = saved;
    return pid;
}

int worker_start(const struct worker_start *s, pid_t *ret_pid, int *ret_fd)
{
    const char *exe = s->exe ? s->exe : secure_getenv("CD_COMPLAINTD");
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return CD_EIO;
    char **env = make_environment(s->name);
    pid_t pid = -1;
    if (fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0)
        pid = spawn(s, exe && *exe ? exe : "/proc/self/exe", env, fds[1]);
    int saved = errno;
    free(env[0]);
    free(env);
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        errno = saved;
        return CD_EIO;
    }
    *ret_pid = pid;
    *ret_fd = fds[0];
    return 0;
}
