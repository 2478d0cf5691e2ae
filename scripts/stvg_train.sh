#!/usr/bin/env bash
# Train on HC-STVG. Every value below can also be set from the environment:
#     gpun=2 gpus=0,1 bash scripts/stvg_train.sh SOLVER.MAX_EPOCH 10
# Further arguments go on to tools/train_net.py, flags such as --skip-test first. Without a GPU the same runs on the CPU.
set -euo pipefail

config=${config:-configs/pool_stvg_16x16_k7l4.yaml}
gpus=${gpus:-}                        # GPU ids such as 0,1; empty: the first $gpun
gpun=${gpun:-2}                         # processes on this machine
master_addr=${master_addr:-127.0.0.1}  # of node 0
master_port=${master_port:-29506}
nnodes=${nnodes:-1}                    # machines; start this script on each with its node_rank
node_rank=${node_rank:-0}
max_restarts=${max_restarts:-0}        # how often a failed run goes on by itself from its last checkpoint
output_dir=${output_dir:-outputs/$(basename "$config" .yaml)}

export gpus gpun master_addr master_port nnodes node_rank max_restarts

flags=()
while [[ ${1:-} == --* ]]; do  # flags stand before the KEY VALUE pairs
    flags+=("$1")
    shift
done
exec bash "$(dirname "${BASH_SOURCE[0]}")/launch.sh" tools/train_net.py "$config" \
    ${flags[@]+"${flags[@]}"} OUTPUT_DIR "$output_dir" "$@"
