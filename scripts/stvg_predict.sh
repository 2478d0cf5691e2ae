#!/usr/bin/env bash
# Write the predictions for a split of HC-STVG in the challenge's json; its truth may be unknown.
#     weight_file=stvg.pth split=stvg_test out=predictions.json bash scripts/stvg_predict.sh
# Further arguments are KEY VALUE pairs over the config. Without a GPU it runs on the CPU.
set -euo pipefail

export config=${config:-configs/pool_stvg_16x16_k7l4.yaml}
export weight_file=${weight_file:-}   # empty: the best, else the last checkpoint of output_dir
export output_dir=${output_dir:-outputs/$(basename "$config" .yaml)}
export master_port=${master_port:-29508}
split=${split:-stvg_test}             # of the catalog
out=${out:-$output_dir/predictions_$split.json}

exec bash "$(dirname "${BASH_SOURCE[0]}")/eval.sh" --dump "$out" DATASETS.TEST "('$split',)" "$@"
