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
            instead "$@"
            exec "$@"
        fi
        exec env "$@"
    )
}

# What cibuildwheel does with the image's Python after before-build would depend on what that has left
# of pip, of build and of what they need. Our scripts do it without its site-packages, with a copy of
# its pip from before. These are the commands of the locked cibuildwheel.
instead() {
    local own=/opt/orchestrator kept=/tmp/orchestrator/own-pip question=/opt/orchestrator-shell/frontend.json
    local limits=/tmp/orchestrator/limits.txt name
    # Tests of a locked build install nothing but what is prepared for them.
    [[ ! -e /tmp/orchestrator/locked ]] ||
        export PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_FIND_LINKS= UV_DEFAULT_INDEX=file:///dev/null \
            UV_NO_CONFIG=1 UV_FIND_LINKS= UV_INDEX= UV_EXTRA_INDEX_URL=
    case "$*" in
    'sh -c '*)
        # It is there while before-build runs: what that installs keeps to the build's constraints.
        [[ -e $limits ]] || return 0
        for name in {PIP,UV}_{CONSTRAINT,BUILD_CONSTRAINT}; do
            export "$name=$limits${!name:+ ${!name}}"
        done
        return
        ;;
    'python -m build '* | 'python -m pip wheel '* | 'uv build '* | 'python -m virtualenv '* | 'uv venv '*)
        rm -f "$limits"
        ;;
    esac
    case "$*" in
    'python -V -V')
        python -I "$own/seed_venv.py" keep "$kept" || exit
        exec python -I -S "$own/frontend.py" "$question" setup
        ;;
    'python -m build '* | 'python -m pip wheel '*)
        exec python -I -S "$own/frontend.py" "$question" "$@"
        ;;
    'uv build --python='*)
        ! grep -q '"managed": true' "$question" || exec python -I -S "$own/frontend.py" "$question" "$@"
        ;;
    'pip install virtualenv'*) exit ;;
    'python -m virtualenv '*)
        exec python -I -S "$own/seed_venv.py" venv "${!#}" "$kept"
        ;;
    esac
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
