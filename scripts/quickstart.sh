#!/usr/bin/env bash
# From a fresh clone to a trained model: environment, synthetic dataset, training on two processes, evaluation.
# Takes about two minutes on two CPU cores after installation, and uses no GPU. Further arguments are KEY VALUE pairs for training.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
make_environment requirements.txt
export PYTHON=$python config=configs/synthetic.yaml gpun=2 master_port=${master_port:-29505}
results=outputs/synthetic

echo "== 1/4 The dataset"
rm -rf "$results"
"$python" tools/make_synthetic.py --out dataset/synthetic

echo "== 2/4 The model untrained, for comparison"
output_dir=$results/untrained bash scripts/charades_train.sh MODEL.DEVICE cpu SOLVER.MAX_EPOCH 0

echo "== 3/4 Training on two processes, then the best checkpoint on the test split"
SECONDS=0
output_dir=$results bash scripts/charades_train.sh --skip-test MODEL.DEVICE cpu "$@"
echo "trained in $SECONDS s"

echo "== 4/4 Evaluation"
output_dir=$results bash scripts/eval.sh --dump $results/predictions.jsonl
"$python" tools/evaluate.py --predictions $results/predictions.jsonl --split synthetic_test --examples 3
