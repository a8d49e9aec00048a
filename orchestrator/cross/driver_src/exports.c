/* --exclude-libs: zig does not pass it to its linker, so a version script replaces it. */
#include "driver.h"

/* Read a number in the byte order of the file. */
static size number(const byte *at, int width, int big)
{
    size n = 0;
    for (int i = 0; i < width; i++) n |= (size)at[i] << 8 * (big ? width - 1 - i : i);
    return n;
}

/* The archive that -l stands for; 0 for a shared library or one of zig's own. */
static const char *archive_of(const Command *c, const char *library)
{
    static Words of_zig = {"c", "m", "dl", "rt", "util", "pthread", "resolv", "gcc", "gcc_s",
                           "gcc_eh", "stdc++", "c++", "c++abi", "unwind", 0};
    if (is_any(library + 1, of_zig)) return 0;
    return find_library(c, join("lib", library + 1), ".a", *library == 's' ? 0 : ".so");
}

/* Add the symbols in an archive's index. */
static void add_symbols(Set *set, const char *path)
{
    long fd = open_file(path);
    char head[69] = {0};
    if (fd < 0) return; /* the linker reports it */
    size got = read_bytes(fd, head, 68);
    int is_archive = after(head, "!<arch>\n") || after(head, "!<thin>\n");
    if (got == 8 && is_archive) return; /* empty */
    size width = after(head + 8, "/ ") ? 4 : after(head + 8, "/SYM64/") ? 8 : 0, length = 0;
    if (got != 68 || !width || !is_archive)
        fail("--exclude-libs: ", path, "has no index of its symbols; ranlib makes one");
    for (const char *p = head + 56; *p >= '0' && *p <= '9'; p++) length = length * 10 + (size)(*p - '0');
    char *index = allocate(length + 1);
    size have = read_bytes(fd, index, length);
    index[have] = 0;
    size count = have >= width ? number((byte *)index, (int)width, 1) : 0;
    if (count >= have / width) fail("--exclude-libs: ", path, "is damaged");
    for (char *name = index + width * (count + 1); count-- && name < index + have;) {
        put(set, name);
        name += strlen(name) + 1;
    }
}

/* Offsets of fields in ELF files of 32 and 64 bits. */
typedef struct {
    int word, sections, section_size, section_count;           /* in the file's header */
    int offset, length, link;                                  /* in a section's */
    int symbol_size, symbol_info, symbol_section;              /* in a symbol */
} Layout;
static const Layout narrow = {4, 32, 46, 48, 16, 20, 24, 16, 12, 14};
static const Layout wide = {8, 40, 58, 60, 24, 32, 40, 24, 4, 6};

/* Add the symbols that an object defines; none if it is no ELF file (LTO). */
static void add_defined(Set *set, const char *path)
{
    size n = 0;
    byte *file = (byte *)read_file(path, &n);
    if (!file || n < 64 || number(file, 4, 1) != 0x7f454c46) return;
    const Layout *at = file[4] == 2 ? &wide : &narrow;
    int big = file[5] == 2;
    size sections = number(file + at->sections, at->word, big);
    size step = number(file + at->section_size, 2, big), count = number(file + at->section_count, 2, big);
    if (sections > n || step * count > n - sections) return;
    for (size i = 0; i < count; i++) {
        byte *head = file + sections + i * step;
        if (number(head + 4, 4, big) != 2) continue; /* the symbol table */
        size start = number(head + at->offset, at->word, big);
        size left = number(head + at->length, at->word, big);
        size link = number(head + at->link, 4, big);
        if (link >= count || start > n || left > n - start) return;
        size names = number(file + sections + link * step + at->offset, at->word, big);
        for (byte *symbol = file + start; left >= (size)at->symbol_size;
             symbol += at->symbol_size, left -= (size)at->symbol_size) {
            size name = names + number(symbol, 4, big);
            int is_global = symbol[at->symbol_info] >> 4;
            int is_defined = number(symbol + at->symbol_section, 2, big) != 0;
            if (is_global && is_defined && name < n) put(set, (char *)file + name);
        }
    }
}

/* Whether a pattern of a version script may match one of these symbols. */
static int may_mean(const char *pattern, const Set *symbols)
{
    size n = strlen(pattern) - 1;
    char *star = find_char(pattern, '*');
    if (find_char(pattern, '?') || find_char(pattern, '[') || (star && star != pattern + n)) return 1;
    if (!star) return in_set(symbols, pattern);
    char *start = copy(pattern, n);
    for (size i = 0; i < symbols->room; i++)
        if (symbols->at[i] && after(symbols->at[i], start)) return 1;
    return 0;
}

/* Return the next word of a version script and move on; 0 at the end. */
static char *next_word(const char **text)
{
    static const char blanks[] = " \t\r\n;{}:\"";
    const char *p = *text;
    for (;;) {
        if (*p == '#') {
            while (*p && *p != '\n') p++;
        } else if (after(p, "/*")) {
            while (*p && !after(p, "*/")) p++;
            p += *p ? 2 : 0;
        } else if (*p && find_char(blanks, *p)) p++;
        else break;
    }
    const char *start = p;
    while (*p && !find_char(blanks, *p)) p++;
    *text = p;
    return *start ? copy(start, (size)(p - start)) : 0;
}

/* The project's own version script must not export what --exclude-libs hides. */
static void check_version_script(const char *path, const Set *hidden)
{
    static const char both[] = "says what is exported, and so does --exclude-libs; zig takes one";
    const char *text = read_file(path, 0);
    int local = 0, closed = 0;
    for (char *word; text && (word = next_word(&text));) {
        if (equal(word, "local") || equal(word, "global")) local = *word == 'l';
        else if (local) closed |= equal(word, "*");
        else if (equal(word, "extern") || may_mean(word, hidden)) fail("", path, both);
    }
    if (!closed) fail("", path, both);
}

/* Export nothing that the linker takes from excluded archives. */
void hide_symbols(Command *c)
{
    Set hidden = {0}, own = {0};
    for (size i = 0; i < c->libraries.n; i++) {
        const char *archive = archive_of(c, c->libraries.at[i]);
        if (archive) add(&c->archives, archive);
    }
    for (size i = 0; i < c->archives.n; i++)
        if (has_word(&c->excluded, "ALL") || has_word(&c->excluded, last_part(c->archives.at[i])))
            add_symbols(&hidden, c->archives.at[i]);
    if (!hidden.n) return;
    if (c->versions) {
        check_version_script(c->versions, &hidden);
        return;
    }
    for (size i = 0; i < c->objects.n; i++) add_defined(&own, c->objects.at[i]);
    char *path;
    int fd = (int)anonymous_file("versions", &path);
    if (fd < 0) fail("--exclude-libs", "", "the kernel makes no file for what is not exported");
    print(fd, "{ local:\n");
    for (size i = 0; i < hidden.room; i++)
        if (hidden.at[i] && !in_set(&own, hidden.at[i])) print(fd, join3("\"", hidden.at[i], "\";\n"));
    print(fd, "};\n");
    linker_option(c, "--version-script", path);
    linker_option(c, "--undefined-version", 0); /* not every member is linked */
}
