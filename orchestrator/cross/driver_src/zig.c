/* gcc's arguments as zig takes them. */
#include "driver.h"

static int is_x86(void) { return equal(config.machine, "x86_64") || equal(config.machine, "i686"); }

/* ---- processors: zig has one option for -march= and -mcpu=, and its own names */

static const struct {
    const char *gcc, *llvm;
} features[] = {
    {"fp16", "fullfp16"}, {"simd", "neon"}, {"fp", "fp_armv8"}, {"rdma", "rdm"}, {"memtag", "mte"},
    {"profile", "spe"}, {"rng", "rand"},
};

static char *feature(const char *gcc)
{
    for (size i = 0; i < sizeof features / sizeof *features; i++)
        if (equal(gcc, features[i].gcc)) return (char *)features[i].llvm;
    return replace_char(gcc, '-', '_');
}

/* armv8.2-a+ext+noext -> generic+v8_2a+ext-ext */
static char *arm_processor(const char *value)
{
    char *name = next_part(&value, '+'), *version = after(name, "armv"), *cpu;
    if (version && ends_with(version, "-a")) {
        char *level = replace_char(copy(version, strlen(version) - 2), '.', '_');
        cpu = equal(level, "8") ? "generic" : join3("generic+v", level, "a");
    } else cpu = replace_char(name, '-', '_');
    while (value && *value) {
        char *extension = next_part(&value, '+'), *without = after(extension, "no");
        cpu = join3(cpu, without ? "-" : "+", feature(without ? without : extension));
    }
    return cpu;
}

/* rv64gc_zba_zbb -> generic_rv64+m+a+f+d+zicsr+zifencei+c+zba+zbb */
static char *riscv_processor(const char *value)
{
    char *letters = after(value, "rv64"), *cpu = "generic_rv64";
    if (!letters) return replace_char(value, '-', '_');
    for (; *letters && *letters != '_'; letters++)
        if (*letters == 'g') cpu = join(cpu, "+m+a+f+d+zicsr+zifencei");
        else if (*letters != 'i') cpu = join3(cpu, "+", copy(letters, 1));
    return join(cpu, replace_char(letters, '_', '+'));
}

static void processor(Command *c, const char *option, const char *value)
{
    static Words of_x86 = {"x86", "haswell", "skylake", 0};
    if (equal(value, "native") && !config.native)
        refuse(option, value, "this machine's CPU is not the one that is built for; name one, or none");
    char *cpu;
    if (equal(config.machine, "aarch64")) {
        if (begins_with_any(value, of_x86)) refuse(option, value, "is for x86, and this builds for aarch64");
        cpu = arm_processor(value);
    } else if (equal(config.machine, "riscv64")) cpu = riscv_processor(value);
    else if (equal(value, "loongarch64") || equal(value, "generic")) return; /* the default */
    else cpu = equal(value, "x86-64") ? "x86_64" : replace_char(value, '-', '_');
    add(&c->out, join("-mcpu=", cpu));
}

/* Options of x86 only, without -m or -mno-. */
static Words x86_options = {
    "sse", "ssse", "avx", "mmx", "fma", "bmi", "f16c", "popcnt", "lzcnt", "aes", "pclmul", "sha",
    "xsave", "rdrnd", "rdseed", "adx", "abm", "3dnow", "fpmath", "32", "x32", "movbe", "prfchw",
    "cx16", "sahf", "gfni", "vaes", "vpclmulqdq", "amx", "crc32", "tbm", "xop", "rtm", "fxsr", 0};

static void refuse_x86_option(const char *option)
{
    const char *rest = after(option, "-mno-");
    if (!rest) rest = after(option, "-m");
    if (rest && !is_x86() && begins_with_any(rest, x86_options))
        refuse("", option, join("is for x86, and this builds for ", config.machine));
}

/* ---- options */

/* What becomes of an option. HAND_ON passes it to zig unchanged. */
enum { DROP, HAND_ON, LTO, FOLDER, LIBRARY, LANGUAGE, TARGET, OPENMP, PROCESSOR, PREPROCESSOR,
       LINKER_LIST, LINKER_TOKEN, LINKER_PAIR };
enum { PREFIX, EXACT };

typedef struct {
    const char *option;
    int action, how;
    const char *machine; /* the only one the row is for; `!x86`: all but x86 */
} Row;

/* The first row that matches counts. clang does not know the options that are dropped, and they change
 * neither ABI nor meaning. */
static const Row rows[] = {
    {"-L", FOLDER}, {"-l", LIBRARY}, {"-x", LANGUAGE, EXACT},
    {"-Wl,", LINKER_LIST}, {"-Xlinker", LINKER_TOKEN, EXACT}, {"-z", LINKER_PAIR, EXACT},
    {"-u", LINKER_PAIR, EXACT}, {"-h", LINKER_PAIR, EXACT}, {"-soname", LINKER_PAIR, EXACT},
    {"-Wp,", PREPROCESSOR}, {"-flto=thin", HAND_ON, EXACT}, {"-flto=", LTO},
    {"-march=", PROCESSOR}, {"-mcpu=", PROCESSOR}, {"--target=", TARGET}, {"-target", TARGET, EXACT},
    {"-fopenmp", OPENMP, EXACT}, {"-fopenmp=", OPENMP},
    {"-fcf-protection", DROP, PREFIX, "!x86"}, {"-mabi=lp64", DROP, EXACT, "aarch64"},
    {"-mfpu=64", DROP, EXACT, "loongarch64"},
    {"-fno-gnu-unique"}, {"-fgnu-unique"}, {"-fuse-linker-plugin"}, {"-fno-use-linker-plugin"},
    {"-fvar-tracking"}, {"-fno-var-tracking"}, {"-fira-"}, {"-fno-ira-"}, {"-fipa-"},
    {"-fno-ipa-"}, {"-fgcse"}, {"-fno-gcse"}, {"-fsched"}, {"-fno-sched"},
    {"-fallow-store-data-races"}, {"-fno-allow-store-data-races"}, {"-fgraphite"}, {"-floop-"},
    {"-fno-loop-"}, {"-fprefetch-loop-arrays"}, {"-fmodulo-sched"},
    {"-fno-inline-functions-called-once"}, {"-finline-limit"}, {"-fconserve-stack"},
    {"-fstack-reuse="}, {"-fdevirtualize"}, {"-fno-devirtualize"}, {"-fweb"},
    {"-frename-registers"}, {"-fno-fat-lto-objects"}, {"-flto-partition"},
    {"-flto-compression-level"}, {"-flto-odr"}, {"-fcompare-debug"}, {"-fvpt"},
    {"-fbranch-probabilities"}, {"-fno-reorder-"}, {"-freorder-"}, {"-fno-code-hoisting"},
    {"-fcode-hoisting"}, {"-fno-tree-"}, {"-ftree-"}, {"-fexcess-precision="}, {"-fmax-errors="},
    {"-fno-split-"}, {"-fsplit-loops"}, {"-fno-cprop"}, {"-fno-crossjumping"},
    {"-fno-caller-saves"}, {"-fno-toplevel-reorder"}, {"-fno-dce"}, {"-fno-dse"},
    {"-fno-isolate-"}, {"-fno-store-merging"}, {"-fpredictive-commoning"}, {"-specs="},
    {"--specs="}, {"-mtune="}, {"-mindirect-branch"}, {"-mfunction-return"},
    {"-mno-omit-leaf-frame-pointer="},
    {"", HAND_ON}, /* all others */
};

static int is_for(const Row *row, const char *text)
{
    const char *machine = row->machine;
    if (machine && !(equal(machine, "!x86") ? !is_x86() : equal(machine, config.machine))) return 0;
    return row->how == EXACT ? equal(text, row->option) : after(text, row->option) != 0;
}

static void hand_on(Command *c, const char *text, const char *value)
{
    refuse_x86_option(text);
    add(&c->out, text);
    if (value) add(&c->out, value);
}

/* -l:FILE: zig takes the path. */
static void library_file(Command *c, const char *name)
{
    const char *path = find_library(c, name, "", 0);
    if (!path) fail("-l:", name, "no directory that -L names has this file");
    add(&c->out, path);
    if (ends_with(path, ".a")) add(&c->archives, path);
}

static void use_openmp(Command *c)
{
    c->openmp = 1;
    if (!c->links) add(&c->out, "-fopenmp");
}

static void library(Command *c, const char *text, const char *value)
{
    const char *name = value ? value : text + 2;
    add(&c->libraries, join(c->state[STATIC] ? "s" : "d", name));
    if (*name == ':') library_file(c, name + 1);
    else if (equal(text, "-lgomp")) use_openmp(c);
    else if (!equal(text, "-latomic")) hand_on(c, text, value); /* zig's runtime has it */
}

static void preprocessor(Command *c, const char *text)
{
    static Words plain = {"-D", "-U", "-I", 0};
    const char *list = after(text, "-Wp,");
    if (!begins_with_any(list, plain)) hand_on(c, text, 0);
    else while (list) add(&c->out, next_part(&list, ','));
}

/* The configured first arguments name the target already, as zig spells it. */
static void check_target(const char *target)
{
    if (!after(target, config.machine)) fail("--target=", target, join("this builds for ", config.machine));
}

static void translate_argument(Command *c, const char *text, const char *value);

static void for_linker(Command *c, const char *token)
{
    if (!linker_token(c, token)) translate_argument(c, token, 0);
}

/* One argument, with its value if that is the next one. */
static void translate_argument(Command *c, const char *text, const char *value)
{
    const Row *row = rows;
    while (!is_for(row, text)) row++;
    const char *rest = text + strlen(row->option);
    switch (row->action) {
    case DROP: return;
    case LTO: add(&c->out, "-flto"); return;
    case LIBRARY: library(c, text, value); return;
    case OPENMP: use_openmp(c); return;
    case PROCESSOR: processor(c, row->option, rest); return;
    case PREPROCESSOR: preprocessor(c, text); return;
    case LINKER_LIST:
        while (rest) for_linker(c, next_part(&rest, ','));
        return;
    case LINKER_TOKEN:
        if (!value) fail("", text, "its value is missing");
        for_linker(c, value);
        return;
    case LINKER_PAIR:
        if (!value) break;
        linker_pair(c, text, value);
        return;
    case TARGET:
        if (row->how == EXACT && !value) break;
        check_target(value ? value : rest);
        return;
    case FOLDER: add(&c->folders, value ? value : rest); break;
    case LANGUAGE: c->language = value; break;
    default:
        if (*text == '-') break;
        if (ends_with(text, ".a")) add(&c->archives, text);
        if (ends_with(text, ".o") || ends_with(text, ".lo")) add(&c->objects, text);
    }
    hand_on(c, text, value);
}

/* ---- a whole command */

static int is_below(const char *path, const List *folders)
{
    for (size i = 0; i < folders->n; i++) {
        char *rest = after(path, folders->at[i]);
        if (rest && (*rest == 0 || *rest == '/')) return 1;
    }
    return 0;
}

void translate(Command *c, const List *in, int as_cxx)
{
    c->links = links_something(in);
    c->shared = has_word(in, "-shared");
    for (size i = 0; i < in->n; i++) {
        const char *text = in->at[i], *value = 0;
        if (takes_value(text) || equal(text, "-Xlinker")) value = in->at[i + 1];
        const char *folder = folder_named(text, value);
        if (value) i++;
        if (folder && is_below(folder, &config.drop)) continue;
        if (!config.zig) {
            add(&c->out, text);
            if (value) add(&c->out, value);
        } else if (as_cxx && *text != '-' && ends_with(text, ".c") && !c->language) {
            /* g++ compiles .c as C++; zig goes by the suffix. */
            static const char *const words[] = {"-x", "c++", 0, "-x", "none"};
            for (int j = 0; j < 5; j++) add(&c->out, words[j] ? words[j] : text);
        } else translate_argument(c, text, value);
    }
    if (c->waiting) fail("", c->waiting, "its value is missing");
    if (c->links && c->openmp) check_openmp(in);
    if (c->links && c->excluded.n) hide_symbols(c);
}
