#!/usr/bin/env bash
# CuPy installed where there is no GPU: nothing breaks, and what needs one says so.
source "$(dirname "$0")/common.sh"

tests=()
for name in device import info; do
    if [ -e "tests/test_$name.py" ]; then
        tests+=("tests/test_$name.py")
    fi
done
fresh_venv "$(first_python python3)"
"$venv/bin/pip" install -q --group test . cupy-cuda13x
show_versions
"$venv/bin/pytest" "$@" "${tests[@]}"
