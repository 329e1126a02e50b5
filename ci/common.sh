# Sourced by the scripts beside it: a fresh virtual environment, removed at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Temporary venv of the given interpreter in $venv, with a pip that knows dependency groups.
fresh_venv() {
    venv=$(mktemp -d "${TMPDIR:-/tmp}/kmeans-xp-ci.XXXXXX")
    trap 'rm -rf "$venv"' EXIT
    "$1" -m venv "$venv"
    "$venv/bin/pip" install -q --upgrade pip
    echo "python: $("$venv/bin/python" --version)"
}

# First of the given commands that runs (a name on PATH may be a shim that does not).
first_python() {
    local name
    for name in "$@"; do
        if "$name" -c '' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    return 1
}

is_python() {
    "$1" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != sys.argv[1])' "$2" 2>/dev/null
}

show_versions() {
    echo "installed:" $("$venv/bin/pip" list --format freeze | grep -iE \
        '^(numpy|scipy|scikit-learn|array.api.(compat|strict)|torch|jax|cupy[^=]*|pandas|pyarrow)==')
}
