#!/usr/bin/env bash
# CuPy installed where there is no GPU: nothing breaks, and what needs one says so.
# The CUDA sources become machine code here: NVRTC needs no driver.
source "$(dirname "$0")/common.sh"

tests=(tests/cuda/test_nvrtc.py)
for name in device dlpack import info; do
    if [ -e "tests/test_$name.py" ]; then
        tests+=("tests/test_$name.py")
    fi
done
fresh_venv "$(first_python python3)"
"$venv/bin/pip" install -q --group test . cupy-cuda13x 'nvidia-cuda-nvrtc==13.0.*'
show_versions
KMEANS_XP_REQUIRE=nvrtc "$venv/bin/pytest" "$@" "${tests[@]}"
