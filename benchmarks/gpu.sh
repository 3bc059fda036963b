#!/bin/sh
# What needs a GPU, in under 8 minutes: the facts of tests/test_cuda.py (the same seed gives the same
# bits, a resumed training too, a replayed step is the step, the CPU agrees), then the steps' times.
# From the top folder: sh benchmarks/gpu.sh
set -eu
python3 -m pytest -q -n 4 -p no:cacheprovider -p no:benchmark tests/test_cuda.py
python3 -m benchmarks.gpu
