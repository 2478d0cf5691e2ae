"""The two forms of each component, as functions without arguments that can be timed.

The plain form is `mmn.reference`: dense convolutions, one forward of the text encoder per video, loops over videos and
sentences. Both forms share all weights, and the text encoder itself.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from mmn import reference
from mmn.apps.benchmark.batch_sizes import Setting
from mmn.apps.benchmark.reference_arguments import reference_params, reference_settings, reference_videos
from mmn.apps.benchmark.settings import random_batch
from mmn.engine.precision import autocast
from mmn.evaluation.inference import MomentRanker
from mmn.evaluation.recall import count_hits
from mmn.modeling import build_criterion, build_model, build_proposal_cells
from mmn.solver import build_optimizer, contrastive_weight
from mmn.structures.moments import temporal_iou

RECALL_THRESHOLDS = (0.3, 0.5, 0.7)


class Component(NamedTuple):
    """A named piece of work in its plain form and in the project's."""

    name: str
    plain: Callable[[], object]
    ours: Callable[[], object]


class Workload:
    """One setting's model and batch on a device, with both forms of all that is done with them.

    Args:
        training: whether components include their backward pass, and the network is in training mode.
    """

    def __init__(self, cfg: CfgNode, setting: Setting, device: torch.device, training: bool):
        torch.manual_seed(0)
        self.cfg, self.device, self.training = cfg, device, training
        self.model = build_model(cfg, pretrained_text=False).to(device).train(training)
        self.cells = build_proposal_cells(cfg)
        self.criterion = build_criterion(cfg)
        self.encoder, self.params = self.model.text_encoder.bert, reference_params(self.model)
        self.settings = reference_settings(cfg)
        test = cfg.TEST
        self.ranker = MomentRanker(
            self.cells, test.NMS_THRESH, test.CONTRASTIVE_SCORE_POW, test.NUM_PREDICTIONS, test.SCORE
        )
        self.batch = random_batch(cfg, setting).to(device)
        self.weight = contrastive_weight(cfg, epoch=1)
        self.plain_optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-6)
        self.optimizer = build_optimizer(cfg, self.model)
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-6  # the weights should stay where they are
        with torch.no_grad():
            self.dense_map, self.mask = self._dense_map()
            self.packed = self.model.feat2d(self.model.featpool(self.batch.feats))
            self._text()  # what is tried once is no part of a forward

    # ---- the parts -------------------------------------------------------------------------------------------------

    def components(self) -> Iterator[Component]:
        """All parts, then the whole; in training each part includes its backward pass, which also stands alone.

        One by one, since a component may hold tensors that the next one should not find in memory.
        """
        run = self._with_backward if self.training else self._without_gradient
        yield Component("text", run(self._plain_text), run(self._text))
        yield Component("map", run(self._plain_map), run(self._map))
        yield Component("convolutions", run(self._plain_convolutions), run(self._convolutions))
        if self.training:
            yield self._losses_component()
            yield Component("backward", self._backward_alone(self.plain_loss), self._backward_alone(self.loss))
            steps = self._with_gradients(self.plain_optimizer), self._with_gradients(self.optimizer)
            yield Component("optimizer", *steps)
            yield Component("training step", self.plain_step, self.step)
        else:
            yield Component("evaluation forward", run(self.plain_forward), run(self.forward))
            yield self._ranking_component()

    @property
    def videos(self) -> list[reference.Video]:
        """The batch as the plain form takes it."""
        return reference_videos(self.batch)

    def _dense_map(self) -> tuple[Tensor, Tensor]:
        """The proposal map [B, H, N, N] and its valid cells [N, N]."""
        return reference.proposal_map(reference.featpool(self.batch.feats, self.params, self.settings), self.settings)

    def _plain_text(self) -> list[Tensor]:
        pairs = (
            reference.encode_sentences(video.tokens, video.lengths, self.encoder, self.params) for video in self.videos
        )
        return [vectors for pair in pairs for vectors in pair]

    def _text(self) -> list[Tensor]:
        return list(self.model.encode_sentences(self.batch.tokens, self.batch.token_mask))

    def _plain_map(self) -> list[Tensor]:
        return [self._dense_map()[0]]

    def _map(self) -> list[Tensor]:
        return [self.model.feat2d(self.model.featpool(self.batch.feats))]

    def _plain_convolutions(self) -> list[Tensor]:
        dense_map = self.dense_map.requires_grad_(self.training)
        return list(reference.encode_proposals(dense_map, self.mask, self.params, self.settings, self.training))

    def _convolutions(self) -> list[Tensor]:
        return list(self.model.proposal_conv(self.packed.requires_grad_(self.training)))

    def _without_gradient(self, function: Callable[[], object]) -> Callable[[], object]:
        return torch.no_grad()(function)

    def _with_backward(self, function: Callable[[], list[Tensor]]) -> Callable[[], None]:
        def run() -> None:
            self.model.zero_grad(set_to_none=True)
            outputs = function()
            torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])

        return run

    def _backward_alone(self, loss: Callable[[], Tensor]) -> Callable[[], None]:
        """The backward pass of a whole step whose forward pass is made once, with the first call."""
        graph: list[Tensor] = []

        def run() -> None:
            if not graph:
                with self._kept_statistics():  # a graph that holds them must not find them changed by the other form
                    graph.append(loss())
            self.model.zero_grad(set_to_none=True)
            graph[0].backward(retain_graph=True)

        return run

    @contextlib.contextmanager
    def _kept_statistics(self) -> Iterator[None]:
        """Batch norm as in training, with running statistics left as they are."""
        norms = [module for module in self.model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.track_running_stats = False
        params = self.params
        self.params = {name: value.clone() if "running" in name else value for name, value in params.items()}
        yield
        self.params = params
        for norm in norms:
            norm.track_running_stats = True

    def _with_gradients(self, optimizer: torch.optim.Optimizer) -> Callable[[], None]:
        """A step in which every parameter has a gradient."""

        def run() -> None:
            for parameter in self.model.parameters():
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            optimizer.step()

        return run

    def _losses_component(self) -> Component:
        """Losses from given embeddings, with the gradients of these."""
        videos = self.videos
        with torch.no_grad():
            output = self.model(self.batch)
            sentences, proposals, _ = reference.embed(videos, self.encoder, self.params, self.settings, self.training)
        leaves = [tensor.detach().requires_grad_() for tensor in output]
        dense = tuple(tensor.requires_grad_() for tensor in proposals)
        vectors = [tuple(tensor.requires_grad_() for tensor in pair) for pair in sentences]

        def ours() -> None:
            self._total(self.criterion(type(output)(*leaves), self.batch)).backward()

        def plainly() -> None:
            self._total(reference.losses(vectors, dense, self.mask, videos, self.settings)).backward()

        return Component("losses", plainly, ours)

    def _ranking_component(self) -> Component:
        """NMS and recall of every sentence of the batch, from given scores."""
        with torch.no_grad():
            contrastive, iou = self.model(self.batch).scores(self.batch.layout)
        durations, truth = self.batch.sentence_durations, self.batch.moments
        score_maps = [self.cells.to_map(scores).cpu() for scores in (contrastive, iou)]

        def ours() -> None:
            moments, _ = self.ranker.rank(contrastive, iou, durations)
            count_hits(temporal_iou(moments, truth[:, None]), RECALL_THRESHOLDS)

        def plainly() -> None:
            for *maps, duration, moment in zip(*score_maps, durations.tolist(), truth.cpu(), strict=True):
                moments, _ = reference.rank(*maps, duration, self.settings)
                recall_hits(moments, moment, RECALL_THRESHOLDS)

        return Component("NMS + recall", plainly, ours)

    # ---- the whole -------------------------------------------------------------------------------------------------

    def forward(self) -> tuple[Tensor, Tensor]:
        """Scores of every sentence with its video, the project's way, which is in float32."""
        return self.model(self.batch).scores(self.batch.layout)

    def plain_forward(self) -> list[reference.Pair]:
        """Forward pass the plain way."""
        return reference.score_maps(
            *reference.embed(self.videos, self.encoder, self.params, self.settings, self.training)
        )

    def step(self) -> None:
        """A whole training step, the project's way."""
        self._update(self.loss, self.optimizer)

    def plain_step(self) -> None:
        self._update(self.plain_loss, self.plain_optimizer)

    def _update(self, loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> None:
        self.model.zero_grad(set_to_none=True)
        loss().backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.cfg.SOLVER.CLIP_GRAD_NORM)
        optimizer.step()

    def loss(self) -> Tensor:
        """The weighted losses of the batch, scalar."""
        with autocast(self.cfg, self.device):
            output = self.model(self.batch)
        return self._total(self.criterion(output, self.batch))

    def plain_loss(self) -> Tensor:
        """Losses the plain way, IoU maps included."""
        return reference.training_loss(self.videos, self.encoder, self.params, self.settings)

    def _total(self, losses: dict[str, Tensor]) -> Tensor:
        return losses["iou"] + self.weight * (losses["vid"] + losses["sent"])


def recall_hits(moments: Tensor, truth: Tensor, thresholds: Sequence[float]) -> list[list[bool]]:
    """For one sentence, whether one of its first 1 and of its first 5 moments [n, 2] reaches each IoU threshold."""
    ious = reference.temporal_iou(moments, truth)
    return [[bool((ious[:rank] >= threshold).any()) for threshold in thresholds] for rank in (1, 5)]
