#!/usr/bin/env bash
# All tests on the oldest versions that are supported, on the oldest Python.
source "$(dirname "$0")/common.sh"

if ! python=$(first_python python3.11 python3) || ! is_python "$python" 3.11; then
    echo "SKIPPED: the oldest versions need Python 3.11, and no python3.11 was found"
    exit 0
fi
fresh_venv "$python"
"$venv/bin/pip" install -q --group test . --constraint ci/oldest.txt
show_versions
# without SCIPY_ARRAY_API scikit-learn 1.6 cannot import its own checks beside SciPy 1.14
SCIPY_ARRAY_API=1 KMEANS_XP_REQUIRE=strict "$venv/bin/pytest" "$@"
