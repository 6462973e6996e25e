/* Bound, listening sockets for the mail server: TCP, and unix sockets for LMTP. Owns nothing that it returned. A failure is errno and
 * a word of advice. */
#include "channels/mail/smtp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/core/err.h"

#define BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */

static int fail(int fd)
{
    int error = errno;
    close(fd);
    errno = error;
    return CD_EIO;
}

static int address_of(const struct listen_addr *a, struct sockaddr_storage *ss, socklen_t *ret_len)
{
    struct sockaddr_in *in4 = (struct sockaddr_in *)ss;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
    memset(ss, 0, sizeof *ss);
    if (!a->host)
        return CD_ECONFIG;
    if (inet_pton(AF_INET, a->host, &in4->sin_addr) == 1) {
        in4->sin_family = AF_INET;
        in4->sin_port = htons(a->port);
        *ret_len = sizeof *in4;
        return 0;
    }
    if (inet_pton(AF_INET6, a->host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(a->port);
        *ret_len = sizeof *in6;
        return 0;
    }
    return CD_ECONFIG;
}

static int open_tcp(const struct listen_addr *a, const char **ret_hint)
{
    struct sockaddr_storage ss;
    socklen_t len = 0;
    int on = 1;
    if (address_of(a, &ss, &len) < 0) {
        errno = EINVAL;
        *ret_hint = "write a numeric address and a port: 127.0.0.1:25";
        return CD_ECONFIG;
    }
    int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return CD_EIO;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->port) /* further instances share it */
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
    if (ss.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&ss, len) < 0 || listen(fd, BACKLOG) < 0) {
        *ret_hint = errno == EACCES ? "ports under 1024 need CAP_NET_BIND_SERVICE" : "write another address or free this one";
        return fail(fd);
    }
    return fd;
}

/* A socket file on which nobody listens is left over from a process that was killed; one that answers is in use. */
static bool remove_stale(const struct sockaddr_un *sun)
{
    struct stat st;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    int r = connect(fd, (const struct sockaddr *)sun, sizeof *sun), error = errno;
    close(fd);
    if (r < 0 && error == ENOENT)
        return true;
    if (r < 0 && error == ECONNREFUSED && lstat(sun->sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
        return unlink(sun->sun_path) == 0;
    errno = r == 0 || error == EAGAIN ? EADDRINUSE : error;
    return false;
}

/* Closed while it is made; opened to whom the options name before anyone can be in its backlog. */
static int give_access(const char *path, const struct config *cfg, const char **ret_hint)
{
    if (cfg->mail_lmtp_group[0]) {
        errno = 0;
        const struct group *g = getgrnam(cfg->mail_lmtp_group);
        if (!g || chown(path, (uid_t)-1, g->gr_gid) < 0) {
            if (!g)
                errno = ENOENT;
            *ret_hint = "mail.lmtp_group must be a group of this host that the daemon's user is in";
            return CD_EIO;
        }
    }
    return chmod(path, (mode_t)cfg->mail_lmtp_access) < 0 ? CD_EIO : 0;
}

static int open_unix(const struct listen_addr *a, const struct config *cfg, const char **ret_hint)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    *ret_hint = "write a path in a folder that the daemon's user may write to, at most 107 bytes long";
    if (strlen(a->path) >= sizeof sun.sun_path) {
        errno = ENAMETOOLONG;
        return CD_ECONFIG;
    }
    memcpy(sun.sun_path, a->path, strlen(a->path) + 1);
    if (!remove_stale(&sun))
        return CD_EIO;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return CD_EIO;
    mode_t old = umask(0177);
    int r = bind(fd, (const struct sockaddr *)&sun, sizeof sun);
    int error = errno;
    umask(old);
    errno = error;
    if (r < 0 || give_access(a->path, cfg, ret_hint) < 0 || listen(fd, BACKLOG) < 0)
        return fail(fd);
    return fd;
}

int smtp_socket_open(const struct listen_addr *a, const struct config *cfg, const char **ret_hint)
{
    *ret_hint = "write another address or free this one";
    return a->path ? open_unix(a, cfg, ret_hint) : open_tcp(a, ret_hint);
}
