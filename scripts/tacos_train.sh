#!/usr/bin/env bash
# Train on TACoS: scripts/train.sh with the values below. They, and those of train.sh, can also be set from the environment:
#     gpun=2 gpus=0,1 bash scripts/tacos_train.sh SOLVER.MAX_EPOCH 10
# Further arguments go on to tools/train_net.py, flags such as --skip-test first. Without a GPU the same runs on the CPU.
set -euo pipefail

export config=${config:-configs/pool_tacos_128x128_k5l8.yaml}
export gpus=${gpus:-}                 # GPU ids such as 0,1; empty: the first $gpun
export gpun=${gpun:-4}                # processes on this machine
export master_port=${master_port:-29501}

exec bash "$(dirname "${BASH_SOURCE[0]}")/train.sh" "$@"
