"""Recall and ranks of sentences that are searched among the moments of ALL videos of a split, for several rules.

The ranked list of a query is what a user of an index sees: the moments of all videos in the rule's order, after temporal
NMS within each video, and at most `per_video` of one. A query's answers are all moments that its sentence is annotated
with anywhere in the split (case, spaces and a full stop at the end aside): any of them counts.

Shapes: V videos, M moments of each, C the width of the joint spaces, Q queries, A answers of the query that has most.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmn.apps.corpus.evaluated_rules import PRODUCT_OF_ALL
from mmn.apps.search.rank_scores import rank_scores
from mmn.apps.search.ranking_rules import DEFAULT_PER_VIDEO, RankingRule
from mmn.data.annotations import VideoAnnotation
from mmn.data.prefetch import on_device
from mmn.modeling.scoring import final_score, iou_score
from mmn.structures.moments import cell_moments, nms_indices, temporal_iou
from mmn.structures.proposals import ProposalCells
from mmn.structures.query_vectors import HEADS

RECALL_RANKS = (1, 5, 10, 100)
THRESHOLDS = (0.5, 0.7)  # IoU from which a moment is right
NOT_LISTED = np.iinfo(np.int64).max  # the place of a right moment that is not among the first of the list
CHUNK = 2**20  # vectors in float32 at once
BLOCK = 2**22  # scores of a block of queries


@dataclass(frozen=True, eq=False)
class Corpus:
    """The moments of all videos of a split.

    Attributes:
        moments: [V, M, 2] float32 seconds.
        contrastive, iou: [V, M, C] float16 unit vectors, as an index holds them.
    """

    moments: Tensor
    contrastive: Tensor
    iou: Tensor

    @property
    def num_videos(self) -> int:
        return len(self.moments)

    @property
    def num_moments(self) -> int:
        return self.moments.shape[0] * self.moments.shape[1]


@dataclass(frozen=True, eq=False)
class Answers:
    """The right answers of every query.

    Attributes:
        videos: [Q, A] int64, places in the split; -1 where a query has fewer answers.
        moments: [Q, A, 2] float32 seconds.
    """

    videos: Tensor
    moments: Tensor

    def __len__(self) -> int:
        return len(self.videos)

    def to(self, device: torch.device) -> "Answers":
        return Answers(self.videos.to(device), self.moments.to(device))

    def rows(self, places: Tensor) -> "Answers":
        return Answers(self.videos[places], self.moments[places])

    def video_counts(self) -> np.ndarray:
        """[Q] int64, the distinct right videos of each query."""
        return np.array([len(row[row >= 0].unique()) for row in self.videos.cpu()])

    def counts(self) -> np.ndarray:
        """[Q] int64, the answers of each query."""
        return (self.videos >= 0).sum(dim=1).cpu().numpy()


@dataclass(frozen=True, eq=False)
class Queries:
    """The sentences of a split in annotation order.

    Attributes:
        contrastive, iou: [Q, C] float32 unit vectors.
        answers: the right ones.
        same_as: [Q] int64, the first query that says the same in the same letters: it has the same vectors and answers.
    """

    contrastive: Tensor
    iou: Tensor
    answers: Answers
    same_as: Tensor

    def __len__(self) -> int:
        return len(self.answers)


@dataclass(frozen=True)
class Listing:
    """The way from scores to a ranked list.

    Attributes:
        power: TEST.CONTRASTIVE_SCORE_POW.
        nms_threshold: TEST.NMS_THRESH.
        per_video: moments of one video at most.
        length: moments in the list; nothing behind is looked at.
    """

    power: float
    nms_threshold: float
    per_video: int = DEFAULT_PER_VIDEO
    length: int = max(RECALL_RANKS)


@dataclass(frozen=True, eq=False)
class Ranks:
    """The place of the first right answer, from 1; ties count against it. T IoU thresholds, those of THRESHOLDS.

    Attributes:
        video: [Q] int64, of the right videos, each placed by its best moment.
        listed: [Q, T] int64, of the right moments in the list; NOT_LISTED where none is in it.
        overall: [Q, T] float64, of the right moments among all moments, before NMS; nan where no moment is right: the
            proposal map has none that fits.
    """

    video: np.ndarray
    listed: np.ndarray
    overall: np.ndarray


# ---- What is compared ------------------------------------------------------------------------------------------------


def spoken(sentence: str) -> str:
    """The sentence without what does not tell it from others.

    >>> spoken("A person  opens the door. ")
    'a person opens the door'
    """
    return " ".join(sentence.lower().split()).rstrip(".").rstrip()


def find_answers(videos: Sequence[VideoAnnotation]) -> Answers:
    """The answers of all sentences of a split, in annotation order."""
    known: dict[str, list[tuple[int, np.ndarray]]] = defaultdict(list)
    for place, video in enumerate(videos):
        for sentence, moments in zip(video.sentences, video.moments_by_sentence, strict=True):
            known[spoken(sentence)] += [(place, moment) for moment in moments]
    rows = [known[spoken(sentence)] for video in videos for sentence in video.sentences]
    most = max(len(row) for row in rows)
    places = torch.full((len(rows), most), -1)
    moments = torch.zeros(len(rows), most, 2)
    for number, row in enumerate(rows):
        places[number, : len(row)] = torch.tensor([place for place, _ in row])
        moments[number, : len(row)] = torch.from_numpy(np.stack([moment for _, moment in row]))
    return Answers(places, moments)


def find_repeats(videos: Sequence[VideoAnnotation]) -> Tensor:
    """`Queries.same_as` of a split."""
    first: dict[str, int] = {}
    sentences = [sentence for video in videos for sentence in video.sentences]
    return torch.tensor([first.setdefault(sentence, place) for place, sentence in enumerate(sentences)])


@torch.no_grad()
def encode_split(
    model: nn.Module, loader: DataLoader, cells: ProposalCells, device: torch.device
) -> tuple[Corpus, Queries]:
    """Every moment and every sentence of a split, encoded once; the corpus and the queries stay on `device`.

    Args:
        loader: over the whole split, in annotation order.
    """
    model.eval()
    moments, sentences = [], []
    for batch in on_device(loader, device):
        output = model(batch)
        vectors = (output.moments_contrastive.half(), output.moments_iou.half())
        moments.append((cell_moments(cells, batch.durations), *vectors))
        sentences.append((output.sentences_contrastive, output.sentences_iou))
    corpus = Corpus(*(torch.cat(part) for part in zip(*moments, strict=True)))
    videos = loader.dataset.videos
    answers, same_as = find_answers(videos).to(device), find_repeats(videos).to(device)
    return corpus, Queries(*(torch.cat(part) for part in zip(*sentences, strict=True)), answers, same_as)


# ---- Ranking ---------------------------------------------------------------------------------------------------------


def cosines(sentences: Tensor, moments: Tensor) -> Tensor:
    """Sentences [q, C] float32 with moments [V, M, C] float16, unit vectors -> [q, V * M] float32."""
    size = max(1, CHUNK // moments.shape[1])
    return torch.cat([sentences @ part.flatten(0, 1).float().T for part in moments.split(size)], dim=1)


class Orders:
    """The orders in which rules list all moments for q queries.

    Args:
        contrastive, iou: cosines [q, V * M] in the two spaces.
        num_cells: M.
        power: TEST.CONTRASTIVE_SCORE_POW.
    """

    def __init__(self, contrastive: Tensor, iou: Tensor, num_cells: int, power: float):
        self.cosines = {"contrastive": contrastive, "iou": iou}
        self.num_cells = num_cells
        self.power = power
        self._nearest = lru_cache(maxsize=None)(self._find_nearest)

    def of(self, rule: RankingRule) -> Tensor:
        """Numbers [q, V, M] above 0 in whose descending order the rule lists moments.

        Where it has a depth, the first so many of its head stand first, by their scores, and then the others, as they
        are in the order of the head.
        """
        if rule == PRODUCT_OF_ALL:
            heads = self.cosines["contrastive"], iou_score(self.cosines["iou"])
            order = final_score(*heads, self.power)
        else:
            order = (self.cosines[rule.head] + 1).clamp_(
                min=torch.finfo(torch.float32).tiny
            )  # up to 2, but for rounding
        if rule.depth:
            nearest = self._nearest(rule.head, min(rule.depth, order.shape[1]))
            heads = (self.cosines[head].gather(1, nearest) for head in HEADS)
            order.scatter_(1, nearest, 3 + rank_scores(*heads, nearest // self.num_cells, self.power, rule.kind))
        return order.unflatten(1, (-1, self.num_cells))

    def _find_nearest(self, head: str, depth: int) -> Tensor:
        return self.cosines[head].topk(depth).indices


def rank_corpus(
    corpus: Corpus, queries: Queries, rules: Iterable[RankingRule], listing: Listing, block: int = BLOCK
) -> dict[str, Ranks]:
    """The ranks of all queries under each rule, by the rules' names.

    Args:
        block: scores held at once, per rule and head; at least those of one query.
    """
    rules = list(rules)
    parts: dict[str, list[tuple[Tensor, ...]]] = {rule.name: [] for rule in rules}
    distinct, back = queries.same_as.unique(return_inverse=True)
    for rows in distinct.split(max(1, block // corpus.num_moments)):
        heads = (cosines(getattr(queries, head)[rows], getattr(corpus, head)) for head in HEADS)
        orders, answers = Orders(*heads, corpus.moments.shape[1], listing.power), queries.answers.rows(rows)
        for rule in rules:
            scores = orders.of(rule)
            parts[rule.name].append(
                (
                    video_ranks(scores, answers),
                    listed_ranks(scores, corpus.moments, answers, listing),
                    overall_ranks(scores, corpus.moments, answers),
                )
            )
    return {
        name: Ranks(*(torch.cat(part)[back].cpu().numpy() for part in zip(*blocks, strict=True)))
        for name, blocks in parts.items()
    }


def video_ranks(scores: Tensor, answers: Answers) -> Tensor:
    """Scores [q, V, M] -> the rank [q] of the best right video by its best moment."""
    best = scores.amax(dim=2)
    right = best.gather(1, answers.videos.clamp(min=0)).masked_fill(answers.videos < 0, -1).amax(dim=1, keepdim=True)
    return (best >= right).sum(dim=1)


def overall_ranks(scores: Tensor, moments: Tensor, answers: Answers) -> Tensor:
    """The rank [q, T] of the best right moment among all, before NMS; nan where none of M fits an answer."""
    places = answers.videos.clamp(min=0)
    ious = temporal_iou(moments[places], answers.moments[:, :, None])  # [q, A, M]
    ious = ious.masked_fill(answers.videos[..., None] < 0, -1)
    own = scores.gather(1, places[..., None].expand_as(ious))
    ranks, is_before = [], torch.empty_like(scores)
    for threshold in THRESHOLDS:
        right = own.masked_fill(ious < threshold, -1).amax(dim=(1, 2))
        # Counted as numbers, which is several times faster than as truths; those of a video are few enough for float32.
        rank = torch.ge(scores, right[:, None, None], out=is_before).sum(dim=2).sum(dim=1, dtype=torch.float64)
        ranks.append(rank.masked_fill(right < 0, torch.nan))
    return torch.stack(ranks, dim=1)


def listed_ranks(scores: Tensor, moments: Tensor, answers: Answers, listing: Listing) -> Tensor:
    """The place [q, T] of the first right moment in the list, see `listed_moments`; NOT_LISTED where there is none."""
    videos, found = listed_moments(scores, moments, listing)
    ious = temporal_iou(found[:, :, None], answers.moments[:, None])  # [q, length, A]
    best = (ious * (videos[:, :, None] == answers.videos[:, None])).amax(dim=2)
    ranks = []
    for threshold in THRESHOLDS:
        is_right = best >= threshold
        place = 1 + is_right.float().argmax(dim=1)
        ranks.append(place.masked_fill(~is_right.any(dim=1), NOT_LISTED))
    return torch.stack(ranks, dim=1)


def listed_moments(scores: Tensor, moments: Tensor, listing: Listing) -> tuple[Tensor, Tensor]:
    """The ranked lists of q queries: videos [q, length] int64, -2 where a list is shorter, and moments [q, length, 2].

    A video stands in the list first by its best moment, so the first L of a list are of the L videos with the best ones,
    and NMS is needed within these alone.
    """
    num_queries, num_videos, num_cells = scores.shape
    tops = scores.amax(dim=2).topk(min(listing.length, num_videos)).indices  # [q, L]
    candidates = scores.gather(1, tops[..., None].expand(-1, -1, num_cells))
    kept, kept_scores = nms_indices(
        moments[tops].flatten(0, 1), candidates.flatten(0, 1), listing.nms_threshold, min(listing.per_video, num_cells)
    )
    kept, kept_scores = kept.view(num_queries, -1), kept_scores.view(num_queries, -1)
    first = kept_scores.topk(min(listing.length, kept.shape[1]))
    videos = tops.repeat_interleave(kept.shape[1] // tops.shape[1], dim=1).gather(1, first.indices)
    found = moments[videos, kept.gather(1, first.indices)]
    return videos.masked_fill(first.values <= 0, -2), found


# ---- Metrics ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class CorpusScores:
    """The scores of the queries.

    Attributes:
        recalls: metric -> [Q] float64, 1 where the query has its answer that early, else 0; a chance for baselines.
        ranks: metric -> [Q] float64, from 1; nan where there is no rank.
    """

    recalls: Mapping[str, np.ndarray]
    ranks: Mapping[str, np.ndarray]


def recall_names() -> list[str]:
    """The metrics of `CorpusScores.recalls`, in the order of the tables."""
    videos = [f"video R@{rank}" for rank in RECALL_RANKS]
    return videos + [f"R@{rank},IoU@{threshold}" for threshold in THRESHOLDS for rank in RECALL_RANKS]


def rank_names() -> list[str]:
    """The metrics of `CorpusScores.ranks`."""
    return ["video rank", *(f"moment rank,IoU@{threshold}" for threshold in THRESHOLDS)]


def score_ranks(ranks: Ranks) -> CorpusScores:
    columns = [ranks.video, *ranks.listed.T]
    recalls = [(column <= rank).astype(np.float64) for column in columns for rank in RECALL_RANKS]
    return CorpusScores(
        dict(zip(recall_names(), recalls, strict=True)),
        dict(zip(rank_names(), [ranks.video.astype(np.float64), *ranks.overall.T], strict=True)),
    )
