#!/usr/bin/env bash
# Lint, format and types.
source "$(dirname "$0")/common.sh"

fresh_venv "$(first_python python3.11 python3)"
"$venv/bin/pip" install -q --group lint .
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/mypy"
