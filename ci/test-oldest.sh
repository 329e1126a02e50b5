#!/usr/bin/env bash
# All tests on the oldest versions that are supported, on the oldest Python (but for the
# emulated CUDA device, which does not depend on versions).
source "$(dirname "$0")/common.sh"

if ! python=$(first_python python3.11 python3) || ! is_python "$python" 3.11; then
    echo "SKIPPED: the oldest versions need Python 3.11, and no python3.11 was found"
    exit 0
fi
fresh_venv "$python"
"$venv/bin/pip" install -q --group test . --constraint ci/oldest.txt
show_versions
KMEANS_XP_REQUIRE=strict "$venv/bin/pytest" --ignore=tests/cuda "$@"
