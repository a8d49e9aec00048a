/* What the files of the compiler driver share. main.c says what the driver does. */
#pragma once
#pragma GCC diagnostic ignored "-Wmissing-field-initializers" /* rows of tables leave out zeros */

typedef unsigned long size;
typedef unsigned char byte;

/* ---- runtime.c: what a libc would bring. Nothing is ever freed. */

extern const char *own_name; /* the name that this program was called by */

_Noreturn void leave(int status);
_Noreturn void fail(const char *before, const char *what, const char *why);
/* The same for what this target cannot have; the mark at its end is read by direct_zig.py. */
_Noreturn void refuse(const char *before, const char *what, const char *why);
void print(int fd, const char *text);

void *memset(void *to, int value, size n);
void *memcpy(void *restrict to, const void *restrict from, size n);
size strlen(const char *text);
void *allocate(size n);

int equal(const char *a, const char *b);
char *after(const char *text, const char *prefix); /* what follows a prefix; 0 without it */
int ends_with(const char *text, const char *suffix);
char *find_char(const char *text, char c);
int contains(const char *text, const char *part);
char *copy(const char *text, size n);
char *join(const char *a, const char *b);
char *join3(const char *a, const char *b, const char *c);
char *replace_char(const char *text, char from, char to); /* a changed copy */
char *cut(char *text, char at); /* end the text at a character; what follows it */
char *next_part(const char **text, char separator); /* a copy; *text moves on, to 0 at the end */
const char *last_part(const char *path);
char *folder_of(const char *path);

/* Lists that are known beforehand end with 0. */
typedef const char *const Words[];
int is_any(const char *text, Words list);
int begins_with_any(const char *text, Words list);
int ends_with_any(const char *text, Words list);

typedef struct {
    char **at; /* ends with 0, where anything is in it */
    size n, room;
} List;
void add(List *list, const char *text);
void add_all(List *list, const List *more);
int has_word(const List *list, const char *text);

typedef struct {
    const char **at; /* 0 where a place is free */
    size n, room;
} Set;
int in_set(const Set *set, const char *text);
void put(Set *set, const char *text);

int exists(const char *path);
long open_file(const char *path);
size read_bytes(long fd, void *to, size n);      /* how many there were */
char *read_file(const char *path, size *length); /* 0 where that fails; the length where wanted */
void append_to_file(const char *path, const char *line);
long anonymous_file(const char *name, char **path); /* the path is good until this program ends */
int own_path(char *to, size room);

/* Whether text of which `left` bytes are known starts with a symbol that is looked for; `before` is
 * the byte before it. */
typedef int Matcher(const char *text, size left, char before);
int starts(const char *text, size left, const char *word);
int file_mentions(const char *path, Matcher *matches); /* symbols that start with `_` */

char *variable(char **environment, const char *name); /* 0 where it is not set, or empty */
_Noreturn void run(const List *arguments, char **environment, const List *changes);

/* ---- config.c */

typedef struct {
    int zig, native;
    const char *machine, *log, *own;
    List headers, env, first, last, link, drop, library, answer, nvcc;
    List program, cxx_program; /* of the tool that is called, and of `c++` */
} Config;
extern Config config;

const char *tool_of(const char *name);
void read_config(const char *path, const char *tool);
void log_call(const char *line);

/* ---- arguments.c */

void expand(List *out, char *const *arguments); /* response files are read */
void shorten(List *arguments, size keep); /* one is written, if they are too long */
int takes_value(const char *option); /* in the next argument */
const char *folder_named(const char *option, const char *value);
int links_something(const List *in);
int is_cxx(const char *file);
int is_source(const char *file);
int is_fortran(const char *file);
int has_cxx(const List *in);

/* ---- one command of zig's: zig.c calls exports.c and linker.c, and exports.c calls linker.c */

enum { STATIC = 1, AS_NEEDED, WHOLE, STATES };

typedef struct {
    List out;
    int links, shared, openmp;
    const char *language;            /* of -x */
    const char *waiting;             /* a linker's option whose value is still to come */
    int state[STATES];               /* of the linker, as the options so far set it */
    int saved[16][STATES], depth;    /* --push-state */
    List folders;                    /* -L */
    List objects, archives;          /* what is linked, by path */
    List libraries;                  /* and by -l: `s` in front where only archives count, else `d` */
    List excluded;                   /* --exclude-libs */
    const char *versions;            /* --version-script */
} Command;

void translate(Command *c, const List *in, int as_cxx);

void linker_option(Command *c, const char *option, const char *value);
void linker_pair(Command *c, const char *option, const char *value);
int linker_token(Command *c, const char *token);
char *find_library(const Command *c, const char *name, const char *suffix, const char *rather);
void check_openmp(const List *in);
void leave_out_libraries(Command *c, const List *in, int as_cxx);

void hide_symbols(Command *c);

/* ---- gcc.c and nvcc.c */

extern const char toolkit_variable[]; /* which toolkit's nvcc called: that nvcc is a native one */

void log_other_compilers(const List *in, char **environment);
void name_toolkit_files(List *in, char **environment);
void prepare_gcc(const List *in, char **given, char **environment);
_Noreturn void run_nvcc(char **given, char **environment, const char *self, int covers);
