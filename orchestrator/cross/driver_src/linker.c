/* The linker's options for zig, and which of zig's own libraries a link needs. */
#include "driver.h"

void linker_option(Command *c, const char *option, const char *value)
{
    char *text = join("-Wl,", option);
    add(&c->out, value ? join3(text, ",", value) : text);
}

/* Find a file in the directories of -L, then of the configuration. 0 if there is none, or if a file
 * with the suffix `rather` comes first. */
char *find_library(const Command *c, const char *name, const char *suffix, const char *rather)
{
    const List *places[] = {&c->folders, &config.library};
    for (int i = 0; i < 2; i++)
        for (size j = 0; j < places[i]->n; j++) {
            char *path = join3(places[i]->at[j], "/", name);
            if (rather && exists(join(path, rather))) return 0;
            if (exists(join(path, suffix))) return join(path, suffix);
        }
    return 0;
}

/* ---- options */

enum { VALUE = 1 /* in the next token, if no `=` joins it */, PREFIX = 2 };
enum { HAND_ON, DROP, EXCLUDE_LIBS, VERSION_SCRIPT, DYNAMIC_LIST, BIND_EARLY, PUSH_STATE, POP_STATE, Z };

typedef struct {
    const char *name;
    int how, action;
    const char *spelled; /* zig's spelling, if it differs */
    int state, on;       /* the state it sets */
} LinkerOption;

/* Dropped options change speed, size, or what the linker prints, never the behaviour of a program
 * that links. */
static const LinkerOption options[] = {
    {"Bstatic", .state = STATIC, .on = 1}, {"static", .state = STATIC, .on = 1},
    {"dn", .state = STATIC, .on = 1}, {"Bdynamic", .state = STATIC}, {"dy", .state = STATIC},
    {"as-needed", .state = AS_NEEDED, .on = 1}, {"no-as-needed", .state = AS_NEEDED},
    {"whole-archive", .state = WHOLE, .on = 1}, {"no-whole-archive", .state = WHOLE},
    {"push-state", 0, PUSH_STATE}, {"pop-state", 0, POP_STATE},
    {"exclude-libs", VALUE, EXCLUDE_LIBS}, {"version-script", VALUE, VERSION_SCRIPT},
    {"dynamic-list", VALUE, DYNAMIC_LIST}, {"dynamic-list", PREFIX, BIND_EARLY},
    {"h", VALUE, .spelled = "-soname"}, {"undefined", VALUE, .spelled = "-u"}, {"z", VALUE, Z, "-z"},
    {"soname", VALUE}, {"u", VALUE}, {"rpath", VALUE}, {"R", VALUE}, {"defsym", VALUE},
    {"wrap", VALUE}, {"init", VALUE}, {"fini", VALUE}, {"e", VALUE}, {"entry", VALUE},
    {"sysroot", VALUE}, {"m", VALUE}, {"dynamic-linker", VALUE}, {"retain-symbols-file", VALUE},
    {"y", VALUE}, {"script", VALUE}, {"T", VALUE}, {"hash-style", VALUE}, {"build-id-path", VALUE},
    {"image-base", VALUE}, {"Ttext", VALUE}, {"Tdata", VALUE}, {"Tbss", VALUE},
    {"rpath-link", VALUE, DROP}, {"Map", VALUE, DROP}, {"plugin", VALUE, DROP},
    {"plugin-opt", VALUE, DROP},
    {"Bsymbolic-functions", 0, DROP}, {"copy-dt-needed-entries", 0, DROP},
    {"no-copy-dt-needed-entries", 0, DROP}, {"warn-common", 0, DROP}, {"print-map", 0, DROP},
    {"M", 0, DROP}, {"icf", 0, DROP}, {"demangle", 0, DROP}, {"no-demangle", 0, DROP},
    {"discard-locals", 0, DROP}, {"X", 0, DROP}, {"no-keep-memory", 0, DROP},
    {"reduce-memory-overheads", 0, DROP}, {"stats", 0, DROP}, {"trace", 0, DROP}, {"t", 0, DROP},
    {"verbose", 0, DROP}, {"no-relax", 0, DROP}, {"relax", 0, DROP}, {"fuse-ld", 0, DROP},
    {"cref", 0, DROP}, {"warn-once", 0, DROP}, {"no-warn-mismatch", 0, DROP},
    {"warn-shared-textrel", 0, DROP}, {"orphan-handling", 0, DROP},
    {"no-ld-generated-unwind-info", 0, DROP}, {"split-sections", 0, DROP}, {"add-needed", 0, DROP},
    {"no-add-needed", 0, DROP}, {"cache-size", 0, DROP}, {"hash-size", 0, DROP},
    {"hash-bucket-size", 0, DROP}, {"threads", 0, DROP}, {"no-threads", 0, DROP},
    {"thread-count", 0, DROP}, {"detect-odr-violations", 0, DROP},
    {"warn-unresolved-symbols", 0, DROP},
    {0},
};

/* The row of an option, by its name without dashes; the empty row for an unknown one. */
static const LinkerOption *find_option(const char *name)
{
    const LinkerOption *row = options;
    while (row->name && !(row->how & PREFIX ? after(name, row->name) != 0 : equal(name, row->name))) row++;
    return row;
}

static const char *without_dashes(const char *option) { return option + 1 + (option[1] == '-'); }

/* liba.a:libb.a, or with commas. */
static void exclude_libs(Command *c, const char *names)
{
    while (names && *names) {
        const char *end = names;
        while (*end && *end != ':' && *end != ',') end++;
        add(&c->excluded, copy(names, (size)(end - names)));
        names = *end ? end + 1 : end;
    }
}

static void pop_state(Command *c)
{
    static const char *const spelled[STATES][2] = {
        [STATIC] = {"-Bdynamic", "-Bstatic"},
        [AS_NEEDED] = {"--no-as-needed", "--as-needed"},
        [WHOLE] = {"--no-whole-archive", "--whole-archive"},
    };
    if (!c->depth) return;
    int *saved = c->saved[--c->depth];
    for (int i = STATIC; i < STATES; i++)
        if (c->state[i] != saved[i]) linker_option(c, spelled[i][saved[i]], 0);
    memcpy(c->state, saved, sizeof c->state);
}

static int is_default_of_z(const char *value)
{
    static Words defaults = {
        "separate-code", "noseparate-code", "pack-relative-relocs", "nopack-relative-relocs", "text",
        "start-stop-gc", "nostart-stop-gc", "combreloc", "nocombreloc", 0};
    return is_any(value, defaults);
}

void linker_pair(Command *c, const char *option, const char *value)
{
    const LinkerOption *row = find_option(without_dashes(option));
    if (row->state) c->state[row->state] = row->on;
    switch (row->action) {
    case DROP: return;
    case EXCLUDE_LIBS: exclude_libs(c, value); return;
    case PUSH_STATE:
        if (c->depth < 16) memcpy(c->saved[c->depth++], c->state, sizeof c->state);
        return;
    case POP_STATE: pop_state(c); return;
    case DYNAMIC_LIST:
        if (c->shared)
            fail("--dynamic-list=", value, "zig cannot say what of a library may be replaced from "
                 "outside; a version script says what is exported");
        /* fall through */
    case BIND_EARLY:
        /* For a library, these lists only bind references early. For a program they are its
           exports: zig exports everything or nothing, and nothing may be missing. */
        if (!c->shared) linker_option(c, "--export-dynamic", 0);
        return;
    case Z:
        if (value && is_default_of_z(value)) return;
        break;
    case VERSION_SCRIPT: c->versions = value;
    }
    linker_option(c, row->spelled ? row->spelled : option, value);
}

/* One part of -Wl, or the value of -Xlinker. Returns 0 for a file, -l or -L: the compiler takes it. */
int linker_token(Command *c, const char *token)
{
    if (c->waiting) {
        const char *option = c->waiting;
        c->waiting = 0;
        linker_pair(c, option, token);
        return 1;
    }
    if (*token != '-' || after(token, "-l") || after(token, "-L")) return !*token;
    const char *name = without_dashes(token), *equals = find_char(name, '=');
    if (find_option(name)->how & VALUE) c->waiting = token;
    else if (after(token, "-O")) return 1; /* no effect on code */
    else if (after(token, "-z")) linker_pair(c, "-z", name + 1);
    else if (equals) linker_pair(c, copy(token, (size)(equals - token)), equals + 1);
    else linker_pair(c, token, 0);
    return 1;
}

/* ---- which of zig's own libraries a link needs
 *
 * zig builds these libraries when it first links one for a target: the C++ library takes minutes of
 * CPU time, the runtime several seconds. Many modules use neither, and are identical without. */

static int is_openmp_symbol(const char *text, size left, char before)
{
    (void)before;
    return starts(text, left, "__kmpc_");
}

/* Whether a symbol may belong to the C++ library or its runtime; in doubt, yes. */
static int is_cxx_symbol(const char *text, size left, char before)
{
    static Words plain = {"__cxa_", "__gxx_", "__dynamic_cast", "_Unwind_", 0};
    static Words mangled = {"St", "T", "G", "n", "d", "N10__cxxabi", 0};
    (void)before;
    for (const char *const *word = plain; *word; word++)
        if (starts(text, left, *word)) return 1;
    if (!starts(text, left, "_Z")) return 0;
    text += 2, left -= 2;
    for (const char *const *word = mangled; *word; word++)
        if (starts(text, left, *word)) return 1;
    if (!starts(text, left, "N")) return 0;
    do text++, left--;
    while (left && find_char("rVKRO", *text)); /* qualifiers of what is named next */
    return starts(text, left, "St");
}

/* Whether a symbol may be a function that compilers call for missing instructions. */
static int is_runtime_symbol(const char *text, size left, char before)
{
    return !before && starts(text, left, "__") && left > 2 && text[2] >= 'a' && text[2] <= 'z';
}

static int is_elf(const char *path)
{
    char head[5] = {0};
    long fd = open_file(path);
    return fd >= 0 && read_bytes(fd, head, 4) == 4 && equal(head, "\177ELF");
}

/* Whether something with such symbols may be linked; in doubt, yes. */
static int may_need(const List *in, Matcher *matches)
{
    static Words of_c = {"c", "m", "pthread", "dl", "rt", "util", "atomic", 0};
    int files = 0;
    for (size i = 0; i < in->n; i++) {
        const char *text = in->at[i], *value = takes_value(text) ? in->at[i + 1] : 0;
        const char *library = after(text, "-l");
        if (library && !is_any(*library || !value ? library : value, of_c)) return 1;
        if (equal(text, "-x") || equal(text, "-Xlinker")) return 1;
        if (after(text, "-Wl,") && (ends_with(text, ".a") || ends_with(text, ".o") || contains(text, ".a,")))
            return 1;
        if (*text != '-') {
            if (is_source(text) || file_mentions(text, matches)) return 1;
            if (matches == is_runtime_symbol && !is_elf(text)) return 1; /* perhaps LTO */
            files = 1;
        }
        if (value) i++;
    }
    return !files;
}

void leave_out_libraries(Command *c, const List *in, int as_cxx)
{
    int cxx = as_cxx && may_need(in, is_cxx_symbol);
    if (as_cxx && !cxx) add(&c->out, "-nostdlib++");
    if (c->shared && !cxx && !may_need(in, is_runtime_symbol)) add(&c->out, "-rtlib=none");
}

/* Many projects pass -fopenmp and do not use it: only calls of its runtime are refused. */
void check_openmp(const List *in)
{
    for (size i = 0; i < in->n; i++) {
        const char *text = in->at[i];
        if (*text != '-' && (is_source(text) || file_mentions(text, is_openmp_symbol)))
            refuse("", text, "needs OpenMP, and zig has no runtime for it; build.compiler = \"gcc\" has");
        if (takes_value(text)) i++;
    }
}
