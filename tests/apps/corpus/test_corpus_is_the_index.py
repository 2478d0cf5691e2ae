"""What the corpus benchmark ranks is what an index answers, moment by moment."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmn.apps.corpus.corpus_recall import Corpus, Listing, Orders, cosines, listed_moments
from mmn.apps.search.index_types import IndexInfo, VideoMoments
from mmn.apps.search.ranking_rules import RULES
from mmn.apps.search.retrieval import SearchPlan, retrieve
from mmn.apps.search.vector_store import create_store
from mmn.structures.moments import cell_moments
from mmn.structures.proposals import ProposalCells
from mmn.structures.query_vectors import HEADS, QueryVectors

CELLS = ProposalCells(16, [15])
NUM_VIDEOS, NUM_QUERIES, DIM = 30, 6, 16  # 4080 moments: more than the depth of any rule


@pytest.fixture
def corpus():
    moments = cell_moments(CELLS, torch.linspace(20, 60, NUM_VIDEOS))
    heads = (F.normalize(torch.randn(NUM_VIDEOS, len(CELLS), DIM), dim=-1).half() for _ in range(2))
    return Corpus(moments, *heads)


@pytest.fixture
def store(corpus, tmp_path):
    parts = (corpus.moments, corpus.contrastive, corpus.iou)
    with create_store(str(tmp_path / "index"), IndexInfo(DIM, "0" * 64, "a model"), "exact") as index:
        index.put([VideoMoments(f"video{n}", 60.0, *(part[n].numpy() for part in parts)) for n in range(NUM_VIDEOS)])
        yield index


@pytest.mark.parametrize("per_video", [1, 3])
@pytest.mark.parametrize("name", sorted(RULES))
def test_lists_of_the_benchmark_are_the_answers_of_an_index(corpus, store, name, per_video):
    vectors = QueryVectors(*(F.normalize(torch.randn(NUM_QUERIES, DIM), dim=-1).numpy() for _ in HEADS))
    listing = Listing(power=0.5, nms_threshold=0.5, per_video=per_video, length=25)
    heads = (cosines(torch.from_numpy(vectors.vectors(head)), getattr(corpus, head)) for head in HEADS)
    videos, moments = listed_moments(Orders(*heads, len(CELLS), 0.5).of(RULES[name]), corpus.moments, listing)
    answers = retrieve(store, vectors, SearchPlan(RULES[name], 0.5, listing.length, 0.5, per_video))
    for query, answer in enumerate(answers):
        assert answer.videos.tolist() == [f"video{number}" for number in videos[query].tolist()]
        np.testing.assert_array_equal(answer.moments, moments[query].numpy())
