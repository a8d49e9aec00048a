/* gcc's mode: a native compiler of the same version as the image's. */
#include "driver.h"

const char toolkit_variable[] = "ORCHESTRATOR_CUDA";

/* Debug information names files: replace those beside a native nvcc by the toolkit's. */
void name_toolkit_files(List *in, char **environment)
{
    const char *bin = variable(environment, toolkit_variable);
    for (size i = 0; bin && i < in->n; i++) {
        const char *place = after(in->at[i], "/opt/orchestrator-native/cuda/"), *rest = 0;
        for (; place && *place && !rest; place++) rest = after(place, "/bin/crt/");
        if (rest) in->at[i] = join3(bin, "/crt/", rest);
    }
}

/* Other compilers call this one for host code or to link. They run emulated, except for an nvcc
 * that we started. */
void log_other_compilers(const List *in, char **environment)
{
    int native = variable(environment, toolkit_variable) != 0;
    for (size i = 0; i < in->n; i++) {
        const char *text = in->at[i], *who = 0;
        if (ends_with(text, ".rcgu.o")) who = "Rust\n";
        else if (equal(text, "-D__CUDACC__") && !native) who = "CUDA\n";
        else if (equal(text, "-lgfortran") || (*text != '-' && is_fortran(text))) who = "Fortran\n";
        if (!who) continue;
        log_call(who);
        return;
    }
}

/* Whether the image's own compiler must answer or compile. */
static int is_for_own(const List *in)
{
    static Words asked = {"-print-", "--print-", "-dump", "--version", "--help", "--target-help",
                          "-fplugin=", 0};
    /* Only the image's compiler knows the CPU that QEMU emulates. */
    static Words native = {"-march=native", "-mcpu=native", "-mtune=native", 0};
    static Words others = {".d", ".go", ".adb", ".ads", ".m", ".mm", ".M", ".mi", ".mii", 0};
    static Words languages = {"c", "c-header", "cpp-output", "c++", "c++-header",
                              "c++-system-header", "c++-user-header", "c++-cpp-output", "assembler",
                              "assembler-with-cpp", "none", 0};
    static Words dumps = {"-dumpdir", "-dumpbase", "-dumpbase-ext", 0};
    int files = 0;
    for (size i = 0; i < in->n; i++) {
        const char *text = in->at[i], *language = after(text, "-x");
        if (is_any(text, dumps)) i++;
        else if (begins_with_any(text, asked) || is_any(text, native)) return 1;
        else if (language) {
            if (!*language && i + 1 < in->n) language = in->at[++i];
            if (!is_any(language, languages)) return 1;
        } else if (takes_value(text)) i++;
        else if (*text != '-' || !text[1]) {
            files = 1;
            if (ends_with_any(text, others) || is_fortran(text)) return 1;
        } else if (after(text, "-l") || after(text, "-Wl,")) files = 1;
    }
    return !files; /* `gcc -v` */
}

/* Set the variables of the header directories; those that the caller set come first. */
static void name_headers(const List *in, char **environment)
{
    int none = has_word(in, "-nostdinc"), none_cxx = has_word(in, "-nostdinc++");
    for (size i = 0; i < config.headers.n && !none; i++) {
        char *setting = config.headers.at[i], *value = find_char(setting, '=') + 1;
        char *name = copy(setting, (size)(value - setting));
        if (none_cxx && after(setting, "CPLUS")) /* only those of C remain */
            for (size j = 0; j < config.headers.n; j++)
                if (after(config.headers.at[j], "C_")) value = find_char(config.headers.at[j], '=') + 1;
        for (char **given = environment; *given; given++) {
            char *own = after(*given, name);
            if (own && *own) value = join3(own, ":", value);
        }
        add(&config.env, join(name, value));
    }
}

void prepare_gcc(const List *in, char **given, char **environment)
{
    if (config.own && is_for_own(in)) {
        List plain = {0}, unchanged = {0};
        add(&plain, config.own);
        for (; *given; given++) add(&plain, *given);
        log_call("own\n");
        run(&plain, environment, &unchanged);
    }
    name_headers(in, environment);
    log_call("native\n");
}
