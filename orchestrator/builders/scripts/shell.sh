# Bash reads this before the commands that cibuildwheel sends it, and is the only one that does.
unset BASH_ENV
trap 'times >/opt/orchestrator-shell/times' EXIT

# cibuildwheel gives each command its environment in arguments of env(1), which everybody on the
# machine can read in the list of processes. What the shell exports itself stands nowhere.
env() {
    if [[ ${1-} == /opt/python/*/bin/python && ${2-} == -c && $# == 3 ]] && listed "$3"; then
        return
    fi
    (
        while [[ ${1-} == [A-Za-z_]*=* ]]; do
            export "$1" 2>/dev/null || break
            shift
        done
        if (($#)) && [[ $1 != -* && $1 != *=* ]]; then
            exec "$@"
        fi
        exec env "$@"
    )
}

# cibuildwheel has a Python list files for want of a shell that knows JSON; under QEMU that takes as
# long as a small compilation. Names that JSON would have to quote are left to that Python.
listed() (
    LC_ALL=C
    local pattern each found=''
    [[ $1 == "import sys, json, glob; json.dump(glob.glob('"*"'), sys.stdout)" ]] || exit
    pattern=${1#*glob.glob(\'} pattern=${pattern%\'), sys.stdout)}
    [[ $pattern != *[!A-Za-z0-9/_.*-]* ]] || exit
    shopt -s nullglob
    for each in $pattern; do
        [[ $each != *[!A-Za-z0-9/_.+!-]* ]] || exit
        found+=", \"$each\""
    done
    printf '[%s]' "${found#, }"
)
