#!/usr/bin/env bash
# From a fresh clone to a trained model: environment, synthetic dataset, training on two processes, evaluation.
#     bash scripts/quickstart.sh [moments|tan|stvg|pixels] [KEY VALUE ...]
# moments (the default): temporal grounding; tan: the same by 2D-TAN; stvg: people in space and time, as in HC-STVG; pixels: from
# rendered video files, see pixels.sh. KEY VALUE pairs are for training.
# Takes two to five minutes on two CPU cores after installation, and uses no GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh

name=moments
if [[ ${1:-} =~ ^[a-z_]+$ ]]; then
    name=$1
    shift
fi
case $name in
    moments)
        export config=configs/synthetic.yaml
        results=outputs/synthetic
        predictions=$results/predictions.jsonl
        truth=(--split synthetic_test)
        make_dataset=(tools/make_synthetic.py --out dataset/synthetic)
        ;;
    tan)
        export config=configs/synthetic_tan2d.yaml
        results=outputs/synthetic_tan2d
        predictions=$results/predictions.jsonl
        truth=(--split synthetic_test)
        make_dataset=(tools/make_synthetic.py --out dataset/synthetic)
        make_words=(tools/make_glove.py --annotations dataset/synthetic/{train,val,test}.json
            --out dataset/synthetic/glove.txt --size 64)
        ;;
    stvg)
        export config=configs/synthetic_stvg.yaml
        results=outputs/synthetic_stvg
        predictions=$results/predictions.json
        truth=(--annotations dataset/synthetic_stvg/test.json)
        make_dataset=(tools/make_synthetic_stvg.py --out dataset/synthetic_stvg)
        ;;
    pixels)
        exec bash scripts/pixels.sh "$@"
        ;;
    *)
        echo "error: there is no quickstart '$name': take moments, tan, stvg or pixels" >&2
        exit 2
        ;;
esac
make_environment requirements.txt
export PYTHON=$python gpun=2 master_port=${master_port:-29505}

echo "== 1/4 The dataset"
rm -rf "$results"
"$python" "${make_dataset[@]}"
if [[ -v make_words ]]; then "$python" "${make_words[@]}"; fi

echo "== 2/4 The model untrained, for comparison"
output_dir=$results/untrained bash scripts/train.sh MODEL.DEVICE cpu SOLVER.MAX_EPOCH 0

echo "== 3/4 Training on two processes, then the best checkpoint on the test split"
SECONDS=0
output_dir=$results bash scripts/train.sh --skip-test MODEL.DEVICE cpu "$@"
echo "trained in $SECONDS s"

echo "== 4/4 Evaluation"
output_dir=$results bash scripts/eval.sh --dump "$predictions"
"$python" tools/evaluate.py --predictions "$predictions" "${truth[@]}" --examples 3
