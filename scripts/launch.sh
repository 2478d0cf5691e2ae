#!/usr/bin/env bash
# Shared by train.sh and eval.sh: one process per GPU, with torchrun.
# Usage: launch.sh [--default KEY VALUE ...] TOOL --config-file F [tool flags and KEY VALUE ...]
# From the environment: gpus, gpun, nnodes, node_rank, master_addr, master_port, max_restarts; see scripts/train.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ -z ${PYTHON:-} ]]; then
    PYTHON=python
    [[ -x .venv/bin/python ]] && PYTHON=.venv/bin/python
fi
[[ -n ${gpus:-} ]] && export CUDA_VISIBLE_DEVICES=$gpus

exec "$PYTHON" tools/launch.py --processes "$gpun" --nodes "$nnodes" --node-rank "$node_rank" \
    --master-addr "$master_addr" --master-port "$master_port" --max-restarts "${max_restarts:-0}" "$@"
