/* Preloaded into Pythons: counts the file operations below a directory, and lets the n-th one fail.
 *
 * FAULTS_ROOT is the directory, FAULTS_STATE a file with a `struct state`, which all processes of a
 * run share. `faults_arm` begins in a process that has loaded it already.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { COUNT, EIO_, ENOSPC_, KILL_BEFORE, KILL_AFTER };

enum op { OPEN, WRITE, COPY, LINK, SYMLINK, RENAME, UNLINK, RMDIR, MKDIR, FSYNC, TRUNCATE, LOCK,
          CHMOD, TIMES, CLOSE, OPS };

static const char *const NAMES[OPS] = {
    "open", "write", "copy", "link", "symlink", "rename", "unlink", "rmdir", "mkdir", "fsync",
    "truncate", "lock", "chmod", "times", "close"};

struct state {
    long number;          /* of operations so far */
    long target;          /* the one that fails, from 1 */
    int kind;
    int fired;
    int leader;           /* process that a kill ends */
    int counts[OPS];
    char op[16];
    char path[PATH_MAX];
    char other[PATH_MAX];
};

static struct state *state;
static char root[PATH_MAX];
static size_t root_length;
static int trace = -1; /* a file that gets a line for each operation */

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

void faults_arm(void)
{
    const char *place = getenv("FAULTS_ROOT"), *file = getenv("FAULTS_STATE");
    if (!place || !file || state)
        return;
    int fd = REAL(open)(file, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *memory = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REAL(close)(fd);
    if (memory == MAP_FAILED)
        return;
    root_length = (size_t)snprintf(root, sizeof root, "%s", place);
    const char *lines = getenv("FAULTS_TRACE");
    if (lines)
        trace = fcntl(REAL(open)(lines, O_WRONLY | O_APPEND | O_CLOEXEC), F_DUPFD_CLOEXEC, 200);
    state = memory;
}

__attribute__((constructor)) static void begin(void)
{
    char exe[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[length < 0 ? 0 : length] = 0;
    const char *name = strrchr(exe, '/');
    if (name && !strncmp(name + 1, "python", 6))
        faults_arm();
}

static int below(const char *path)
{
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* The path of a file by its descriptor; whether it is below the root. */
static int of_descriptor(int fd, char *out)
{
    char link[64];
    if (!state)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, out, PATH_MAX - 1);
    out[length < 0 ? 0 : length] = 0;
    return below(out);
}

static int of_path(int dir, const char *path, char *out)
{
    if (!state || !path)
        return 0;
    if (*path == '/')
        snprintf(out, PATH_MAX, "%s", path);
    else {
        char folder[PATH_MAX];
        if (dir == AT_FDCWD) {
            if (!getcwd(folder, sizeof folder))
                return 0;
        } else {
            of_descriptor(dir, folder);
        }
        snprintf(out, PATH_MAX, "%.2000s/%.2000s", folder, path);
    }
    return below(out);
}

static int writable(int fd)
{
    int flags = REAL(fcntl)(fd, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

static void die(void)
{
    kill(state->leader, SIGKILL);
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Count an operation; return its fault. */
static enum kind next(enum op op, const char *path, const char *other)
{
    __atomic_add_fetch(&state->counts[op], 1, __ATOMIC_SEQ_CST);
    long number = __atomic_add_fetch(&state->number, 1, __ATOMIC_SEQ_CST);
    if (trace >= 0)
        dprintf(trace, "%ld\t%s\t%s\n", number, NAMES[op], path);
    if (number != state->target || state->kind == COUNT)
        return COUNT;
    snprintf(state->op, sizeof state->op, "%s", NAMES[op]);
    snprintf(state->path, PATH_MAX, "%s", path);
    snprintf(state->other, PATH_MAX, "%s", other ? other : "");
    int odd = op == CLOSE || op == LOCK || op == UNLINK || op == RMDIR || op == CHMOD || op == TIMES;
    if (state->kind == ENOSPC_ && odd)
        return COUNT; /* they need no space */
    state->fired = 1;
    return (enum kind)state->kind;
}

static int failed(enum kind kind)
{
    errno = kind == EIO_ ? EIO : ENOSPC;
    return -1;
}

/* All operations but those that transfer bytes: CALL is the real one. */
#define FAULT(op, path, other, call)                          \
    do {                                                      \
        enum kind kind = next(op, path, other);               \
        if (kind == EIO_ || kind == ENOSPC_)                  \
            return failed(kind);                              \
        if (kind == KILL_BEFORE)                              \
            die();                                            \
        __typeof__(call) result = (call);                     \
        if (kind == KILL_AFTER)                               \
            die();                                            \
        return result;                                        \
    } while (0)

/* A transfer of SIZE bytes: a full disk and a kill leave half of them. */
#define TRANSFER(op, path, whole, half)                       \
    do {                                                      \
        enum kind kind = next(op, path, NULL);                \
        if (kind == EIO_)                                     \
            return failed(kind);                              \
        if (kind == ENOSPC_ || kind == KILL_BEFORE)           \
            (void)!(half);                                    \
        if (kind == ENOSPC_)                                  \
            return failed(kind);                              \
        if (kind == KILL_BEFORE)                              \
            die();                                            \
        ssize_t result = (whole);                             \
        if (kind == KILL_AFTER)                               \
            die();                                            \
        return result;                                        \
    } while (0)

#define OPENING(name, pathname, dir, call)                                     \
    char place[PATH_MAX];                                                      \
    mode_t mode = 0;                                                           \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                     \
        va_list rest;                                                          \
        va_start(rest, flags);                                                 \
        mode = va_arg(rest, mode_t);                                           \
        va_end(rest);                                                          \
    }                                                                          \
    int writes = (flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT;           \
    if (writes && of_path(dir, pathname, place))                               \
        FAULT(OPEN, place, NULL, call);                                        \
    return call;

int open(const char *path, int flags, ...)
{
    OPENING(open, path, AT_FDCWD, REAL(open)(path, flags, mode))
}

int open64(const char *path, int flags, ...)
{
    OPENING(open64, path, AT_FDCWD, REAL(open64)(path, flags, mode))
}

int openat(int dir, const char *path, int flags, ...)
{
    OPENING(openat, path, dir, REAL(openat)(dir, path, flags, mode))
}

int openat64(int dir, const char *path, int flags, ...)
{
    OPENING(openat64, path, dir, REAL(openat64)(dir, path, flags, mode))
}

ssize_t write(int fd, const void *data, size_t size)
{
    char place[PATH_MAX];
    if (of_descriptor(fd, place))
        TRANSFER(WRITE, place, REAL(write)(fd, data, size), REAL(write)(fd, data, size / 2));
    return REAL(write)(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    char place[PATH_MAX];
    if (of_descriptor(fd, place))
        TRANSFER(WRITE, place, REAL(writev)(fd, parts, count), REAL(writev)(fd, parts, count / 2));
    return REAL(writev)(fd, parts, count);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    char place[PATH_MAX];
    if (of_descriptor(fd, place))
        TRANSFER(WRITE, place, REAL(pwrite64)(fd, data, size, at),
                 REAL(pwrite64)(fd, data, size / 2, at));
    return REAL(pwrite64)(fd, data, size, at);
}

ssize_t sendfile64(int out, int in, off64_t *at, size_t size)
{
    char place[PATH_MAX];
    if (of_descriptor(out, place))
        TRANSFER(COPY, place, REAL(sendfile64)(out, in, at, size),
                 REAL(sendfile64)(out, in, at, size < 128 ? 0 : 64));
    return REAL(sendfile64)(out, in, at, size);
}

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags)
{
    char place[PATH_MAX];
    if (of_descriptor(out, place))
        TRANSFER(COPY, place, REAL(copy_file_range)(in, from, out, to, size, flags),
                 REAL(copy_file_range)(in, from, out, to, size / 2, flags));
    return REAL(copy_file_range)(in, from, out, to, size, flags);
}

int linkat(int dir, const char *old, int other, const char *new, int flags)
{
    char place[PATH_MAX];
    if (of_path(other, new, place))
        FAULT(LINK, place, old, REAL(linkat)(dir, old, other, new, flags));
    return REAL(linkat)(dir, old, other, new, flags);
}

int link(const char *old, const char *new)
{
    char place[PATH_MAX];
    if (of_path(AT_FDCWD, new, place))
        FAULT(LINK, place, old, REAL(link)(old, new));
    return REAL(link)(old, new);
}

int symlink(const char *to, const char *path)
{
    char place[PATH_MAX];
    if (of_path(AT_FDCWD, path, place))
        FAULT(SYMLINK, place, NULL, REAL(symlink)(to, path));
    return REAL(symlink)(to, path);
}

int symlinkat(const char *to, int dir, const char *path)
{
    char place[PATH_MAX];
    if (of_path(dir, path, place))
        FAULT(SYMLINK, place, NULL, REAL(symlinkat)(to, dir, path));
    return REAL(symlinkat)(to, dir, path);
}

int rename(const char *old, const char *new)
{
    char place[PATH_MAX];
    if (of_path(AT_FDCWD, new, place))
        FAULT(RENAME, place, old, REAL(rename)(old, new));
    return REAL(rename)(old, new);
}

int renameat(int dir, const char *old, int other, const char *new)
{
    char place[PATH_MAX];
    if (of_path(other, new, place))
        FAULT(RENAME, place, old, REAL(renameat)(dir, old, other, new));
    return REAL(renameat)(dir, old, other, new);
}

int unlink(const char *path)
{
    char place[PATH_MAX];
    if (of_path(AT_FDCWD, path, place))
        FAULT(UNLINK, place, NULL, REAL(unlink)(path));
    return REAL(unlink)(path);
}

int unlinkat(int dir, const char *path, int flags)
{
    char place[PATH_MAX];
    if (of_path(dir, path, place))
        FAULT(flags & AT_REMOVEDIR ? RMDIR : UNLINK, place, NULL, REAL(unlinkat)(dir, path, flags));
    return REAL(unlinkat)(dir, path, flags);
}

int rmdir(const char *path)
{
    char place[PATH_MAX];
    if (of_path(AT_FDCWD, path, place))
        FAULT(RMDIR, place, NULL, REAL(rmdir)(path));
    return REAL(rmdir)(path);
}

int mkdir(const char *path, mode_t mode)
{
    char place[PATH_MAX];
    if (of_path(AT_FDCWD, path, place))
        FAULT(MKDIR, place, NULL, REAL(mkdir)(path, mode));
    return REAL(mkdir)(path, mode);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
    char place[PATH_MAX];
    if (of_path(dir, path, place))
        FAULT(MKDIR, place, NULL, REAL(mkdirat)(dir, path, mode));
    return REAL(mkdirat)(dir, path, mode);
}

int fsync(int fd)
{
    char place[PATH_MAX];
    if (of_descriptor(fd, place))
        FAULT(FSYNC, place, NULL, REAL(fsync)(fd));
    return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    char place[PATH_MAX];
    if (of_descriptor(fd, place))
        FAULT(FSYNC, place, NULL, REAL(fdatasync)(fd));
    return REAL(fdatasync)(fd);
}

int ftruncate64(int fd, off64_t size)
{
    char place[PATH_MAX];
    if (of_descriptor(fd, place))
        FAULT(TRUNCATE, place, NULL, REAL(ftruncate64)(fd, size));
    return REAL(ftruncate64)(fd, size);
}

int flock(int fd, int how)
{
    char place[PATH_MAX];
    if (of_descriptor(fd, place))
        FAULT(LOCK, place, NULL, REAL(flock)(fd, how));
    return REAL(flock)(fd, how);
}

int chmod(const char *path, mode_t mode)
{
    char place[PATH_MAX];
    if (of_path(AT_FDCWD, path, place))
        FAULT(CHMOD, place, NULL, REAL(chmod)(path, mode));
    return REAL(chmod)(path, mode);
}

int fchmod(int fd, mode_t mode)
{
    char place[PATH_MAX];
    if (of_descriptor(fd, place))
        FAULT(CHMOD, place, NULL, REAL(fchmod)(fd, mode));
    return REAL(fchmod)(fd, mode);
}

int fchmodat(int dir, const char *path, mode_t mode, int flags)
{
    char place[PATH_MAX];
    if (of_path(dir, path, place))
        FAULT(CHMOD, place, NULL, REAL(fchmodat)(dir, path, mode, flags));
    return REAL(fchmodat)(dir, path, mode, flags);
}

int utimensat(int dir, const char *path, const struct timespec times[2], int flags)
{
    char place[PATH_MAX];
    if (of_path(dir, path, place))
        FAULT(TIMES, place, NULL, REAL(utimensat)(dir, path, times, flags));
    return REAL(utimensat)(dir, path, times, flags);
}

int futimens(int fd, const struct timespec times[2])
{
    char place[PATH_MAX];
    if (of_descriptor(fd, place))
        FAULT(TIMES, place, NULL, REAL(futimens)(fd, times));
    return REAL(futimens)(fd, times);
}

int close(int fd)
{
    char place[PATH_MAX];
    if (!of_descriptor(fd, place) || !writable(fd))
        return REAL(close)(fd);
    enum kind kind = next(CLOSE, place, NULL);
    if (kind == KILL_BEFORE)
        die();
    int result = REAL(close)(fd); /* also an error closes the file */
    if (kind == KILL_AFTER)
        die();
    return kind == EIO_ ? failed(kind) : result;
}
