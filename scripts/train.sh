#!/usr/bin/env bash
# Train by any config. The *_train.sh scripts set the values of their dataset and end here.
#     config=configs/charades_simulated.yaml gpun=2 bash scripts/train.sh SOLVER.MAX_EPOCH 10
# Further arguments go on to tools/train_net.py, flags such as --skip-test first. Without a GPU it runs on the CPU.
set -euo pipefail

config=${config:-}                     # the yaml file; must be given
gpus=${gpus:-}                         # GPU ids such as 0,1; empty: the first $gpun
gpun=${gpun:-1}                        # processes on this machine
master_addr=${master_addr:-127.0.0.1}  # of node 0
master_port=${master_port:-29500}
nnodes=${nnodes:-1}                    # machines; start the script on each with its node_rank
node_rank=${node_rank:-0}
max_restarts=${max_restarts:-0}        # how often a failed run goes on by itself from its last checkpoint
output_dir=${output_dir:-outputs/$(basename "$config" .yaml)}

if [[ -z $config ]]; then
    echo "error: name the config, as in: config=configs/synthetic.yaml bash scripts/train.sh" >&2
    exit 2
fi

export gpus gpun master_addr master_port nnodes node_rank max_restarts
exec bash "$(dirname "${BASH_SOURCE[0]}")/launch.sh" --default OUTPUT_DIR "$output_dir" tools/train_net.py --config-file "$config" "$@"
