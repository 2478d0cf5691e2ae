#!/usr/bin/env bash
# From pixels to moments: rendered videos, features by the project's own extractor, training, and a search in a video.
# Both encoders have random weights, made by the first step. Takes minutes on two CPU cores and uses no GPU. Further
# arguments are KEY VALUE pairs for training. Afterwards the model is outputs/pixels/pool_model_best.pth, and unseen videos
# are dataset/pixels/videos/test_*.mp4.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
make_environment requirements-dev.txt
export PYTHON=$python config=configs/pixels.yaml gpun=2 master_port=${master_port:-29506}
data=dataset/pixels
results=outputs/pixels

echo "== 1/5 The videos"
rm -rf "$results" "$data"
SECONDS=0
"$python" tools/make_pixel_videos.py --out $data --workers 2
echo "rendered in $SECONDS s"

echo "== 2/5 Their features"
SECONDS=0
# Two processes of one thread: so small a network gains nothing from threads, which wait for each other on a busy machine.
OMP_NUM_THREADS=1 "$python" -m torch.distributed.run --standalone --nproc_per_node 2 \
    tools/extract_features.py --videos $data/videos --backbone clip --weights $data/image_encoder --fps 4 \
    --device cpu --out $data/features.hdf5
echo "extracted in $SECONDS s"

echo "== 3/5 The model untrained, for comparison"
output_dir=$results/untrained bash scripts/train.sh MODEL.DEVICE cpu SOLVER.MAX_EPOCH 0

echo "== 4/5 Training on two processes, then the best checkpoint on the test split"
SECONDS=0
output_dir=$results bash scripts/train.sh --skip-test MODEL.DEVICE cpu "$@"
echo "trained in $SECONDS s"
output_dir=$results bash scripts/eval.sh --dump $results/predictions.jsonl MODEL.DEVICE cpu
"$python" tools/evaluate.py --predictions $results/predictions.jsonl --split pixels_test --examples 3

echo "== 5/5 A search in a video that was not trained on, by sentences that its annotation does not have"
"$python" tools/localize.py $data/videos/test_0059.mp4 \
    "a yellow circle gets smaller" "the blue box rises" "a white cross slides to the right" \
    --ckpt $results/pool_model_best.pth --backbone-weights $data/image_encoder --top-k 2 \
    --json $results/test_0059.jsonl --clip-dir $results/clips MODEL.DEVICE cpu
echo "annotated: the circle 10.5-12.6 s, the box 7.9-10.0 s, the cross 1.6-3.8 s"
