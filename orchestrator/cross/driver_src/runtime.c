/* What a libc would bring: system calls, memory, text, lists, files, and becoming a program. */
#include "driver.h"

/* ---- the kernel */

enum { AT_CWD = -100, CLOSE_ON_EXEC = 02000000, APPEND_CREATE = 02101 };

#if defined(__x86_64__)
enum { READ = 0, WRITE = 1, MMAP = 9, EXECVE = 59, EXIT = 231, OPENAT = 257, READLINKAT = 267,
       FACCESSAT = 269, MEMFD = 319 };
static long call(long n, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "+a"(n)
                     : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return n;
}
__asm__(".globl _start\n_start:\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
#elif defined(__aarch64__)
enum { READ = 63, WRITE = 64, MMAP = 222, EXECVE = 221, EXIT = 94, OPENAT = 56, READLINKAT = 78,
       FACCESSAT = 48, MEMFD = 279 };
static long call(long n, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}
__asm__(".globl _start\n_start:\n mov x0, sp\n bl begin\n");
#else
#error "this host has no compiler driver yet: its system calls are missing here"
#endif

/* Compilers insert calls of these. */
void *memset(void *to, int value, size n)
{
    for (byte *p = to; n--;) *p++ = (byte)value;
    return to;
}
void *memcpy(void *restrict to, const void *restrict from, size n)
{
    byte *p = to;
    for (const byte *q = from; n--;) *p++ = *q++;
    return to;
}
size strlen(const char *text)
{
    size n = 0;
    while (text[n]) n++;
    return n;
}

const char *own_name = "compiler";

_Noreturn void leave(int status)
{
    call(EXIT, status, 0, 0, 0, 0, 0);
    __builtin_unreachable();
}

void print(int fd, const char *text)
{
    for (size n = strlen(text); n;) {
        long done = call(WRITE, fd, (long)text, (long)n, 0, 0, 0);
        if (done <= 0) return;
        text += done;
        n -= (size)done;
    }
}

static _Noreturn void end(const char *before, const char *what, const char *why, const char *mark)
{
    const char *const parts[] = {own_name, ": error: ", before, what, ": ", why, mark, "\n"};
    for (size i = 0; i < sizeof parts / sizeof *parts; i++) print(2, parts[i]);
    leave(1);
}

_Noreturn void fail(const char *before, const char *what, const char *why)
{
    end(before, what, why, "");
}

_Noreturn void refuse(const char *before, const char *what, const char *why)
{
    end(before, what, why, " [refused]");
}

/* ---- memory and text */

void *allocate(size n)
{
    static char *room;
    static size left;
    n = (n + 15) & ~15ul;
    if (n > left) {
        left = n > (1ul << 20) ? n : (1ul << 20);
        long got = call(MMAP, 0, (long)left, 3 /* read, write */, 0x22 /* private, anonymous */, -1, 0);
        if (got < 0 && got > -4096) fail("out of memory", "", "the kernel gives no more");
        room = (char *)got;
    }
    char *p = room;
    room += n;
    left -= n;
    return p;
}

int equal(const char *a, const char *b)
{
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}
char *after(const char *text, const char *prefix)
{
    while (*prefix)
        if (*text++ != *prefix++) return 0;
    return (char *)text;
}
int ends_with(const char *text, const char *suffix)
{
    size n = strlen(text), m = strlen(suffix);
    return n >= m && equal(text + n - m, suffix);
}
char *find_char(const char *text, char c)
{
    for (; *text; text++)
        if (*text == c) return (char *)text;
    return 0;
}
int contains(const char *text, const char *part)
{
    for (; *text; text++)
        if (after(text, part)) return 1;
    return 0;
}
char *copy(const char *text, size n)
{
    char *made = allocate(n + 1);
    memcpy(made, text, n);
    made[n] = 0;
    return made;
}
char *join(const char *a, const char *b)
{
    size n = strlen(a), m = strlen(b);
    char *made = allocate(n + m + 1);
    memcpy(made, a, n);
    memcpy(made + n, b, m + 1);
    return made;
}
char *join3(const char *a, const char *b, const char *c) { return join(join(a, b), c); }
char *replace_char(const char *text, char from, char to)
{
    char *made = copy(text, strlen(text));
    for (char *p = made; *p; p++)
        if (*p == from) *p = to;
    return made;
}
char *cut(char *text, char at)
{
    char *end = find_char(text, at);
    if (!end) return text + strlen(text);
    *end = 0;
    return end + 1;
}
char *next_part(const char **text, char separator)
{
    const char *start = *text, *end = find_char(start, separator);
    *text = end ? end + 1 : 0;
    return copy(start, end ? (size)(end - start) : strlen(start));
}
const char *last_part(const char *path)
{
    for (const char *p = path; *p; p++)
        if (*p == '/') path = p + 1;
    return path;
}
char *folder_of(const char *path)
{
    size n = (size)(last_part(path) - path);
    return n > 1 ? copy(path, n - 1) : copy("/", n);
}

int is_any(const char *text, Words list)
{
    for (; *list; list++)
        if (equal(text, *list)) return 1;
    return 0;
}
int begins_with_any(const char *text, Words list)
{
    for (; *list; list++)
        if (after(text, *list)) return 1;
    return 0;
}
int ends_with_any(const char *text, Words list)
{
    for (; *list; list++)
        if (ends_with(text, *list)) return 1;
    return 0;
}

/* ---- lists and sets */

void add(List *list, const char *text)
{
    if (list->n + 1 >= list->room) {
        list->room = list->room ? list->room * 2 : 64;
        char **at = allocate(list->room * sizeof *at);
        if (list->n) memcpy(at, list->at, list->n * sizeof *at);
        list->at = at;
    }
    list->at[list->n++] = (char *)text;
    list->at[list->n] = 0;
}
void add_all(List *list, const List *more)
{
    for (size i = 0; i < more->n; i++) add(list, more->at[i]);
}
int has_word(const List *list, const char *text)
{
    for (size i = 0; i < list->n; i++)
        if (equal(list->at[i], text)) return 1;
    return 0;
}

/* The place of a text in a set, whether it is there or not. */
static const char **place(const Set *set, const char *text)
{
    size hash = 5381;
    for (const char *p = text; *p; p++) hash = hash * 33 ^ (byte)*p;
    for (;; hash++) {
        const char **at = set->at + (hash & (set->room - 1));
        if (!*at || equal(*at, text)) return at;
    }
}
int in_set(const Set *set, const char *text) { return set->n && *place(set, text) != 0; }
void put(Set *set, const char *text)
{
    if (set->n * 2 >= set->room) {
        Set larger = {0, set->n, set->room ? set->room * 2 : 1024};
        larger.at = allocate(larger.room * sizeof *larger.at);
        memset(larger.at, 0, larger.room * sizeof *larger.at);
        for (size i = 0; i < set->room; i++)
            if (set->at[i]) *place(&larger, set->at[i]) = set->at[i];
        *set = larger;
    }
    const char **at = place(set, text);
    set->n += !*at;
    *at = text;
}

/* ---- files */

int exists(const char *path)
{
    return call(FACCESSAT, AT_CWD, (long)path, 0, 0, 0, 0) == 0;
}
long open_file(const char *path)
{
    return call(OPENAT, AT_CWD, (long)path, CLOSE_ON_EXEC, 0, 0, 0);
}
size read_bytes(long fd, void *to, size n)
{
    size have = 0;
    for (long got = 1; have < n && got > 0; have += got > 0 ? (size)got : 0)
        got = call(READ, fd, (long)to + (long)have, (long)(n - have), 0, 0, 0);
    return have;
}

char *read_file(const char *path, size *length)
{
    long fd = open_file(path);
    if (fd < 0) return 0;
    size n = 0, room = 1 << 14;
    char *text = allocate(room);
    for (;;) {
        long got = call(READ, fd, (long)(text + n), (long)(room - n - 1), 0, 0, 0);
        if (got < 0) return 0;
        if (got == 0) break;
        n += (size)got;
        if (room - n == 1) {
            char *larger = allocate(room *= 2);
            memcpy(larger, text, n);
            text = larger;
        }
    }
    text[n] = 0;
    if (length) *length = n;
    return text;
}

void append_to_file(const char *path, const char *line)
{
    long fd = call(OPENAT, AT_CWD, (long)path, CLOSE_ON_EXEC | APPEND_CREATE, 0666, 0, 0);
    if (fd >= 0) print((int)fd, line);
}

long anonymous_file(const char *name, char **path)
{
    long fd = call(MEMFD, (long)name, 0, 0, 0, 0, 0);
    if (fd < 0) return fd;
    char digits[16], *digit = digits + sizeof digits - 1;
    *digit = 0;
    for (long n = fd; n || !*digit; n /= 10) *--digit = (char)('0' + n % 10);
    *path = join("/proc/self/fd/", digit);
    return fd;
}

int own_path(char *to, size room)
{
    long n = call(READLINKAT, AT_CWD, (long)"/proc/self/exe", (long)to, (long)room - 1, 0, 0);
    if (n > 0) to[n] = 0;
    return n > 0;
}

int starts(const char *text, size left, const char *word)
{
    for (; *word; word++, text++, left--)
        if (!left || *text != *word) return 0;
    return 1;
}

int file_mentions(const char *path, Matcher *matches)
{
    enum { LONGEST = 64 };
    static char block[1 << 16];
    long fd = open_file(path), got = fd >= 0;
    for (size kept = 0, next = 0; got > 0;) {
        got = call(READ, fd, (long)(block + kept), (long)(sizeof block - kept), 0, 0, 0);
        size n = kept + (got > 0 ? (size)got : 0);
        for (size i = next; i + (got > 0 ? LONGEST : 1) <= n; i++)
            if (block[i] == '_' && matches(block + i, n - i, i ? block[i - 1] : 0)) return 1;
        next = n >= LONGEST; /* the first byte that is kept has been checked */
        kept = next ? LONGEST : n;
        for (size i = 0; i < kept; i++) block[i] = block[n - kept + i];
    }
    return 0;
}

/* ---- programs */

char *variable(char **environment, const char *name)
{
    for (; *environment; environment++) {
        char *value = after(*environment, name);
        if (value && *value == '=' && value[1]) return value + 1;
    }
    return 0;
}

_Noreturn void run(const List *arguments, char **environment, const List *changes)
{
    List env = {0};
    for (; *environment; environment++) {
        int replaced = 0;
        for (size i = 0; i < changes->n; i++) {
            const char *change = changes->at[i];
            replaced |= after(*environment, copy(change, (size)(find_char(change, '=') - change) + 1)) != 0;
        }
        if (!replaced) add(&env, *environment);
    }
    add_all(&env, changes);
    call(EXECVE, (long)arguments->at[0], (long)arguments->at, (long)env.at, 0, 0, 0);
    fail("cannot start ", arguments->at[0], "it is missing or no program of this machine");
}
