#!/usr/bin/env bash
# All tests on a machine with a GPU; fails where CuPy is missing or sees none.
# The extra that fits the driver is the first argument: cuda13 (default) or cuda12.
# With --here nothing is installed: the tests run on $PYTHON (default: python3) with what it has, for
# machines without a network.  Further arguments go to pytest.
source "$(dirname "$0")/common.sh"

if [ "${1:-}" = --here ]; then
    shift
    export PYTHONPATH=$PWD
    python=${PYTHON:-python3}
    "$python" -m kmeans_xp info
    KMEANS_XP_REQUIRE=cupy exec "$python" -m pytest "$@"
fi
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
