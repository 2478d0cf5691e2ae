"""Map files: the scores of all moments of a sentence, beside its line in a prediction file.

An HDF5 file with one row per sentence, in annotation order, and the attributes that turn a row into a map:

    contrastive, iou   [S, M] float16, scores of the two heads on the valid cells, packed row-major; of 2D-TAN, which has
                       one score, iou alone
    qid                [S] int64 or texts, as in the prediction file
    vid, query         [S] texts, to tell whether a prediction file is of the same sentences
    attributes         format "mmn-score-maps 1", split, num_clips, pooling_counts, contrastive_power, score,
                       contrastive_rule ("cosine" where it is missing)

The final score is computed from the two as TEST.SCORE and CONTRASTIVE_RULE said (SPEC section 5); float16 keeps about
three digits of each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmn.data.annotations import iterate_sentences
from mmn.data.dataset import MomentDataset
from mmn.evaluation.inference import MomentRanker, Predictions, first_rows, predict
from mmn.modeling.match_rules import COSINE, MATCH_RULES
from mmn.modeling.scoring import SCORES
from mmn.structures.batch import GroundingBatch
from mmn.structures.proposals import ProposalCells
from mmn.structures.query_vectors import HEADS
from mmn.utils import comm
from mmn.utils.attributes import number_attribute
from mmn.utils.errors import ConfigError, DataError
from mmn.utils.files import atomic_path
from mmn.utils.hdf5 import HDF5_ERRORS, open_hdf5, reading
from mmn.utils.logger import get_logger

FORMAT = "mmn-score-maps 1"
NEEDED = {"product": HEADS, "contrastive": HEADS, "iou": ("iou",)}  # heads that a file must have, by its score
MADE_BY = "write it by `mmn test --dump-maps`"


@dataclass(frozen=True)
class MapRequest:
    """Request for maps of a split: the file, and which sentences.

    Attributes:
        path: the HDF5 file.
        first: number of sentences, from the first on; None sets no limit.
        ids: the qids of these sentences, as texts; None takes all.
    """

    path: str
    first: int | None = None
    ids: tuple[str, ...] | None = None

    def __post_init__(self):
        if self.first is not None and self.first < 1:
            raise ConfigError(f"--maps-first is {self.first}: it must be at least 1")

    def wanted(self, qids: Sequence[int | str]) -> Tensor:
        """[S] bool: the sentences whose maps are kept, of those with `qids`. Raises ConfigError where one is missing."""
        wanted = torch.full((len(qids),), self.ids is None)
        places = {str(qid): place for place, qid in enumerate(qids)}
        for qid in self.ids or ():
            if qid not in places:
                raise ConfigError(f"--maps-of names sentence {qid}, but the split has {qids[0]} to {qids[-1]}")
            wanted[places[qid]] = True
        if self.first is not None:
            wanted[self.first :] = False
        return wanted


class MapRecorder:
    """A ranker that also keeps the scores it ranks by, for this process's share of a split.

    Args:
        ranker: does the ranking.
        wanted: [number of sentences of the split] bool, whose scores are kept.
    """

    def __init__(self, ranker: MomentRanker, wanted: Tensor):
        self.ranker = ranker
        self.predictions = ranker.predictions
        self.wanted = wanted
        none = torch.zeros(0, len(ranker.cells), dtype=torch.float16)
        self.kept = [(torch.zeros(0, dtype=torch.int64), *[none] * len(ranker.heads))]  # ids [s], each head's scores

    def __call__(self, output: Any, batch: GroundingBatch) -> tuple[Tensor, ...]:
        """See `MomentRanker`."""
        scores = self.ranker.head_scores(output, batch)
        self.record(batch.sentence_ids, *scores)
        return self.ranker.rank(*scores, batch.sentence_durations)  # type: ignore[call-arg]  # as many as heads

    def no_rows(self) -> tuple[Tensor, ...]:
        return self.ranker.no_rows()

    def record(self, sentence_ids: Tensor, *scores: Tensor) -> None:
        """Sentence ids [S] with their scores [S, M] from each head, on any device."""
        is_kept = self.wanted[sentence_ids.cpu()].to(sentence_ids.device)
        if is_kept.any():
            columns = (sentence_ids, *(head.half() for head in scores))
            self.kept.append(tuple(column[is_kept].cpu() for column in columns))

    def merge(self) -> tuple[Tensor, ...]:
        """Ids [S] and each head's scores [S, M] float16, of all processes, in annotation order, each once."""
        own = [torch.cat(column) for column in zip(*self.kept, strict=True)]
        counts = comm.row_counts(len(own[0]))
        columns = [comm.gather_rows(rows, counts) for rows in own]
        rows = first_rows(columns[0])
        return tuple(column[rows] for column in columns)


def predict_with_maps(
    model: nn.Module,
    loader: DataLoader,
    ranker: MomentRanker,
    device: torch.device,
    request: MapRequest,
    pooling_counts: Sequence[int],
) -> Predictions:
    """`predict`, which also writes the score maps that are asked for; called on all processes.

    Args:
        pooling_counts: MODEL.MMN.FEAT2D.POOLING_COUNTS, from which a reader of the file knows the map's cells.
    """
    recorder = MapRecorder(ranker, request.wanted(loader.dataset.qids))
    predictions = predict(model, loader, recorder, device)
    maps = recorder.merge()
    if comm.get_rank() == 0:
        write_maps(request.path, loader.dataset, ranker, pooling_counts, maps)
        get_logger().info("wrote %s, the maps of %d sentences", request.path, len(maps[0]))
    return predictions


def write_maps(
    path: str,
    dataset: MomentDataset,
    ranker: MomentRanker,
    pooling_counts: Sequence[int],
    maps: tuple[Tensor, ...],
) -> None:
    """Write merged maps (ids [S], scores of each head [S, M]) of a split that `ranker` ranks by."""
    ids, *scores = (part.numpy() for part in maps)
    kept = set(ids.tolist())
    names = [
        (video.video_id, video.sentences[number])
        for position, (video, number) in enumerate(iterate_sentences(dataset.videos))
        if position in kept
    ]
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["split"] = dataset.name
        file.attrs["num_clips"] = ranker.cells.num_clips
        file.attrs["pooling_counts"] = list(pooling_counts)
        file.attrs["contrastive_power"], file.attrs["score"] = ranker.contrastive_power, ranker.score
        file.attrs["contrastive_rule"] = ranker.contrastive_rule
        for head, values in zip(ranker.heads, scores, strict=True):
            file[head] = values
        qids = [dataset.qids[number] for number in ids.tolist()]
        if all(isinstance(qid, int) for qid in qids):
            file["qid"] = np.array(qids, dtype=np.int64)
        else:
            _write_texts(file, "qid", map(str, qids))
        for column, key in enumerate(("vid", "query")):
            _write_texts(file, key, (name[column] for name in names))


def _write_texts(file: h5py.File, key: str, texts: Iterable[str]) -> None:
    file.create_dataset(key, data=[text.encode("utf-8") for text in texts], dtype=h5py.string_dtype("utf-8"))


@dataclass
class SentenceMaps:
    """The maps of one sentence, each [N, N] float32, 0 outside the cells; None for a head that the model does not have."""

    contrastive: np.ndarray | None
    iou: np.ndarray
    final: np.ndarray


class MapFile:
    """A map file, read sentence by sentence.

    Attributes:
        split: the name of the split.
        cells: the maps' geometry.
        heads: names of the scores that it holds.
        ids: qid -> row, in file order.
    Raises DataError where the file cannot be read or is no map file.
    """

    def __init__(self, path: str):
        self.path = path
        self._file = open_hdf5(path, "the map file", MADE_BY, MADE_BY)
        try:
            attributes = self._file.attrs
            if attributes.get("format") != FORMAT:
                raise KeyError(f"its format is {attributes.get('format')!r}, not {FORMAT!r}")
            self.split = str(attributes["split"])
            num_clips, power = (self._number(name) for name in ("num_clips", "contrastive_power"))
            self.cells = ProposalCells(int(num_clips), [int(n) for n in attributes["pooling_counts"]])
            self._ranker = MomentRanker(
                self.cells,
                nms_threshold=1.0,
                contrastive_power=float(power),
                num_predictions=1,
                score=_one_of(SCORES, "score", str(attributes["score"])),
                contrastive_rule=_one_of(MATCH_RULES, "rule", str(attributes.get("contrastive_rule", COSINE))),
            )
            qids = self._file["qid"]
            names = qids[:].tolist() if qids.dtype.kind == "i" else qids.asstr()[:].tolist()
            self.ids: dict[int | str, int] = {qid: row for row, qid in enumerate(names)}
            shape = (len(self.ids), len(self.cells))
            self.heads = tuple(head for head in HEADS if head in self._file or head in NEEDED[self._ranker.score])
            for key, wanted in {**dict.fromkeys(self.heads, shape), "vid": shape[:1], "query": shape[:1]}.items():
                if self._file[key].shape != wanted:
                    raise ValueError(f"{key} has the shape {self._file[key].shape}, not {wanted}")
        except (*HDF5_ERRORS, ConfigError, AttributeError) as error:
            reason = error.args[0] if error.args else error
            raise DataError(f"{path} is no map file ({reason}): {MADE_BY}") from error

    def _number(self, name: str) -> int | float:
        number = number_attribute(self._file.attrs, name, f"the map file {self.path}")
        if number is None:
            raise KeyError(f"it has no attribute {name}")
        return number

    def sentence(self, qid: int | str) -> tuple[str, str]:
        """(video id, sentence) of a query."""
        row = self.ids[qid]
        with reading(f"the map file {self.path}", MADE_BY):
            return self._file["vid"].asstr()[row], self._file["query"].asstr()[row]

    def maps(self, qid: int | str) -> SentenceMaps:
        """The maps of a query that is in the file."""
        row = self.ids[qid]
        with reading(f"the map file {self.path}", MADE_BY):
            scores = {head: torch.from_numpy(self._file[head][row]).float() for head in self.heads}
        if self.heads == HEADS:
            scores["final"] = self._ranker.scores(scores["contrastive"][None], scores["iou"][None])[0]
        else:
            scores["final"] = scores["iou"]
        maps = {name: self.cells.to_map(packed).numpy() for name, packed in scores.items()}
        return SentenceMaps(maps.get("contrastive"), maps["iou"], maps["final"])


def _one_of(known: Iterable[str], what: str, name: str) -> str:
    """A name of a map file. Raises KeyError where it is none of those known."""
    if name not in known:
        raise KeyError(f"its {what} is {name!r}, none of {', '.join(known)}")
    return name
