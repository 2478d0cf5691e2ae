"""Names of the metrics that a split can be scored by: `metrics` of a catalog entry, `--metrics` of the commands."""

RECALL, DETR, QVHIGHLIGHTS = "recall", "detr", "qvhighlights"
METRICS = {
    RECALL: "R@1 and R@5 at IoU thresholds, mIoU (and mAP, of a prediction file)",
    DETR: "R1@0.5, R1@0.7 and mAP, as papers of DETR-like models report them",
    QVHIGHLIGHTS: "the official metrics of QVHighlights: R@1 by the first window of a line, mAP by scores, highlights",
}
