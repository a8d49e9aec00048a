/* The compiler driver that builds for another architecture, or another libc, call.
 *
 * One native, static program under many names (cc, g++, aarch64-linux-gnu-gcc, ar, ...). It reads
 * `compiler.conf` in its own directory, changes the arguments, and becomes the real program. It is
 * native and static, and needs no libc, because it also runs inside containers of other
 * architectures and distributions; a script there would be emulated, once for each file compiled.
 *
 * compiler.conf has one setting a line. The value is the rest of the line:
 *
 *     mode zig                  translate what zig refuses; `gcc` hands arguments on as they are
 *     machine aarch64           architecture to compile for
 *     native                    code for this very CPU (-march=native) is allowed
 *     env NAME=VALUE            put into the environment of the real program
 *     tool cc                   what the names ending in `cc` and `gcc` stand for; also c++, ar, ...
 *     exec /path/of/zig         its program, and then its first arguments, one a line
 *     exec cc
 *     first -I/target/include   argument of every compilation and link, before all others
 *     last -idirafter           the same, after all others
 *     link -Wl,-S               argument of links alone, after all others
 *     drop-below /usr/include   leave out -I, -isystem, -L, ... of this directory and those below
 *     library /usr/lib          directory searched for -l:FILE and by -print-file-name
 *     answer -dumpmachine aarch64-linux-gnu      print that, and do nothing else
 *     log /path                 file that gets a line for each call: `native`, or `own`; `nvcc` for
 *                               a native nvcc; and one for a call by another compiler, which is
 *                               emulated: `Rust`, `CUDA`, `Fortran`
 *
 * In gcc's mode also:
 *
 *     own g++ /usr/bin/g++      the image's program of that name: it answers questions, and compiles
 *                               what is neither C nor C++, or for this very CPU
 *     headers CPLUS_INCLUDE_PATH=/a:/b    where the headers of a language are
 *
 * Where it stands for nvcc, nothing but `log` and:
 *
 *     nvcc cuda_13.0.r13.0/compiler.1_0 /folder    a native nvcc, and the build that its programs
 *                               name; /folder/nvcc.profile equals that of the toolkits it is for
 */
#include "driver.h"

/* The settings if this program is mounted over the nvcc of an image, and has none beside it. */
static const char nvcc_settings[] = "/opt/orchestrator-native/nvcc/compiler.conf";

static _Noreturn void answer_with(const char *text)
{
    print(1, join(text, "\n"));
    leave(0);
}

/* Answer what configure steps ask, without starting anything. */
static void answer(const List *in)
{
    for (size i = 0; i < in->n; i++) {
        for (size j = 0; j < config.answer.n; j++) {
            char *rest = after(config.answer.at[j], in->at[i]);
            if (rest && *rest == ' ') answer_with(rest + 1);
        }
        const char *file = after(in->at[i], "-print-file-name=");
        if (!file || !config.zig) continue;
        for (size j = 0; j < config.library.n; j++) {
            char *path = join3(config.library.at[j], "/", file);
            if (exists(path)) answer_with(path);
        }
        answer_with(file);
    }
}

static _Noreturn void run_tool(const List *program, const List *arguments, char **environment)
{
    List out = {0};
    if (!program->n) fail("no program for ", own_name, "compiler.conf names none");
    add_all(&out, program);
    add_all(&out, arguments);
    shorten(&out, program->n);
    run(&out, environment, &config.env);
}

static _Noreturn void compile(const char *tool, List *in, char **given, char **environment)
{
    int as_cxx = equal(tool, "c++"), links = links_something(in);
    if (in->n) answer(in);
    const List *program = config.zig && !as_cxx && has_cxx(in) ? &config.cxx_program : &config.program;
    log_other_compilers(in, environment);
    if (config.zig) log_call("native\n");
    else prepare_gcc(in, given, environment);
    Command command = {0};
    add_all(&command.out, &config.first);
    if (in->n) translate(&command, in, as_cxx);
    add_all(&command.out, &config.last);
    if (links) add_all(&command.out, &config.link);
    if (config.zig && links) leave_out_libraries(&command, in, as_cxx);
    run_tool(program, &command.out, environment);
}

__attribute__((used)) _Noreturn void begin(long *stack)
{
    static char self[4096]; /* the directory of this program, with a slash */
    char **given = (char **)(stack + 1), **environment = given + *stack + 1;
    if (!*stack || !own_path(self, sizeof self))
        fail("cannot find ", "compiler.conf", "/proc is not mounted");
    *(char *)last_part(self) = 0;
    own_name = last_part(given[0]);
    const char *tool = tool_of(own_name), *settings = join(self, "compiler.conf");
    int covers = !exists(settings);
    read_config(covers ? nvcc_settings : settings, tool);
    if (config.nvcc.n) run_nvcc(given, environment, self, covers);
    List in = {0};
    expand(&in, given + 1);
    name_toolkit_files(&in, environment);
    if (equal(tool, "cc") || equal(tool, "c++")) compile(tool, &in, given + 1, environment);
    run_tool(&config.program, &in, environment);
}
