/* What all compilers' arguments have in common: response files, values, languages. */
#include "driver.h"

/* ---- response files */

static int is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Split as GNU programs do: blanks, quotes, backslashes. */
static void add_words(List *list, const char *text)
{
    for (;;) {
        while (is_blank(*text)) text++;
        if (!*text) return;
        char *word = copy(text, strlen(text)), *end = word, quote = 0;
        for (; *text; text++) {
            if (*text == '\\' && text[1]) *end++ = *++text;
            else if (quote && *text == quote) quote = 0;
            else if (!quote && (*text == '"' || *text == '\'')) quote = *text;
            else if (!quote && is_blank(*text)) break;
            else *end++ = *text;
        }
        *end = 0;
        add(list, word);
    }
}

static void expand_nested(List *out, char *const *arguments, int depth)
{
    for (; *arguments; arguments++) {
        char *text = **arguments == '@' && depth < 8 ? read_file(*arguments + 1, 0) : 0;
        List words = {0};
        if (text) add_words(&words, text);
        if (!text) add(out, *arguments);
        else if (words.n) expand_nested(out, words.at, depth + 1);
    }
}
void expand(List *out, char *const *arguments) { expand_nested(out, arguments, 0); }

/* Move all but the first `keep` into a response file, if the kernel may refuse so many. */
void shorten(List *arguments, size keep)
{
    size total = 0;
    for (size i = 0; i < arguments->n; i++) total += strlen(arguments->at[i]) + 1 + sizeof(char *);
    char *path;
    long fd = total < 100000 ? -1 : anonymous_file("arguments", &path);
    if (fd < 0) return;
    for (size i = keep; i < arguments->n; i++) {
        const char *text = arguments->at[i];
        char *line = allocate(strlen(text) * 2 + 4), *end = line;
        *end++ = '"';
        for (; *text; text++) {
            if (*text == '"' || *text == '\\') *end++ = '\\';
            *end++ = *text;
        }
        *end++ = '"', *end++ = '\n', *end = 0;
        print((int)fd, line);
    }
    arguments->n = keep;
    add(arguments, join("@", path));
}

/* ---- options */

enum { VALUE = 1 /* in the next argument, if it is not joined */, FOLDER = 2, NO_LINK = 4 };

static const struct {
    const char *name;
    int what;
} options[] = {
    {"-c", NO_LINK}, {"-S", NO_LINK}, {"-E", NO_LINK}, {"-M", NO_LINK}, {"-MM", NO_LINK},
    {"-fsyntax-only", NO_LINK},
    {"-isystem", VALUE | FOLDER}, {"-idirafter", VALUE | FOLDER}, {"-iquote", VALUE | FOLDER},
    {"-I", VALUE | FOLDER}, {"-L", VALUE | FOLDER}, {"-B", VALUE | FOLDER},
    {"-o", VALUE}, {"-x", VALUE}, {"-include", VALUE}, {"-imacros", VALUE}, {"-iprefix", VALUE},
    {"-iwithprefix", VALUE}, {"-isysroot", VALUE}, {"--sysroot", VALUE}, {"-MF", VALUE},
    {"-MT", VALUE}, {"-MQ", VALUE}, {"-T", VALUE}, {"-Xassembler", VALUE}, {"-Xpreprocessor", VALUE},
    {"-Xclang", VALUE}, {"-target", VALUE}, {"--param", VALUE}, {"-D", VALUE}, {"-U", VALUE},
    {"-l", VALUE}, {"-u", VALUE}, {"-z", VALUE}, {"-e", VALUE}, {"-h", VALUE}, {"-soname", VALUE},
    {"-wrapper", VALUE}, {"-aux-info", VALUE}, {"-A", VALUE}, {"-F", VALUE}, {"-G", VALUE},
};
enum { OPTIONS = sizeof options / sizeof *options };

static int is_option(const char *text, int what)
{
    for (int i = 0; i < OPTIONS; i++)
        if (equal(text, options[i].name)) return options[i].what & what;
    return 0;
}
int takes_value(const char *option) { return is_option(option, VALUE) != 0; }

/* The directory that an option names; 0 where it names none. */
const char *folder_named(const char *option, const char *value)
{
    for (int i = 0; i < OPTIONS; i++) {
        char *joined = options[i].what & FOLDER ? after(option, options[i].name) : 0;
        if (joined) return *joined || !value ? joined : value;
    }
    return 0;
}

int links_something(const List *in)
{
    for (size i = 0; i < in->n; i++)
        if (is_option(in->at[i], NO_LINK)) return 0;
    return 1;
}

/* ---- languages, by the names of files */

int is_cxx(const char *file)
{
    static Words suffixes = {".cc", ".cpp", ".cxx", ".c++", ".C", ".cp", ".CPP", ".ii",
                             ".hpp", ".hh", ".hxx", 0};
    return ends_with_any(file, suffixes);
}

int is_source(const char *file) { return is_cxx(file) || ends_with(file, ".c"); }

int is_fortran(const char *file)
{
    static Words suffixes = {".f", ".F", ".f90", ".F90", ".f95", ".F95", ".f03", ".F03",
                             ".f08", ".F08", ".for", ".FOR", ".fpp", ".FPP", ".ftn", 0};
    return ends_with_any(file, suffixes);
}

/* gcc compiles C++ under any name; zig finds the headers of C++ only as `c++`. */
int has_cxx(const List *in)
{
    for (size i = 0; i < in->n; i++) {
        const char *text = in->at[i], *language = after(text, "-x");
        if (language && !*language && i + 1 < in->n) language = in->at[i + 1];
        if (language && after(language, "c++")) return 1;
        if (*text != '-' && is_cxx(text)) return 1;
        if (takes_value(text)) i++;
    }
    return 0;
}
