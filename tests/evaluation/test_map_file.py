"""Map files: which sentences they hold, what comes back, and files that are none."""

import h5py
import pytest
import torch
from processes import run_in_group

from mmn.data import Splits, build_dataset
from mmn.data.tokenizer import build_tokenizer
from mmn.evaluation.inference import MomentRanker
from mmn.evaluation.map_file import FORMAT, MapFile, MapRecorder, MapRequest, write_maps
from mmn.modeling.scoring import final_score
from mmn.structures.proposals import ProposalCells
from mmn.utils.errors import ConfigError, DataError

COUNTS = [7, 4]
CELLS = ProposalCells(16, COUNTS)
RANKER = MomentRanker(CELLS, 0.5, 0.5, num_predictions=3)


def scores(num_sentences, seed=0):
    """Contrastive scores in [-1, 1] and iou scores in [0, 1], each [S, M]."""
    values = torch.rand(2, num_sentences, len(CELLS), generator=torch.Generator().manual_seed(seed))
    return 2 * values[0] - 1, values[1]


@pytest.mark.parametrize(
    "first, ids, kept",
    [
        (None, None, [0, 1, 2, 3]),
        (2, None, [0, 1]),
        (9, None, [0, 1, 2, 3]),
        (None, ("3", "1"), [1, 3]),
        (2, ("3", "1"), [1]),
    ],
)
def test_request_says_which_sentences_are_kept(first, ids, kept):
    assert MapRequest("maps.h5", first, ids).wanted(range(4)).nonzero().flatten().tolist() == kept


@pytest.mark.parametrize("number", [-1, 4])
def test_request_for_a_sentence_that_is_not_there_is_refused(number):
    with pytest.raises(ConfigError, match=f"sentence {number}.* 0 to 3"):
        MapRequest("maps.h5", ids=("0", str(number))).wanted(range(4))


def test_request_for_no_sentence_is_refused():
    with pytest.raises(ConfigError, match="--maps-first is 0"):
        MapRequest("maps.h5", first=0)


def test_recorder_gives_the_wanted_sentences_in_order_each_once():
    contrastive, iou = scores(5)
    recorder = MapRecorder(RANKER, torch.tensor([True, True, False, True, True]))
    for ids in ([3, 4], [0, 1, 2], [2, 3]):
        recorder.record(torch.tensor(ids), contrastive[ids], iou[ids])
    ids, *merged = recorder.merge()
    assert ids.tolist() == [0, 1, 3, 4]
    assert torch.equal(merged[0], contrastive[ids].half())
    assert torch.equal(merged[1], iou[ids].half())


def test_recorder_of_nothing_merges_to_nothing():
    ids, contrastive, iou = MapRecorder(RANKER, torch.ones(3, dtype=torch.bool)).merge()
    assert len(ids) == 0
    assert contrastive.shape == iou.shape == (0, len(CELLS))


def _record_on(rank, shards):
    contrastive, iou = scores(4)
    recorder = MapRecorder(RANKER, torch.ones(4, dtype=torch.bool))
    for ids in shards[rank]:
        recorder.record(torch.tensor(ids), contrastive[ids], iou[ids])
    return recorder.merge()


def test_recorders_of_several_processes_merge_to_the_whole():
    contrastive, iou = scores(4)
    shards = [], [[3, 2], [0, 2, 1]]  # batches of both processes, one of which has none
    for ids, *merged in run_in_group(_record_on, shards):
        assert ids.tolist() == [0, 1, 2, 3]
        assert torch.equal(merged[0], contrastive.half())
        assert torch.equal(merged[1], iou.half())


@pytest.fixture
def dataset(tiny_cfg):
    return build_dataset(tiny_cfg, Splits(tiny_cfg).find("synthetic_test"), build_tokenizer(tiny_cfg))


@pytest.fixture
def map_path(dataset, tmp_path):
    """A map file of sentences 2 and 5."""
    path = str(tmp_path / "maps.h5")
    maps = (torch.tensor([2, 5]), *(part.half() for part in scores(2)))
    write_maps(path, dataset, RANKER, COUNTS, maps)
    return path


def test_maps_come_back_on_their_cells(map_path):
    file = MapFile(map_path)
    assert (file.split, list(file.ids)) == ("synthetic_test", [2, 5])
    for row, qid in enumerate((2, 5)):
        contrastive, iou = (part[row] for part in scores(2))
        maps = file.maps(qid)
        wanted = {"contrastive": contrastive, "iou": iou, "final": final_score(contrastive, iou, 0.5)}
        for name, packed in wanted.items():
            torch.testing.assert_close(torch.from_numpy(getattr(maps, name)), CELLS.to_map(packed), atol=1e-3, rtol=0)


@pytest.mark.parametrize("score", ["product", "contrastive", "iou"])
def test_final_map_is_of_the_score_that_moments_were_ranked_by(dataset, tmp_path, score):
    contrastive, iou = (part.half() for part in scores(1))
    ranker = MomentRanker(CELLS, 0.5, 0.5, 3, score)
    write_maps(str(tmp_path / "maps.h5"), dataset, ranker, COUNTS, (torch.tensor([0]), contrastive, iou))
    final = CELLS.from_map(torch.from_numpy(MapFile(str(tmp_path / "maps.h5")).maps(0).final))
    torch.testing.assert_close(final, final_score(contrastive[0].float(), iou[0].float(), 0.5, score))


def test_file_knows_its_sentences(map_path, dataset):
    sentences = [(video.video_id, sentence) for video in dataset.videos for sentence in video.sentences]
    assert MapFile(map_path).sentence(5) == sentences[5]


def test_qids_of_the_annotation_file_are_those_of_the_maps(dataset, tmp_path):
    dataset.qids = [f"s{number}" for number in range(dataset.num_sentences)]
    path = str(tmp_path / "maps.h5")
    maps = (torch.tensor([2, 5]), *(part.half() for part in scores(2)))
    write_maps(path, dataset, RANKER, COUNTS, maps)
    assert list(MapFile(path).ids) == ["s2", "s5"]
    assert MapRequest(path, ids=("s5",)).wanted(dataset.qids).nonzero().flatten().tolist() == [5]


def break_format(file):
    file.attrs["format"] = "mmn-score-maps 99"


def break_shape(file):
    del file["iou"]
    file["iou"] = [1.0, 2.0]


@pytest.mark.parametrize(
    "damage, named",
    [
        (break_format, "its format is 'mmn-score-maps 99'"),
        (break_shape, "iou has the shape"),
        (lambda file: file.attrs.pop("num_clips"), "num_clips"),
        (lambda file: file.attrs.create("score", "best"), "its score is 'best'"),
        (lambda file: file.pop("query"), "query"),
        (lambda file: file.attrs.create("pooling_counts", [40]), "POOLING_COUNTS"),
    ],
)
def test_file_that_does_not_hold_maps_is_named(map_path, damage, named):
    with h5py.File(map_path, "r+") as file:
        damage(file)
    with pytest.raises(DataError, match=f"no map file .*{named}"):
        MapFile(map_path)


def test_file_that_is_no_hdf5_is_named(tmp_path):
    (tmp_path / "maps.h5").write_text("no maps")
    with pytest.raises(DataError, match=r"maps\.h5 is no HDF5 file: write it"):
        MapFile(str(tmp_path / "maps.h5"))


def test_any_format_attribute_but_the_known_is_refused(tmp_path):
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file["video"] = [[1.0]]
    with pytest.raises(DataError, match=f"not {FORMAT!r}"):
        MapFile(str(tmp_path / "features.h5"))
