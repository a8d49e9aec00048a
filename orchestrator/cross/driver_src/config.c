/* compiler.conf (main.c describes it), and the names that its tools are called by. */
#include "driver.h"

Config config;

static const struct {
    const char *name, *tool;
} tools[] = {
    {"cc", "cc"}, {"gcc", "cc"}, {"clang", "cc"}, {"c99", "cc"}, {"c11", "cc"}, {"c17", "cc"},
    {"c++", "c++"}, {"g++", "c++"}, {"clang++", "c++"},
    {"ar", "ar"}, {"ranlib", "ranlib"}, {"ld", "ld"}, {"nm", "nm"}, {"strip", "strip"},
    {"objcopy", "objcopy"}, {"objdump", "objdump"}, {"readelf", "readelf"}, {"as", "as"},
    {"cpp", "cpp"},
};

/* The tool that a name stands for, without triplet and version. */
const char *tool_of(const char *name)
{
    size n = strlen(name);
    while (n && ((name[n - 1] >= '0' && name[n - 1] <= '9') || name[n - 1] == '.')) n--;
    char *plain = n && name[n - 1] == '-' ? copy(name, n - 1) : copy(name, strlen(name));
    /* Longest first: `aarch64-linux-gnu-gcc-ar` is ar. */
    for (char *part = plain; part; part = find_char(part, '-') ? find_char(part, '-') + 1 : 0)
        for (size i = 0; i < sizeof tools / sizeof *tools; i++)
            if (equal(part, tools[i].name)) return tools[i].tool;
    return plain;
}

/* Settings whose last value counts, and settings whose values all count. */
static const struct {
    const char *name, **last;
    List *all;
} settings[] = {
    {"machine", &config.machine, 0},
    {"log", &config.log, 0},
    {"headers", 0, &config.headers},
    {"env", 0, &config.env},
    {"first", 0, &config.first},
    {"last", 0, &config.last},
    {"link", 0, &config.link},
    {"drop-below", 0, &config.drop},
    {"library", 0, &config.library},
    {"answer", 0, &config.answer},
    {"nvcc", 0, &config.nvcc},
};

static int set(const char *name, char *value)
{
    for (size i = 0; i < sizeof settings / sizeof *settings; i++) {
        if (!equal(name, settings[i].name)) continue;
        if (settings[i].last) *settings[i].last = value;
        else add(settings[i].all, value);
        return 1;
    }
    return 0;
}

void read_config(const char *path, const char *tool)
{
    char *text = read_file(path, 0), *rest;
    if (!text) fail("no configuration: ", path, "cannot be read");
    List *program = 0;
    for (char *name = text, *next; *name; name = next) {
        next = cut(name, '\n');
        char *value = cut(name, ' ');
        if (!*name || *name == '#') continue;
        if (equal(name, "mode")) config.zig = equal(value, "zig");
        else if (equal(name, "native")) config.native = 1;
        else if (equal(name, "own")) {
            if ((rest = after(value, own_name)) && *rest == ' ') config.own = rest + 1;
        } else if (equal(name, "tool"))
            program = equal(value, tool) ? &config.program : equal(value, "c++") ? &config.cxx_program : 0;
        else if (equal(name, "exec")) {
            if (program) add(program, value);
        } else if (!set(name, value)) fail("unknown setting ", name, path);
    }
}

void log_call(const char *line)
{
    if (config.log) append_to_file(config.log, line);
}
