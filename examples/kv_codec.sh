#!/bin/sh
# What sending KV in fewer bits does to a model of yours: perplexity, top-1 agreement, divergence, bytes and speed of each
# codec beside two others, over a text that the model was not trained on. From a checkout, after `make setup`.
#
# examples/kv_codec.sh FOLDER TEXT [--dtype bfloat16] [--device cuda] [--tokens N]
set -eu
model=$(realpath "$1") text=$(realpath "$2")
shift 2
cd "$(dirname "$0")/.."
exec .venv-engine/bin/python -m benchmarks.kv_codec --model "$model" --text "$text" "$@"
