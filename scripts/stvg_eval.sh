#!/usr/bin/env bash
# Evaluate weights on HC-STVG's validation split: scripts/eval.sh with its config. Every value there can also be set here:
#     weight_file=stvg.pth bash scripts/stvg_eval.sh
# Further arguments go on to tools/test_net.py, flags such as --dump FILE first. Without a GPU it runs on the CPU.
set -euo pipefail

export config=${config:-configs/pool_stvg_16x16_k7l4.yaml}
export weight_file=${weight_file:-}   # empty: the best, else the last checkpoint of output_dir
export master_port=${master_port:-29507}

exec bash "$(dirname "${BASH_SOURCE[0]}")/eval.sh" "$@"
