# Bash reads this before the commands that cibuildwheel sends it, and is the only one that does.
unset BASH_ENV
trap 'times >/opt/orchestrator-shell/times' EXIT

# cibuildwheel gives each command its environment in arguments of env(1), which everybody on the
# machine can read in the list of processes. What the shell exports itself stands nowhere.
env() {
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
