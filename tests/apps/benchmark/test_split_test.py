"""The test of a split from feature file to table, as it is measured: both forms find the same."""

import json

from mmn.apps.benchmark.test_split import percentages, print_split_test

TINY = {
    "INPUT.NUM_PRE_CLIPS": 16,
    "MODEL.DEVICE": "cpu",
    "MODEL.MMN.NUM_CLIPS": 8,
    "MODEL.MMN.FEAT2D.POOLING_COUNTS": "[7]",
    "MODEL.MMN.FEATPOOL.INPUT_SIZE": 8,
    "MODEL.MMN.FEATPOOL.HIDDEN_SIZE": 8,
    "MODEL.MMN.PREDICTOR.HIDDEN_SIZE": 8,
    "MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS": 2,
    "DATALOADER.NUM_WORKERS": 0,
}


def test_both_forms_print_the_same_table_of_a_part_of_a_split(dataset_root, capsys):
    annotations = dataset_root / "synthetic" / "test.json"
    num_videos = len(json.loads(annotations.read_text()))
    encoder = dataset_root / "synthetic" / "text_encoder"
    tiny = {**TINY, "MODEL.MMN.TEXT_ENCODER.PRETRAINED": encoder}
    options = [str(word) for pair in tiny.items() for word in pair]
    found = print_split_test(str(annotations), "charades", num_videos // 2, ["ours", "plain"], options)
    assert found["ours"].table == found["plain"].table
    assert percentages(found["ours"].table).max() > 0
    assert f"charades_test: {len(range(0, num_videos, 2))} videos" in found["ours"].table
    assert "the tables agree" in capsys.readouterr().out
