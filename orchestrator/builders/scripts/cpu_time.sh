# Bash reads this before the commands that cibuildwheel sends it, and is the only one that does.
unset BASH_ENV
trap 'times >/opt/orchestrator-times/spent' EXIT
