#!/usr/bin/env bash
# Evaluate weights on the test split. Every value below can also be set from the environment:
#     config=configs/pool_charades_16x16_k5l8.yaml weight_file=charades.pth bash scripts/eval.sh
# Further arguments go on to tools/test_net.py, flags such as --dump FILE first. Without a GPU it runs on the CPU.
set -euo pipefail

config=${config:-configs/pool_tacos_128x128_k5l8.yaml}
weight_file=${weight_file:-}           # empty: the best, else the last checkpoint of output_dir
batch_size=${batch_size:-}             # videos over all processes; empty: TEST.BATCH_SIZE of the config
gpus=${gpus:-}                         # GPU ids such as 0,1; empty: the first $gpun
gpun=${gpun:-1}                        # processes on this machine
master_addr=${master_addr:-127.0.0.1}  # of node 0
master_port=${master_port:-29504}
nnodes=${nnodes:-1}                    # machines; start this script on each with its node_rank
node_rank=${node_rank:-0}
output_dir=${output_dir:-outputs/$(basename "$config" .yaml)}

arguments=()
[[ -n $weight_file ]] && arguments+=(--ckpt "$weight_file")
defaults=(--default OUTPUT_DIR "$output_dir")
[[ -n $batch_size ]] && defaults+=(--default TEST.BATCH_SIZE "$batch_size")

export gpus gpun master_addr master_port nnodes node_rank
exec bash "$(dirname "${BASH_SOURCE[0]}")/launch.sh" "${defaults[@]}" tools/test_net.py --config-file "$config" ${arguments[@]+"${arguments[@]}"} "$@"
