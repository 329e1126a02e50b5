#!/usr/bin/env bash
# The documentation: every page and docstring without a warning, every example run anew.
source "$(dirname "$0")/common.sh"

fresh_venv "$(first_python python3.13 python3.12 python3)"
"$venv/bin/pip" install -q --group docs .
show_versions
# in a copy: from nothing, since what an earlier build left would not be run again
cp -r docs README.md "$venv/"
rm -rf "$venv/docs/"{_build,auto_examples,generated}
"$venv/bin/sphinx-build" -q -W --keep-going "$venv/docs" "$venv/site"
echo "documentation: $(find "$venv/site" -name '*.html' | wc -l) pages"
