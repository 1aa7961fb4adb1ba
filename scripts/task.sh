#!/usr/bin/env bash
# The commands behind `make` and `.ci/run`:  scripts/task.sh TASK...   (demo, test, check, bench, bench-accuracy, clean, help)
#
# The first task makes .venv and installs raytrack into it with the versions of constraints.txt; later ones reuse it
# until pyproject.toml or constraints.txt change. PYTHON chooses the interpreter (3.10 to 3.13).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
stamp=$venv/.raytrack-installed

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' 2>/dev/null
}

find_python() {
    local python
    if [ -n "${PYTHON:-}" ]; then
        is_supported "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.10, 3.11, 3.12 or 3.13"
        printf '%s\n' "$PYTHON"
        return
    fi
    for python in python3 python3.13 python3.12 python3.11 python3.10; do
        if is_supported "$python"; then
            printf '%s\n' "$python"
            return
        fi
    done
    die "no Python 3.10, 3.11, 3.12 or 3.13 found; on Debian or Ubuntu: sudo apt-get install -y python3-venv"
}

make_venv() {
    local python
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$python cannot make virtual environments; on Debian or Ubuntu: sudo apt-get install -y python3-venv"
    "$python" -m venv "$venv"
}

ensure_installed() {
    local wanted
    wanted=$(cat pyproject.toml constraints.txt scripts/task.sh | cksum)
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        make_venv
    fi
    is_supported "$venv/bin/python" || die "$venv holds an unsupported Python: remove it and try again"
    printf 'Installing raytrack into %s (once; some minutes) ...\n' "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
    printf '%s\n' "$wanted" >"$stamp"
}

task_demo() { "$venv/bin/raytrack" run jobs/demo.yaml --out out/demo; }

task_test() { "$venv/bin/python" -m pytest; }

task_check() {
    local failed=0
    "$venv/bin/ruff" check . || failed=1
    "$venv/bin/ruff" format --check . || failed=1
    PYRIGHT_PYTHON_IGNORE_WARNINGS=1 "$venv/bin/pyright" || failed=1
    "$venv/bin/python" -m pytest -q tests/test_architecture.py || failed=1
    return $failed
}

task_bench() { "$venv/bin/python" -m benchmarks.render; }

task_bench-accuracy() {
    # CLIPS: real videos, separated by spaces. QUICK=1: two people. DOCS=1: also rewrite docs/accuracy.md and its picture.
    local options=()
    [ -z "${QUICK:-}" ] || options+=(--quick)
    [ -z "${DOCS:-}" ] || options+=(--docs)
    # shellcheck disable=SC2086  # one word per clip
    "$venv/bin/python" -m benchmarks.accuracy "${options[@]}" ${CLIPS:-}
}

task_clean() {
    # Only what the tasks made: environment, caches, build results and the demo's output.
    rm -rf "$venv" dist build out/demo .pytest_cache .ruff_cache .hypothesis
    find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
}

task_help() {
    cat <<'TEXT'
make demo    track the shipped demo clip; results in out/demo
make test    run the tests
make check   lint, format, types and import rules
make bench   time the renderer and print a table
make bench-accuracy   measure tracks against the truth of rendered people (about 40 min the first time; docs/accuracy.md)
make clean   remove .venv, caches, build results and out/demo
Each makes .venv on first use. PYTHON=python3.12 chooses the interpreter.
TEXT
}

[ $# -gt 0 ] || set -- help
for task in "$@"; do
    case $task in
    demo | test | check | bench | bench-accuracy) ensure_installed ;;
    clean | help) ;;
    *) die "unknown task '$task'; known: demo test check bench bench-accuracy clean help" ;;
    esac
    "task_$task"
done
