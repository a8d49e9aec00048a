/* nvcc: a native one of the same build as the toolkit's. */
#include "driver.h"

static char *with_nvcc(char *folder) { return exists(join(folder, "/nvcc")) ? folder : 0; }

/* The first directory on PATH with an nvcc, except `self`, which ends with a slash. */
static char *find_on_path(char **environment, const char *self)
{
    const char *path = variable(environment, "PATH");
    while (path && *path) {
        char *folder = next_part(&path, ':');
        if (*folder && !equal(join(folder, "/"), self) && with_nvcc(folder)) return folder;
    }
    return 0;
}

/* The directory of the nvcc that the build calls, as that nvcc would spell it. */
static char *find_toolkit(const char *called, char **environment, const char *self, int covers)
{
    static Words variables = {"CUDA_HOME", "CUDA_PATH", 0};
    char *found = 0;
    if (covers) {
        found = find_char(called, '/') ? folder_of(called) : find_on_path(environment, "");
        /* Called through a link, nvcc finds none of its files; it only prints its version. */
        return found && exists(join(found, "/nvcc.profile")) ? found : folder_of(self);
    }
    for (const char *const *name = variables; *name && !found; name++) {
        char *value = variable(environment, *name);
        if (value) found = with_nvcc(join(value, "/bin"));
    }
    if (!found) found = find_on_path(environment, self);
    return found ? found : with_nvcc("/usr/local/cuda/bin");
}

static int same_file(const char *one, const char *other)
{
    size n, m;
    const char *a = read_file(one, &n), *b = read_file(other, &m);
    return a && b && n == m && equal(a, b);
}

static const char *build_symbol;

static int is_build_symbol(const char *text, size left, char before)
{
    (void)before;
    return starts(text, left, build_symbol);
}

/* Both halves of the compiler are compared: they may come from two packages. The nvcc that this
 * program covers is not readable here; it was compared before. */
static int is_build(const char *bin, const char *build, const char *folder, int covers)
{
    build_symbol = find_char(build, '_');
    return same_file(join(bin, "/nvcc.profile"), join(folder, "/nvcc.profile"))
        && (covers || file_mentions(join(bin, "/nvcc"), is_build_symbol))
        && file_mentions(join(bin, "/../nvvm/bin/cicc"), is_build_symbol);
}

_Noreturn void run_nvcc(char **given, char **environment, const char *self, int covers)
{
    List out = {0};
    char *bin = find_toolkit(*given, environment, self, covers);
    if (!bin) fail("", "no CUDA toolkit", "CUDA_HOME, CUDA_PATH and PATH lead to no nvcc");
    for (size i = 0; i < config.nvcc.n && !out.n; i++) {
        const char *folder = config.nvcc.at[i], *build = next_part(&folder, ' ');
        if (!is_build(bin, build, folder, covers)) continue;
        /* nvcc looks for this directory beside its own. */
        int targets = exists(join(bin, "/../targets/sbsa-linux"));
        add(&out, join(folder, targets ? "/sbsa/bin/nvcc" : "/bin/nvcc"));
        add(&config.env, join3(toolkit_variable, "=", bin));
    }
    if (!out.n && covers) fail("", bin, "this toolkit is no longer the image's");
    int compiles = 0, is_native = out.n != 0;
    if (!is_native) add(&out, join(bin, "/nvcc"));
    for (given++; *given; given++) {
        compiles |= **given != '-';
        add(&out, *given);
    }
    if (is_native && compiles) log_call("nvcc\n");
    run(&out, environment, &config.env);
}
