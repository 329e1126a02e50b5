#!/usr/bin/env bash
# All tests on a machine with a GPU; fails where CuPy is missing or sees none.
# The extra that fits the driver is the first argument: cuda13 (default) or cuda12.
source "$(dirname "$0")/common.sh"

extra=cuda13
case "${1:-}" in
cuda12 | cuda13)
    extra=$1
    shift
    ;;
esac
fresh_venv "$(first_python python3)"
"$venv/bin/pip" install -q --group test ".[$extra]"
show_versions
"$venv/bin/kmeans-xp" info
KMEANS_XP_REQUIRE=strict,cupy "$venv/bin/pytest" "$@"
