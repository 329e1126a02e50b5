#!/usr/bin/env bash
# All tests on the newest versions of NumPy, array-api-strict, torch and JAX, and with the
# libraries that single tests look at: exporters, other data frames, lazy arrays.  The emulated CUDA
# device does not depend on versions; the README's test command has it.
source "$(dirname "$0")/common.sh"

fresh_venv "$(first_python python3.13 python3.12 python3)"
# torch is pinned: other versions may pull gigabytes of CUDA packages
"$venv/bin/pip" install -q --group test . torch==2.13.0 jax \
    numba "dask[array,dataframe,distributed]" onnxruntime polars skl2onnx skops
show_versions
KMEANS_XP_REQUIRE=strict,torch,jax "$venv/bin/pytest" --ignore=tests/cuda "$@"
