/* The compiler driver that builds for another architecture, or another libc, call.
 *
 * One native, static program under many names (cc, g++, aarch64-linux-gnu-gcc, ar, ...). It reads
 * `compiler.conf` in its own directory, changes the arguments, and becomes the real program. It is
 * native and static, and needs no libc, because it also runs inside containers of other
 * architectures and distributions; a script there would be emulated, once for each file compiled.
 *
 * compiler.conf, one setting a line, the value is the rest of the line:
 *
 *     mode zig                  translate what zig refuses; `gcc` hands arguments on as they are
 *     machine aarch64           architecture of what is compiled
 *     native                    code for this very CPU (-march=native) is wanted
 *     env NAME=VALUE            put into the environment of the real program
 *     tool cc                   what the names ending in `cc` and `gcc` stand for; also c++, ar, ...
 *     exec /path/of/zig         ... its program, and then its first arguments, one a line
 *     exec cc
 *     first -I/target/include   argument of every compilation and link, before all others
 *     last -idirafter           the same, after all others
 *     link -Wl,-S               argument of links alone, after all others
 *     drop-below /usr/include   leave out -I, -isystem, -L, ... of this directory and those below
 *     library /usr/lib          directory searched for -l:FILE and by -print-file-name
 *     answer -dumpmachine aarch64-linux-gnu      print that, and do nothing else
 *
 *     log /path                 gets a line for each call: `native`, or `own`; `nvcc` for one of
 *                               nvcc's that is native; and one for a call by another compiler,
 *                               which is not: `Rust`, `CUDA`, `Fortran`
 *
 * In gcc's mode also:
 *
 *     own g++ /usr/bin/g++      program of that name that is not ours: it answers what is asked, and
 *                               gets what is neither C nor C++, or for this very CPU
 *     headers CPLUS_INCLUDE_PATH=/a:/b    where the headers of a language are
 *
 * Where it stands for nvcc, nothing but `log` and:
 *
 *     nvcc cuda_13.0.r13.0/compiler.1_0 /folder    a native nvcc, by what its programs say of
 *                               themselves; /folder/nvcc.profile is what a toolkit of it has
 */

typedef unsigned long size;
typedef unsigned char byte;

/* ---- the kernel */

enum { AT_CWD = -100, CLOSE_ON_EXEC = 02000000 };

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

/* Compilers make calls of these on their own. */
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
size strlen(const char *s)
{
    size n = 0;
    while (s[n]) n++;
    return n;
}

static void write_all(int fd, const char *text, size n)
{
    while (n) {
        long done = call(WRITE, fd, (long)text, (long)n, 0, 0, 0);
        if (done <= 0) return;
        text += done;
        n -= (size)done;
    }
}
static void say(int fd, const char *text) { write_all(fd, text, strlen(text)); }
static _Noreturn void leave(int status)
{
    call(EXIT, status, 0, 0, 0, 0, 0);
    __builtin_unreachable();
}

static const char *own_name = "compiler";

static _Noreturn void refuse(const char *what, const char *which, const char *why)
{
    say(2, own_name), say(2, ": error: "), say(2, what), say(2, which), say(2, ": "), say(2, why);
    say(2, "\n");
    leave(1);
}

/* ---- memory and text; nothing is ever freed */

static char *room;
static size room_left;

static void *take(size n)
{
    n = (n + 15) & ~15ul;
    if (n > room_left) {
        size chunk = n > (1ul << 20) ? n : (1ul << 20);
        long got = call(MMAP, 0, (long)chunk, 3 /* read, write */, 0x22 /* private, anonymous */, -1, 0);
        if (got < 0 && got > -4096) refuse("out of memory", "", "the kernel gives no more");
        room = (char *)got;
        room_left = chunk;
    }
    char *p = room;
    room += n;
    room_left -= n;
    return p;
}

static int same(const char *a, const char *b)
{
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}
/* What follows a prefix; 0 where the text begins otherwise. */
static char *after(const char *text, const char *prefix)
{
    while (*prefix)
        if (*text++ != *prefix++) return 0;
    return (char *)text;
}
static int ends(const char *text, const char *suffix)
{
    size n = strlen(text), m = strlen(suffix);
    return n >= m && same(text + n - m, suffix);
}
static char *find(const char *text, char c)
{
    for (; *text; text++)
        if (*text == c) return (char *)text;
    return 0;
}
static int is_in(const char *text, const char *const *list)
{
    for (; *list; list++)
        if (same(text, *list)) return 1;
    return 0;
}
static int begins_with_any(const char *text, const char *const *list)
{
    for (; *list; list++)
        if (after(text, *list)) return 1;
    return 0;
}
static char *copy(const char *text, size n)
{
    char *made = take(n + 1);
    memcpy(made, text, n);
    made[n] = 0;
    return made;
}
static char *join(const char *a, const char *b)
{
    size n = strlen(a), m = strlen(b);
    char *made = take(n + m + 1);
    memcpy(made, a, n);
    memcpy(made + n, b, m + 1);
    return made;
}

typedef struct {
    char **at;
    size n, room;
} List;

static void add(List *list, const char *text)
{
    if (list->n + 1 >= list->room) {
        size room = list->room ? list->room * 2 : 64;
        char **at = take(room * sizeof *at);
        if (list->n) memcpy(at, list->at, list->n * sizeof *at);
        list->at = at;
        list->room = room;
    }
    list->at[list->n++] = (char *)text;
    list->at[list->n] = 0;
}
static void add_all(List *list, const List *more)
{
    for (size i = 0; i < more->n; i++) add(list, more->at[i]);
}

typedef struct {
    const char **at;
    size n, room;
} Set;

/* Where a text is in a set, or would be. */
static const char **place(const Set *set, const char *text)
{
    size hash = 5381;
    for (const char *p = text; *p; p++) hash = hash * 33 ^ (byte)*p;
    for (;; hash++) {
        const char **at = set->at + (hash & (set->room - 1));
        if (!*at || same(*at, text)) return at;
    }
}
static int has(const Set *set, const char *text) { return set->n && *place(set, text) != 0; }
static void put(Set *set, const char *text)
{
    if (set->n * 2 >= set->room) {
        Set larger = {0, set->n, set->room ? set->room * 2 : 1024};
        larger.at = take(larger.room * sizeof *larger.at);
        memset(larger.at, 0, larger.room * sizeof *larger.at);
        for (size i = 0; i < set->room; i++)
            if (set->at[i]) *place(&larger, set->at[i]) = set->at[i];
        *set = larger;
    }
    const char **at = place(set, text);
    set->n += !*at;
    *at = text;
}

/* A number in a file, of the byte order that the file has. */
static size number(const byte *at, int width, int big)
{
    size n = 0;
    for (int i = 0; i < width; i++) n |= (size)at[i] << 8 * (big ? width - 1 - i : i);
    return n;
}

/* The contents of a file, and how much that is; 0 where it cannot be read. */
static char *contents_of(const char *path, size *length)
{
    long fd = call(OPENAT, AT_CWD, (long)path, CLOSE_ON_EXEC, 0, 0, 0);
    if (fd < 0) return 0;
    size n = 0, size_now = 1 << 14;
    char *text = take(size_now);
    for (;;) {
        long got = call(READ, fd, (long)(text + n), (long)(size_now - n - 1), 0, 0, 0);
        if (got < 0) return 0;
        if (got == 0) break;
        n += (size)got;
        if (size_now - n - 1 == 0) {
            char *larger = take(size_now * 2);
            memcpy(larger, text, n);
            text = larger;
            size_now *= 2;
        }
    }
    text[n] = 0;
    *length = n;
    return text;
}
static char *contents(const char *path)
{
    size n;
    return contents_of(path, &n);
}
static int exists(const char *path)
{
    return call(FACCESSAT, AT_CWD, (long)path, 0, 0, 0, 0) == 0;
}

/* ---- the configuration */

typedef struct {
    int zig, native;
    const char *machine, *log, *own;
    List headers, env, exec, first, last, link, drop, library, answer, nvcc;
} Config;

static Config config;

/* The tool that a name stands for, without a triplet in front or a version behind. */
static const char *tool_of(const char *name)
{
    static const char *const c[] = {"cc", "gcc", "clang", "c99", "c11", "c17", 0};
    static const char *const cxx[] = {"c++", "g++", "clang++", 0};
    static const char *const others[] = {"ar", "ranlib", "ld", "nm", "strip", "objcopy", "objdump",
                                         "readelf", "as", "cpp", 0};
    size n = strlen(name);
    while (n && ((name[n - 1] >= '0' && name[n - 1] <= '9') || name[n - 1] == '.')) n--;
    char *plain = n && name[n - 1] == '-' ? copy(name, n - 1) : copy(name, strlen(name));
    /* Longest first: `aarch64-linux-gnu-gcc-ar` is ar. */
    for (char *part = plain; part; part = find(part, '-') ? find(part, '-') + 1 : 0) {
        if (is_in(part, c)) return "cc";
        if (is_in(part, cxx)) return "c++";
        if (is_in(part, others)) return part;
    }
    return plain;
}

static void read_config(const char *path, const char *tool)
{
    char *text = contents(path);
    if (!text) refuse("no configuration: ", path, "cannot be read");
    int ours = 0;
    while (*text) {
        char *end = find(text, '\n');
        char *next = end ? end + 1 : text + strlen(text);
        if (end) *end = 0;
        char *blank = find(text, ' ');
        char *value = blank ? blank + 1 : text + strlen(text);
        if (blank) *blank = 0;
        if (same(text, "mode")) config.zig = same(value, "zig");
        else if (same(text, "machine")) config.machine = value;
        else if (same(text, "native")) config.native = 1;
        else if (same(text, "env")) add(&config.env, value);
        else if (same(text, "log")) config.log = value;
        else if (same(text, "own")) {
            char *rest = after(value, own_name);
            if (rest && *rest == ' ') config.own = rest + 1;
        }
        else if (same(text, "headers")) add(&config.headers, value);
        else if (same(text, "tool")) ours = same(value, tool);
        else if (same(text, "exec")) { if (ours) add(&config.exec, value); }
        else if (same(text, "first")) add(&config.first, value);
        else if (same(text, "last")) add(&config.last, value);
        else if (same(text, "link")) add(&config.link, value);
        else if (same(text, "drop-below")) add(&config.drop, value);
        else if (same(text, "library")) add(&config.library, value);
        else if (same(text, "answer")) add(&config.answer, value);
        else if (same(text, "nvcc")) add(&config.nvcc, value);
        else if (*text && *text != '#') refuse("unknown setting ", text, path);
        text = next;
    }
}

/* ---- arguments as they come in */

/* Split a response file as GNU programs do: blanks, quotes, backslashes. */
static void add_words(List *list, const char *text)
{
    while (*text) {
        while (*text == ' ' || (*text >= '\t' && *text <= '\r')) text++;
        if (!*text) return;
        char *word = take(strlen(text) + 1), *end = word, quote = 0;
        for (; *text; text++) {
            if (*text == '\\' && text[1]) *end++ = *++text;
            else if (quote && *text == quote) quote = 0;
            else if (!quote && (*text == '"' || *text == '\'')) quote = *text;
            else if (!quote && (*text == ' ' || (*text >= '\t' && *text <= '\r'))) break;
            else *end++ = *text;
        }
        *end = 0;
        add(list, word);
    }
}

static void expand(List *out, char *const *arguments, int depth)
{
    for (; *arguments; arguments++) {
        char *text = **arguments == '@' && depth < 8 ? contents(*arguments + 1) : 0;
        if (!text) {
            add(out, *arguments);
            continue;
        }
        List words = {0};
        add_words(&words, text);
        if (words.n) expand(out, words.at, depth + 1);
    }
}

/* Options whose value is the next argument, when it is not joined to them. */
static const char *const with_value[] = {
    "-o", "-x", "-include", "-imacros", "-isystem", "-idirafter", "-iquote", "-iprefix",
    "-iwithprefix", "-isysroot", "--sysroot", "-MF", "-MT", "-MQ", "-T", "-Xassembler",
    "-Xpreprocessor", "-Xclang", "-target", "--param", "-D", "-U", "-I", "-L", "-l", "-u", "-z",
    "-e", "-h", "-soname", "-wrapper", "-aux-info", "-A", "-B", "-F", "-G", 0};

static const char *const directories[] = {"-isystem", "-idirafter", "-iquote", "-I", "-L", "-B", 0};

static int is_below(const char *path, const List *places)
{
    for (size i = 0; i < places->n; i++) {
        char *rest = after(path, places->at[i]);
        if (rest && (*rest == 0 || *rest == '/')) return 1;
    }
    return 0;
}

/* ---- what is decided about a whole command */

typedef struct {
    List out;
    const char *waiting;   /* a linker's option whose value is still to come */
    List folders;          /* -L */
    int static_now, as_needed, whole;
    int saved[16][3], depth;
    const char *language;  /* of -x */
    int links, shared, openmp;
    List objects, archives; /* what is linked, by path */
    List libraries;         /* ... and by -l, a letter in front: `s` where only archives count */
    List excluded;          /* --exclude-libs */
    const char *versions;   /* --version-script */
} Command;

static int links_something(const List *in)
{
    static const char *const no_link[] = {"-c", "-S", "-E", "-M", "-MM", "-fsyntax-only", 0};
    for (size i = 0; i < in->n; i++)
        if (is_in(in->at[i], no_link)) return 0;
    return 1;
}

static int mentions_option(const List *in, const char *option)
{
    for (size i = 0; i < in->n; i++)
        if (same(in->at[i], option)) return 1;
    return 0;
}

static int is_cxx(const char *file)
{
    static const char *const suffixes[] = {".cc", ".cpp", ".cxx", ".c++", ".C", ".cp", ".CPP", ".ii",
                                           ".hpp", ".hh", ".hxx", 0};
    for (const char *const *each = suffixes; *each; each++)
        if (ends(file, *each)) return 1;
    return 0;
}

/* gcc compiles C++ whatever it is called; zig finds C++'s headers as `c++` only. */
static int has_cxx(const List *in)
{
    for (size i = 0; i < in->n; i++) {
        const char *each = in->at[i], *language = after(each, "-x");
        if (language && (after(language, "c++") || (!*language && i + 1 < in->n && after(in->at[i + 1], "c++"))))
            return 1;
        if (*each != '-' && is_cxx(each)) return 1;
        if (is_in(each, with_value)) i++;
    }
    return 0;
}

/* ---- the linker's options, for zig */

static void linker_option(Command *c, const char *option, const char *value)
{
    add(&c->out, value ? join(join(join("-Wl,", option), ","), value) : join("-Wl,", option));
}

/* `liba.a:libb.a`; also with commas, where the shell's -Wl left them. */
static void add_split(List *list, const char *names)
{
    for (const char *end = names; names && *names; names = *end ? ++end : end) {
        for (end = names; *end && *end != ':' && *end != ','; end++) {}
        add(list, copy(names, (size)(end - names)));
    }
}

static void save_state(Command *c)
{
    if (c->depth < 16) {
        int *to = c->saved[c->depth++];
        to[0] = c->static_now, to[1] = c->as_needed, to[2] = c->whole;
    }
}
static void restore_state(Command *c)
{
    if (!c->depth) return;
    int *from = c->saved[--c->depth];
    if (c->static_now != from[0]) linker_option(c, from[0] ? "-Bstatic" : "-Bdynamic", 0);
    if (c->as_needed != from[1]) linker_option(c, from[1] ? "--as-needed" : "--no-as-needed", 0);
    if (c->whole != from[2]) linker_option(c, from[2] ? "--whole-archive" : "--no-whole-archive", 0);
    c->static_now = from[0], c->as_needed = from[1], c->whole = from[2];
}

static void linker_token(Command *c, const char *token);

/* One option of the linker with its value, if it takes one; `name` has no dashes in front. */
static void linker_pair(Command *c, const char *name, const char *option, const char *value)
{
    /* They change speed, size, or what the linker prints; never what a program does that links. */
    static const char *const dropped[] = {
        "Bsymbolic-functions", "copy-dt-needed-entries", "no-copy-dt-needed-entries",
        "warn-common", "Map", "print-map", "M", "rpath-link", "icf", "demangle", "no-demangle", "discard-locals", "X",
        "no-keep-memory", "reduce-memory-overheads", "stats", "trace", "t", "verbose", "no-relax",
        "relax", "plugin", "plugin-opt", "fuse-ld", "cref", "warn-once", "no-warn-mismatch",
        "warn-shared-textrel", "orphan-handling", "no-ld-generated-unwind-info", "split-sections",
        "add-needed", "no-add-needed", "cache-size", "hash-size", "hash-bucket-size", "threads",
        "no-threads", "thread-count", "detect-odr-violations", "warn-unresolved-symbols", 0};
    static const char *const dropped_z[] = {
        "separate-code", "noseparate-code", "pack-relative-relocs", "nopack-relative-relocs", "text",
        "start-stop-gc", "nostart-stop-gc", "combreloc", "nocombreloc", 0};
    if (is_in(name, dropped)) return;
    if (same(name, "exclude-libs")) add_split(&c->excluded, value);
    else if (same(name, "dynamic-list") && c->shared)
        refuse("--dynamic-list=", value, "zig cannot say what of a library may be replaced from outside; "
               "a version script says what is exported");
    else if (after(name, "dynamic-list")) {
        /* The other lists say of a library only which references bind early; and a program's are
           what it exports: zig has all of it or nothing, and nothing may be missing. */
        if (!c->shared) linker_option(c, "--export-dynamic", 0);
    }
    else if (same(name, "push-state")) save_state(c);
    else if (same(name, "pop-state")) restore_state(c);
    else if (same(name, "h")) linker_option(c, "-soname", value);
    else if (same(name, "undefined")) linker_option(c, "-u", value);
    else if (same(name, "z")) {
        if (!value || !is_in(value, dropped_z)) linker_option(c, "-z", value);
    } else {
        if (same(name, "Bstatic") || same(name, "static") || same(name, "dn")) c->static_now = 1;
        if (same(name, "Bdynamic") || same(name, "dy")) c->static_now = 0;
        if (same(name, "as-needed")) c->as_needed = 1;
        if (same(name, "no-as-needed")) c->as_needed = 0;
        if (same(name, "whole-archive")) c->whole = 1;
        if (same(name, "no-whole-archive")) c->whole = 0;
        if (same(name, "version-script")) c->versions = value;
        linker_option(c, option, value);
    }
}

static void argument(Command *c, const char *text, const char *value);

static void linker_token(Command *c, const char *token)
{
    static const char *const takes_value[] = {
        "rpath", "R", "rpath-link", "soname", "h", "z", "u", "undefined", "Map", "version-script",
        "dynamic-list", "exclude-libs", "defsym", "wrap", "init", "fini", "e", "entry", "plugin",
        "plugin-opt", "sysroot", "m", "dynamic-linker", "retain-symbols-file", "y", "script", "T",
        "hash-style", "build-id-path", "image-base", "Ttext", "Tdata", "Tbss", 0};
    if (c->waiting) {
        const char *option = c->waiting;
        c->waiting = 0;
        linker_pair(c, option + 1 + (option[1] == '-'), option, token);
        return;
    }
    if (*token != '-' || after(token, "-l") || after(token, "-L")) {
        if (*token) argument(c, token, 0);
        return;
    }
    const char *name = token + 1 + (token[1] == '-');
    if (is_in(name, takes_value)) {
        c->waiting = token;
        return;
    }
    if (*name == 'O' && name != token + 2) return; /* -O1: of no effect on code */
    char *equals = find(name, '=');
    if (name[0] == 'z' && name[1] && token[1] == 'z') linker_pair(c, "z", "-z", name + 1);
    else if (equals)
        linker_pair(c, copy(name, (size)(equals - name)), copy(token, (size)(equals - token)), equals + 1);
    else linker_pair(c, name, token, 0);
}

static void linker_tokens(Command *c, const char *list)
{
    while (list) {
        char *comma = find(list, ',');
        linker_token(c, comma ? copy(list, (size)(comma - list)) : list);
        list = comma ? comma + 1 : 0;
    }
}

static void library_file(Command *c, const char *name)
{
    const List *places[] = {&c->folders, &config.library};
    for (int i = 0; i < 2; i++)
        for (size j = 0; j < places[i]->n; j++) {
            char *path = join(join(places[i]->at[j], "/"), name);
            if (exists(path)) {
                add(&c->out, path);
                if (ends(path, ".a")) add(&c->archives, path);
                return;
            }
        }
    refuse("-l:", name, "no directory that -L names has this file");
}

/* ---- what is exported, for zig: it hands neither --exclude-libs nor --dynamic-list to its linker */

static const char *last_part(const char *path)
{
    for (const char *p = path; *p; p++)
        if (*p == '/') path = p + 1;
    return path;
}

/* A file without a name, and the path that leads to it as long as this program runs. */
static long nameless(const char *name, char **path)
{
    long fd = call(MEMFD, (long)name, 0, 0, 0, 0, 0);
    if (fd < 0) return fd;
    char digits[16], *digit = digits + sizeof digits - 1;
    *digit = 0;
    for (long n = fd; n || !*digit; n /= 10) *--digit = (char)('0' + n % 10);
    *path = join("/proc/self/fd/", copy(digit, strlen(digit)));
    return fd;
}

/* The archive that -l stands for; 0 where it is a shared library, or zig's own affair. */
static const char *archive_of(const Command *c, const char *library)
{
    static const char *const of_zig[] = {"c", "m", "dl", "rt", "util", "pthread", "resolv", "gcc",
                                         "gcc_s", "gcc_eh", "stdc++", "c++", "c++abi", "unwind", 0};
    if (is_in(library + 1, of_zig)) return 0;
    const List *places[] = {&c->folders, &config.library};
    for (int i = 0; i < 2; i++)
        for (size j = 0; j < places[i]->n; j++) {
            char *path = join(join(places[i]->at[j], "/lib"), library + 1);
            if (*library != 's' && exists(join(path, ".so"))) return 0;
            if (exists(join(path, ".a"))) return join(path, ".a");
        }
    return 0;
}

/* What an archive defines for others: its index says so. */
static void add_symbols(Set *set, const char *path)
{
    long fd = call(OPENAT, AT_CWD, (long)path, CLOSE_ON_EXEC, 0, 0, 0);
    char head[69] = {0};
    if (fd < 0) return; /* the linker says it */
    long got = call(READ, fd, (long)head, 68, 0, 0, 0);
    if (got == 8 && (after(head, "!<arch>\n") || after(head, "!<thin>\n"))) return; /* empty */
    int width = after(head + 8, "/ ") ? 4 : after(head + 8, "/SYM64/") ? 8 : 0;
    if (got != 68 || !width || !(after(head, "!<arch>\n") || after(head, "!<thin>\n")))
        refuse("--exclude-libs: ", path, "has no index of its symbols; ranlib makes one");
    size length = 0, have = 0;
    for (const char *p = head + 56; *p >= '0' && *p <= '9'; p++) length = length * 10 + (size)(*p - '0');
    char *index = take(length + 1);
    while (have < length && (got = call(READ, fd, (long)(index + have), (long)(length - have), 0, 0, 0)) > 0)
        have += (size)got;
    index[have] = 0;
    size count = have >= (size)width ? number((byte *)index, width, 1) : 0;
    if (count >= have / (size)width) refuse("--exclude-libs: ", path, "is damaged");
    for (char *name = index + (size)width * (count + 1); count-- && name < index + have;) {
        put(set, name);
        name += strlen(name) + 1;
    }
}

/* What an object defines itself; nothing where it is no ELF file (of LTO, for one). */
static void add_defined(Set *set, const char *path)
{
    size n = 0;
    byte *file = (byte *)contents_of(path, &n);
    if (!file || n < 64 || number(file, 4, 1) != 0x7f454c46) return;
    int wide = file[4] == 2, big = file[5] == 2, word = wide ? 8 : 4;
    size sections = number(file + (wide ? 40 : 32), word, big);
    size each = number(file + (wide ? 58 : 46), 2, big), count = number(file + (wide ? 60 : 48), 2, big);
    if (sections > n || each * count > n - sections) return;
    for (size i = 0; i < count; i++) {
        byte *head = file + sections + i * each;
        if (number(head + 4, 4, big) != 2) continue; /* the table of symbols */
        size at = number(head + (wide ? 24 : 16), word, big), of = number(head + (wide ? 32 : 20), word, big);
        size link = number(head + (wide ? 40 : 24), 4, big), step = wide ? 24 : 16;
        if (link >= count || at > n || of > n - at) return;
        size names = number(file + sections + link * each + (wide ? 24 : 16), word, big);
        for (byte *symbol = file + at; step <= of; symbol += step, of -= step) {
            size name = names + number(symbol, 4, big);
            int bound = symbol[wide ? 4 : 12] >> 4;
            if (bound && number(symbol + (wide ? 6 : 14), 2, big) && name < n) put(set, (char *)file + name);
        }
    }
}

/* Whether a pattern of a version script may mean one of some symbols. */
static int may_mean(const char *pattern, const Set *symbols)
{
    size n = strlen(pattern) - 1;
    if (!find(pattern, '*') && !find(pattern, '?') && !find(pattern, '[')) return has(symbols, pattern);
    if (find(pattern, '?') || find(pattern, '[') || find(pattern, '*') != pattern + n) return 1;
    char *start = copy(pattern, n);
    for (size i = 0; i < symbols->room; i++)
        if (symbols->at[i] && after(symbols->at[i], start)) return 1;
    return 0;
}

/* A version script of the project's own: it must not name, nor leave open, what is to be hidden. */
static void check_versions(const char *path, const Set *hidden)
{
    static const char *const blanks = " \t\r\n;{}:\"";
    static const char *const both = "says what is exported, and so does --exclude-libs; zig takes one";
    int local = 0, closed = 0;
    for (const char *text = contents(path); text && *text;) {
        const char *end = text;
        if (find(blanks, *text)) {
            text++;
        } else if (*text == '#') {
            while (*text && *text != '\n') text++;
        } else if (after(text, "/*")) {
            while (*text && !after(text, "*/")) text++;
            text += *text ? 2 : 0;
        } else {
            while (*end && !find(blanks, *end)) end++;
            char *word = copy(text, (size)(end - text));
            text = end;
            if (same(word, "local") || same(word, "global")) local = *word == 'l';
            else if (local) closed |= same(word, "*");
            else if (same(word, "extern") || may_mean(word, hidden)) refuse("", path, both);
        }
    }
    if (!closed) refuse("", path, both);
}

/* --exclude-libs: what the linker takes from these archives is not exported. */
static void hide(Command *c)
{
    Set hidden = {0}, own = {0};
    for (size i = 0; i < c->libraries.n; i++) {
        const char *found = archive_of(c, c->libraries.at[i]);
        if (found) add(&c->archives, found);
    }
    for (size i = 0; i < c->archives.n; i++)
        for (size j = 0; j < c->excluded.n; j++)
            if (same(c->excluded.at[j], "ALL") || same(c->excluded.at[j], last_part(c->archives.at[i])))
                add_symbols(&hidden, c->archives.at[i]);
    if (!hidden.n) return;
    if (c->versions) {
        check_versions(c->versions, &hidden);
        return;
    }
    for (size i = 0; i < c->objects.n; i++) add_defined(&own, c->objects.at[i]);
    char *path;
    long fd = nameless("versions", &path);
    if (fd < 0) refuse("--exclude-libs", "", "the kernel makes no file for what is not exported");
    say((int)fd, "{ local:\n");
    for (size i = 0; i < hidden.room; i++)
        if (hidden.at[i] && !has(&own, hidden.at[i]))
            say((int)fd, "\""), say((int)fd, hidden.at[i]), say((int)fd, "\";\n");
    say((int)fd, "};\n");
    linker_option(c, "--version-script", path);
    linker_option(c, "--undefined-version", 0); /* not every member is taken */
}

/* ---- the compiler's options, for zig */

static int is_x86(void) { return same(config.machine, "x86_64") || same(config.machine, "i686"); }

/* gcc's names of features -> LLVM's; where they differ. */
static const char *feature(const char *gcc)
{
    static const char *const names[] = {
        "fp16", "fullfp16", "simd", "neon", "fp", "fp_armv8", "rdma", "rdm", "memtag", "mte",
        "profile", "spe", "rng", "rand", "crypto", "crypto", 0};
    for (const char *const *each = names; *each; each += 2)
        if (same(gcc, each[0])) return each[1];
    return gcc;
}

static char *underscored(const char *text)
{
    char *made = copy(text, strlen(text));
    for (char *p = made; *p; p++)
        if (*p == '-') *p = '_';
    return made;
}

/* `base+ext+noext` -> zig's `base+ext-ext`. */
static char *with_features(char *base, const char *extensions)
{
    while (extensions && *extensions) {
        char *next = find(extensions, '+');
        char *one = next ? copy(extensions, (size)(next - extensions)) : copy(extensions, strlen(extensions));
        char *without = after(one, "no");
        base = join(join(base, without ? "-" : "+"), underscored(feature(without ? without : one)));
        extensions = next ? next + 1 : 0;
    }
    return base;
}

static void processor_arm(Command *c, const char *value)
{
    char *plus = find(value, '+');
    char *name = plus ? copy(value, (size)(plus - value)) : copy(value, strlen(value));
    char *version = after(name, "armv");
    if (version && ends(version, "-a")) { /* armv8.2-a -> v8_2a */
        char *level = copy(version, strlen(version) - 2);
        for (char *p = level; *p; p++)
            if (*p == '.') *p = '_';
        name = same(level, "8") ? "generic" : join(join("generic+v", level), "a");
    } else name = underscored(name);
    add(&c->out, join("-mcpu=", with_features(name, plus ? plus + 1 : 0)));
}

static void processor_riscv(Command *c, const char *value)
{
    char *letters = after(value, "rv64");
    if (!letters) {
        add(&c->out, join("-mcpu=", underscored(value)));
        return;
    }
    char *cpu = "generic_rv64";
    for (; *letters && *letters != '_'; letters++) {
        char one[3] = {'+', *letters, 0};
        if (*letters == 'g') cpu = join(cpu, "+m+a+f+d+zicsr+zifencei");
        else if (*letters != 'i') cpu = join(cpu, copy(one, 2));
    }
    for (; *letters; letters++) { /* _zba_zbb -> +zba+zbb */
        char one[2] = {*letters == '_' ? '+' : *letters, 0};
        cpu = join(cpu, copy(one, 1));
    }
    add(&c->out, join("-mcpu=", cpu));
}

/* -march= and -mcpu=: zig has one name for both, in its own spelling. */
static void processor(Command *c, const char *option, const char *value)
{
    if (same(value, "native") && !config.native)
        refuse(option, value, "this machine's CPU is not the one that is built for; name one, or none");
    if (same(config.machine, "aarch64")) {
        if (after(value, "x86") || after(value, "haswell") || after(value, "skylake"))
            refuse(option, value, "is for x86, and this builds for aarch64");
        processor_arm(c, value);
    } else if (same(config.machine, "riscv64")) processor_riscv(c, value);
    else if (same(value, "loongarch64") || same(value, "generic")) return; /* the default */
    else if (same(value, "x86-64")) add(&c->out, "-mcpu=x86_64");
    else add(&c->out, join("-mcpu=", underscored(value)));
}

static void refuse_of_x86(const char *option)
{
    static const char *const words[] = {
        "sse", "ssse", "avx", "mmx", "fma", "bmi", "f16c", "popcnt", "lzcnt", "aes", "pclmul", "sha",
        "xsave", "rdrnd", "rdseed", "adx", "abm", "3dnow", "fpmath", "32", "x32", "movbe", "prfchw",
        "cx16", "sahf", "gfni", "vaes", "vpclmulqdq", "amx", "crc32", "tbm", "xop", "rtm", "fxsr",
        "tune=x86", 0};
    const char *rest = after(option, "-mno-");
    rest = rest ? rest : after(option, "-m");
    if (rest && !is_x86() && begins_with_any(rest, words))
        refuse("", option, join("is for x86, and this builds for ", config.machine));
}

/* Options of gcc that clang lacks, and that change neither ABI nor meaning. */
static const char *const gcc_only[] = {
    "-fno-gnu-unique", "-fgnu-unique", "-fuse-linker-plugin", "-fno-use-linker-plugin",
    "-fvar-tracking", "-fno-var-tracking", "-fira-", "-fno-ira-", "-fipa-", "-fno-ipa-", "-fgcse",
    "-fno-gcse", "-fsched", "-fno-sched", "-fallow-store-data-races", "-fno-allow-store-data-races",
    "-fgraphite", "-floop-", "-fno-loop-", "-fprefetch-loop-arrays", "-fmodulo-sched",
    "-fno-inline-functions-called-once", "-finline-limit", "-fconserve-stack", "-fstack-reuse=",
    "-fdevirtualize", "-fno-devirtualize", "-fweb", "-frename-registers", "-fno-fat-lto-objects",
    "-flto-partition", "-flto-compression-level", "-flto-odr", "-fcompare-debug", "-fvpt",
    "-fbranch-probabilities", "-fno-reorder-", "-freorder-", "-fno-code-hoisting", "-fcode-hoisting",
    "-fno-tree-", "-ftree-", "-fexcess-precision=", "-fmax-errors=", "-fno-split-", "-fsplit-loops",
    "-fno-cprop", "-fno-crossjumping", "-fno-caller-saves", "-fno-toplevel-reorder", "-fno-dce",
    "-fno-dse", "-fno-isolate-", "-fno-store-merging", "-fpredictive-commoning", "-specs=", "--specs=",
    "-mtune=", "-mindirect-branch", "-mfunction-return", "-mno-omit-leaf-frame-pointer=", 0};

static int preprocessor_list(Command *c, const char *list)
{
    static const char *const plain[] = {"-D", "-U", "-I", 0};
    if (!begins_with_any(list, plain)) return 0;
    while (list) {
        char *comma = find(list, ',');
        add(&c->out, comma ? copy(list, (size)(comma - list)) : list);
        list = comma ? comma + 1 : 0;
    }
    return 1;
}

static int target_named(const char *text)
{
    if (!after(text, config.machine))
        refuse("--target=", text, join("this builds for ", config.machine));
    return 1; /* it is in `first` already, as zig spells it */
}

/* One argument, with its value where that is the next one. */
static void argument(Command *c, const char *text, const char *value)
{
    const char *rest;
    if (after(text, "-L")) add(&c->folders, value ? value : text + 2);
    if (*text != '-' && ends(text, ".a")) add(&c->archives, text);
    if (*text != '-' && (ends(text, ".o") || ends(text, ".lo"))) add(&c->objects, text);
    if (after(text, "-l")) add(&c->libraries, join(c->static_now ? "s" : "d", value ? value : text + 2));
    if (same(text, "-x")) c->language = value;
    if ((rest = after(text, "-Wl,"))) linker_tokens(c, rest);
    else if (same(text, "-Xlinker")) linker_token(c, value);
    else if ((rest = after(text, "-l:"))) library_file(c, rest);
    else if (same(text, "-l") && value && *value == ':') library_file(c, value + 1);
    else if ((same(text, "-z") || same(text, "-u") || same(text, "-h")) && value)
        linker_pair(c, text + 1, text, value);
    else if (same(text, "-soname") && value) linker_pair(c, "soname", "-soname", value);
    else if ((rest = after(text, "-Wp,")) && preprocessor_list(c, rest)) return;
    else if (after(text, "-flto=") && !same(text, "-flto=thin")) add(&c->out, "-flto");
    else if ((rest = after(text, "-march="))) processor(c, "-march=", rest);
    else if ((rest = after(text, "-mcpu="))) processor(c, "-mcpu=", rest);
    else if (same(text, "-mtune=native")) return;
    else if (after(text, "-fcf-protection") && !is_x86()) return;
    else if (same(text, "-mabi=lp64") && same(config.machine, "aarch64")) return;
    else if (same(text, "-mfpu=64") && same(config.machine, "loongarch64")) return;
    else if ((rest = after(text, "--target=")) && target_named(rest)) return;
    else if (same(text, "-target") && value && target_named(value)) return;
    else if (same(text, "-fopenmp") || after(text, "-fopenmp=") || same(text, "-lgomp")) {
        c->openmp = 1;
        if (!c->links) add(&c->out, "-fopenmp");
    }
    else if (same(text, "-latomic")) return; /* zig's own runtime has these functions */
    else if (begins_with_any(text, gcc_only)) return;
    else {
        refuse_of_x86(text);
        add(&c->out, text);
        if (value) add(&c->out, value);
    }
}

/* ---- a whole command */

static void check_openmp(const List *in);

static void translate(Command *c, const List *in, int as_cxx)
{
    c->links = links_something(in);
    c->shared = mentions_option(in, "-shared");
    for (size i = 0; i < in->n; i++) {
        char *text = in->at[i];
        char *value = (is_in(text, with_value) || same(text, "-Xlinker")) ? in->at[i + 1] : 0;
        const char *folder = 0;
        for (const char *const *each = directories; *each && !folder; each++)
            if (after(text, *each)) folder = value && same(text, *each) ? value : after(text, *each);
        if (value) i++;
        if (folder && is_below(folder, &config.drop)) continue;
        if (!config.zig) {
            add(&c->out, text);
            if (value) add(&c->out, value);
        } else if (as_cxx && *text != '-' && ends(text, ".c") && !c->language) {
            /* g++ reads .c as C++; zig goes by the name of the file. */
            add(&c->out, "-x"), add(&c->out, "c++"), add(&c->out, text);
            add(&c->out, "-x"), add(&c->out, "none");
        } else argument(c, text, value);
    }
    if (c->waiting) refuse("", c->waiting, "its value is missing");
    if (c->links && c->openmp) check_openmp(in);
    if (c->links && c->excluded.n) hide(c);
}

/* Whether text that has `left` bytes begins with a word. */
static int begins(const char *text, size left, const char *word)
{
    for (; *word; word++, text++, left--)
        if (!left || *text != *word) return 0;
    return 1;
}

/* Whether a symbol is one of those that are looked for: it begins with `_`, `left` bytes are known of
 * it, and `before` stands before it. */
typedef int Sought(const char *text, size left, char before);

static int mentions(const char *path, Sought *is_it)
{
    long fd = call(OPENAT, AT_CWD, (long)path, CLOSE_ON_EXEC, 0, 0, 0);
    if (fd < 0) return 0;
    static char block[1 << 16];
    enum { LONGEST = 64 };
    size kept = 0, next = 0;
    for (;;) {
        long got = call(READ, fd, (long)(block + kept), (long)(sizeof block - kept), 0, 0, 0);
        size there = kept + (got > 0 ? (size)got : 0);
        for (size i = next; i + (got > 0 ? LONGEST : 1) <= there; i++)
            if (block[i] == '_' && is_it(block + i, there - i, i ? block[i - 1] : 0)) return 1;
        if (got <= 0) return 0;
        next = there >= LONGEST; /* the first one that is kept has been looked at */
        kept = next ? LONGEST : there;
        for (size i = 0; i < kept; i++) block[i] = block[there - kept + i];
    }
}

static int is_of_openmp(const char *text, size left, char before)
{
    (void)before;
    return begins(text, left, "__kmpc_");
}

/* Whether a symbol may be of the C++ library, or of what C++ needs when it runs: rather too often. */
static int is_of_cxx(const char *text, size left, char before)
{
    (void)before;
    static const char *const plain[] = {"__cxa_", "__gxx_", "__dynamic_cast", "_Unwind_", 0};
    static const char *const mangled[] = {"St", "T", "G", "n", "d", "N10__cxxabi", 0};
    for (const char *const *each = plain; *each; each++)
        if (begins(text, left, *each)) return 1;
    if (!begins(text, left, "_Z")) return 0;
    text += 2, left -= 2;
    for (const char *const *each = mangled; *each; each++)
        if (begins(text, left, *each)) return 1;
    if (!begins(text, left, "N")) return 0;
    do text++, left--;
    while (left && find("rVKRO", *text)); /* qualifiers of what is named next */
    return begins(text, left, "St");
}

static int holds(const char *text, const char *part)
{
    for (; *text; text++)
        if (after(text, part)) return 1;
    return 0;
}

/* The same of the functions that a compiler calls where a processor lacks an instruction. */
static int is_of_runtime(const char *text, size left, char before)
{
    return !before && begins(text, left, "__") && left > 2 && text[2] >= 'a' && text[2] <= 'z';
}

static int is_elf(const char *path)
{
    char head[5] = {0};
    long fd = call(OPENAT, AT_CWD, (long)path, CLOSE_ON_EXEC, 0, 0, 0);
    return fd >= 0 && call(READ, fd, (long)head, 4, 0, 0, 0) == 4 && same(head, "\177ELF");
}

/* Whether something of a library of zig's own may be linked, or nobody can tell. zig makes these
 * libraries when it first links one for a target: its C++ library takes minutes of CPU time, and
 * its runtime several seconds. Many a module uses neither, and is the same without. */
static int links_some_of(const List *in, Sought *is_it)
{
    int files = 0;
    static const char *const of_c[] = {"c", "m", "pthread", "dl", "rt", "util", "atomic", 0};
    for (size i = 0; i < in->n; i++) {
        const char *each = in->at[i], *value = is_in(each, with_value) ? in->at[i + 1] : 0;
        const char *library = after(each, "-l");
        if (library && !is_in(*library || !value ? library : value, of_c)) return 1;
        if (same(each, "-x") || same(each, "-Xlinker")) return 1;
        if (after(each, "-Wl,") && (ends(each, ".a") || ends(each, ".o") || holds(each, ".a,"))) return 1;
        if (*each != '-' && (is_cxx(each) || ends(each, ".c") || mentions(each, is_it))) return 1;
        if (*each != '-' && is_it == is_of_runtime && !is_elf(each)) return 1; /* perhaps LTO */
        files |= *each != '-';
        if (value) i++;
    }
    return !files;
}

static void leave_out(Command *c, const List *in, int as_cxx)
{
    int cxx = as_cxx && links_some_of(in, is_of_cxx), shared = 0;
    for (size i = 0; i < in->n; i++) shared |= same(in->at[i], "-shared");
    if (as_cxx && !cxx) add(&c->out, "-nostdlib++");
    if (shared && !cxx && !links_some_of(in, is_of_runtime)) add(&c->out, "-rtlib=none");
}

/* Many projects ask for OpenMP and use none of it: what calls its runtime is refused, not the flag. */
static void check_openmp(const List *in)
{
    for (size i = 0; i < in->n; i++) {
        const char *each = in->at[i];
        int value = is_in(each, with_value);
        int source = *each != '-' && (is_cxx(each) || ends(each, ".c"));
        if (source || (*each != '-' && mentions(each, is_of_openmp)))
            refuse("", each, "needs OpenMP, and zig has no runtime for it; build.compiler = \"gcc\" has");
        if (value) i++;
    }
}

/* What configure steps ask; answered without starting anything. */
static void answer(const List *in)
{
    for (size i = 0; i < in->n; i++) {
        const char *file = after(in->at[i], "-print-file-name=");
        for (size j = 0; j < config.answer.n; j++) {
            char *rest = after(config.answer.at[j], in->at[i]);
            if (rest && *rest == ' ') {
                say(1, rest + 1), say(1, "\n");
                leave(0);
            }
        }
        if (!file || !config.zig) continue;
        for (size j = 0; j < config.library.n; j++) {
            char *path = join(join(config.library.at[j], "/"), file);
            if (!exists(path)) continue;
            say(1, path), say(1, "\n");
            leave(0);
        }
        say(1, file), say(1, "\n");
        leave(0);
    }
}

/* More than a kernel passes on goes into a file without a name. */
static void shorten(List *arguments, size keep)
{
    size total = 0;
    for (size i = 0; i < arguments->n; i++) total += strlen(arguments->at[i]) + 1 + sizeof(char *);
    if (total < 100000) return;
    char *path;
    long fd = nameless("arguments", &path);
    if (fd < 0) return;
    for (size i = keep; i < arguments->n; i++) {
        const char *text = arguments->at[i];
        char *quoted = take(strlen(text) * 2 + 4), *end = quoted;
        *end++ = '"';
        for (; *text; text++) {
            if (*text == '"' || *text == '\\') *end++ = '\\';
            *end++ = *text;
        }
        *end++ = '"', *end++ = '\n';
        write_all((int)fd, quoted, (size)(end - quoted));
    }
    arguments->n = keep;
    add(arguments, join("@", path));
}

static _Noreturn void become(List *arguments, char **environment)
{
    List env = {0};
    for (; *environment; environment++) {
        int replaced = 0;
        for (size i = 0; i < config.env.n; i++) {
            char *equals = find(config.env.at[i], '=');
            char *name = copy(config.env.at[i], (size)(equals - config.env.at[i]) + 1);
            replaced |= after(*environment, name) != 0;
        }
        if (!replaced) add(&env, *environment);
    }
    add_all(&env, &config.env);
    call(EXECVE, (long)arguments->at[0], (long)arguments->at, (long)env.at, 0, 0, 0);
    refuse("cannot start ", arguments->at[0], "it is missing or no program of this machine");
}

/* ---- gcc's mode: the same compiler, but a native one */

static void note(const char *line)
{
    if (!config.log) return;
    long fd = call(OPENAT, AT_CWD, (long)config.log, CLOSE_ON_EXEC | 02101 /* append, create */, 0666, 0, 0);
    if (fd >= 0) say((int)fd, line);
}

static const char *const fortran[] = {".f", ".F", ".f90", ".F90", ".f95", ".F95", ".f03", ".F03",
                                      ".f08", ".F08", ".for", ".FOR", ".fpp", ".FPP", ".ftn", 0};

static int ends_with_any(const char *text, const char *const *list)
{
    for (; *list; list++)
        if (ends(text, *list)) return 1;
    return 0;
}

/* The value of a variable; 0 where it is not set, or empty. */
static char *value_of(char **environment, const char *name)
{
    for (; *environment; environment++) {
        char *value = after(*environment, name);
        if (value && *value == '=' && value[1]) return value + 1;
    }
    return 0;
}

static const char toolkit_variable[] = "ORCHESTRATOR_CUDA";

/* What a native nvcc has compiled that lies beside itself is the toolkit's: debug information names it. */
static void name_the_toolkit_s(List *in, char **environment)
{
    const char *bin = value_of(environment, toolkit_variable);
    for (size i = 0; bin && i < in->n; i++) {
        const char *place = after(in->at[i], "/opt/orchestrator-native/cuda/"), *rest = 0;
        for (; place && *place && !rest; place++) rest = after(place, "/bin/crt/");
        if (rest) in->at[i] = join(join(bin, "/crt/"), rest);
    }
}

/* Other compilers come here for their host code, or to link: then they have run emulated, unless it
 * is the nvcc that we started. */
static void note_others(const List *in, char **environment)
{
    int native = value_of(environment, toolkit_variable) != 0;
    for (size i = 0; i < in->n; i++) {
        const char *each = in->at[i];
        const char *who = ends(each, ".rcgu.o") ? "Rust\n" : same(each, "-D__CUDACC__") && !native ? "CUDA\n"
                        : same(each, "-lgfortran") || (*each != '-' && ends_with_any(each, fortran))
                            ? "Fortran\n" : 0;
        if (!who) continue;
        note(who);
        return;
    }
}

/* Whether the image's own compiler has to say, or do, it. */
static int is_for_own(const List *in)
{
    static const char *const asked[] = {"-print-", "--print-", "-dump", "--version", "--help",
                                        "--target-help", "-fplugin=", 0};
    /* What is this very CPU? Emulated, the image's own compiler finds one that is emulated too. */
    static const char *const native[] = {"-march=native", "-mcpu=native", "-mtune=native", 0};
    static const char *const other[] = {".d", ".go", ".adb", ".ads", ".m", ".mm", ".M", ".mi", ".mii",
                                        0};
    static const char *const known[] = {"c", "c-header", "cpp-output", "c++", "c++-header",
                                        "c++-system-header", "c++-user-header", "c++-cpp-output",
                                        "assembler", "assembler-with-cpp", "none", 0};
    static const char *const dumps[] = {"-dumpdir", "-dumpbase", "-dumpbase-ext", 0};
    int files = 0;
    for (size i = 0; i < in->n; i++) {
        const char *each = in->at[i];
        if (is_in(each, dumps)) i++;
        else if (begins_with_any(each, asked) || is_in(each, native)) return 1;
        else if (same(each, "-x") && i + 1 < in->n) {
            if (!is_in(in->at[++i], known)) return 1;
        } else if (after(each, "-x") && !is_in(each + 2, known)) return 1;
        else if (is_in(each, with_value)) i++;
        else if (*each != '-' || !each[1]) {
            files = 1;
            if (ends_with_any(each, other) || ends_with_any(each, fortran)) return 1;
        } else if (after(each, "-l") || after(each, "-Wl,")) files = 1;
    }
    return !files; /* `gcc -v` */
}

/* Tell the compiler where its headers are, behind what the caller names so himself. */
static void name_headers(const List *in, char **environment)
{
    int none = 0, none_cxx = 0;
    for (size i = 0; i < in->n; i++) {
        none |= same(in->at[i], "-nostdinc");
        none_cxx |= same(in->at[i], "-nostdinc++");
    }
    for (size i = 0; i < config.headers.n && !none; i++) {
        char *each = config.headers.at[i], *value = find(each, '=') + 1;
        char *name = copy(each, (size)(value - each));
        if (none_cxx && after(each, "CPLUS")) { /* those of C are left */
            for (size j = 0; j < config.headers.n; j++)
                if (after(config.headers.at[j], "C_")) value = find(config.headers.at[j], '=') + 1;
        }
        for (char **given = environment; *given; given++) {
            char *own = after(*given, name);
            if (own && *own) value = join(join(own, ":"), value);
        }
        add(&config.env, join(name, value));
    }
}

static void as_gcc(const List *in, char **given, char **environment)
{
    if (config.own && is_for_own(in)) {
        List plain = {0};
        add(&plain, config.own);
        for (; *given; given++) add(&plain, *given);
        note("own\n");
        config.env.n = 0;
        become(&plain, environment);
    }
    name_headers(in, environment);
    note("native\n");
}

/* ---- nvcc: the same version, but a native one */

static const char of_nvcc[] = "/opt/orchestrator-native/nvcc/compiler.conf";
/* Where the settings are when this program covers the nvcc of an image, and has none beside it. */

static char *folder_of(const char *path)
{
    size n = strlen(path);
    while (n && path[n - 1] != '/') n--;
    return n > 1 ? copy(path, n - 1) : copy("/", n);
}

static char *with_nvcc(char *folder) { return exists(join(folder, "/nvcc")) ? folder : 0; }

/* The first directory on PATH that has an nvcc, but for our own, whose name ends with a slash. */
static char *on_path(char **environment, const char *self)
{
    const char *path = value_of(environment, "PATH");
    while (path && *path) {
        const char *end = find(path, ':');
        char *folder = copy(path, end ? (size)(end - path) : strlen(path));
        if (*folder && !same(join(folder, "/"), self) && with_nvcc(folder)) return folder;
        path = end ? end + 1 : 0;
    }
    return 0;
}

/* The directory of the nvcc that the build means, spelled as that nvcc would spell it. */
static char *toolkit(const char *called, char **environment, const char *self, int covers)
{
    static const char *const variables[] = {"CUDA_HOME", "CUDA_PATH", 0};
    char *found = 0;
    if (covers) {
        found = find(called, '/') ? folder_of(called) : on_path(environment, "");
        /* Through a link nvcc would find nothing that it needs; it can still say its version. */
        return found && exists(join(found, "/nvcc.profile")) ? found : folder_of(self);
    }
    for (const char *const *each = variables; *each && !found; each++) {
        char *value = value_of(environment, *each);
        if (value) found = with_nvcc(join(value, "/bin"));
    }
    if (!found) found = on_path(environment, self);
    return found ? found : with_nvcc("/usr/local/cuda/bin");
}

static int alike(const char *one, const char *other)
{
    size n, m;
    const char *a = contents_of(one, &n), *b = contents_of(other, &m);
    return a && b && n == m && same(a, b);
}

static const char *sought;

static int is_sought(const char *text, size left, char before)
{
    (void)before;
    return begins(text, left, sought);
}

/* Both halves of the compiler are asked, as they may come in two packages. What covers an nvcc
 * cannot ask that; the image was, before. */
static int is_of_build(const char *bin, const char *build, const char *folder, int covers)
{
    sought = find(build, '_');
    return alike(join(bin, "/nvcc.profile"), join(folder, "/nvcc.profile"))
        && (covers || mentions(join(bin, "/nvcc"), is_sought))
        && mentions(join(bin, "/../nvvm/bin/cicc"), is_sought);
}

static _Noreturn void as_nvcc(char **given, char **environment, const char *self, int covers)
{
    List out = {0};
    char *bin = toolkit(*given, environment, self, covers);
    if (!bin) refuse("", "no CUDA toolkit", "CUDA_HOME, CUDA_PATH and PATH lead to no nvcc");
    for (size i = 0; i < config.nvcc.n && !out.n; i++) {
        char *folder = find(config.nvcc.at[i], ' ') + 1;
        char *build = copy(config.nvcc.at[i], (size)(folder - config.nvcc.at[i]) - 1);
        if (!is_of_build(bin, build, folder, covers)) continue;
        /* nvcc looks for such a directory where it is itself. */
        int targets = exists(join(bin, "/../targets/sbsa-linux"));
        add(&out, join(folder, targets ? "/sbsa/bin/nvcc" : "/bin/nvcc"));
        add(&config.env, join(join(toolkit_variable, "="), bin));
    }
    if (!out.n && covers) refuse("", bin, "this toolkit is no longer the image's");
    int compiles = 0, is_native = out.n != 0;
    if (!is_native) add(&out, join(bin, "/nvcc"));
    for (given++; *given; given++) {
        compiles |= **given != '-';
        add(&out, *given);
    }
    if (is_native && compiles) note("nvcc\n");
    become(&out, environment);
}

__attribute__((used)) _Noreturn void begin(long *stack)
{
    long count = *stack;
    char **given = (char **)(stack + 1), **environment = given + count + 1;
    static char self[4096];
    long n = call(READLINKAT, AT_CWD, (long)"/proc/self/exe", (long)self, sizeof self - 32, 0, 0);
    if (n <= 0 || !count) refuse("cannot find ", "compiler.conf", "/proc is not mounted");
    while (n && self[n - 1] != '/') n--;
    self[n] = 0;
    own_name = given[0];
    for (char *p = given[0]; *p; p++)
        if (*p == '/') own_name = p + 1;
    const char *tool = tool_of(own_name), *settings = join(self, "compiler.conf");
    int covers = !exists(settings);
    read_config(covers ? of_nvcc : settings, tool);
    if (config.nvcc.n) as_nvcc(given, environment, self, covers);
    List in = {0};
    expand(&in, given + 1, 0);
    name_the_toolkit_s(&in, environment);
    int compiles = same(tool, "cc") || same(tool, "c++");
    if (compiles && in.n) answer(&in);
    if (compiles && config.zig && same(tool, "cc") && in.n && has_cxx(&in)) {
        config.exec.n = 0;
        Config once = config;
        List none = {0};
        config.env = config.first = config.last = config.link = none;
        config.drop = config.library = config.answer = none;
        read_config(join(self, "compiler.conf"), "c++");
        once.exec = config.exec;
        config = once;
    }
    if (compiles) note_others(&in, environment);
    if (compiles && !config.zig) as_gcc(&in, given + 1, environment);
    else if (compiles) note("native\n");
    if (!config.exec.n) refuse("no program for ", own_name, "compiler.conf names none");
    Command command = {0};
    add_all(&command.out, &config.exec);
    size keep = command.out.n;
    if (compiles) {
        add_all(&command.out, &config.first);
        if (in.n) translate(&command, &in, same(tool, "c++"));
        add_all(&command.out, &config.last);
        if (links_something(&in)) add_all(&command.out, &config.link);
        if (config.zig && links_something(&in)) leave_out(&command, &in, same(tool, "c++"));
    } else add_all(&command.out, &in);
    shorten(&command.out, keep);
    become(&command.out, environment);
}
