"""The two forms of each component, as functions without arguments that can be timed."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from mmn.apps.benchmark import plain
from mmn.apps.benchmark.settings import Setting, random_batch
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
        self.plain_losses = plain.PlainLosses(cfg.MODEL.MMN.LOSS, self.cells.mask)
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
            self.dense_map = plain.video_map(self.model, self.cells, self.batch.feats)
            self.packed = self.model.feat2d(self.model.featpool(self.batch.feats))

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

    def _plain_text(self) -> list[Tensor]:
        contrastive, iou = plain.encode_sentences(self.model, self.batch)
        return [*contrastive, *iou]

    def _text(self) -> list[Tensor]:
        return list(self.model.encode_sentences(self.batch.tokens, self.batch.token_mask))

    def _plain_map(self) -> list[Tensor]:
        return [plain.video_map(self.model, self.cells, self.batch.feats)]

    def _map(self) -> list[Tensor]:
        return [self.model.feat2d(self.model.featpool(self.batch.feats))]

    def _plain_convolutions(self) -> list[Tensor]:
        return list(plain.dense_proposals(self.model.proposal_conv, self.dense_map.requires_grad_(self.training)))

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
        yield
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
        with torch.no_grad():
            output = self.model(self.batch)
            proposals = plain.dense_proposals(self.model.proposal_conv, self.dense_map)
            sentences = plain.encode_sentences(self.model, self.batch)
        leaves = [tensor.detach().requires_grad_() for tensor in output]
        dense = [tensor.detach().requires_grad_() for tensor in proposals]
        lists = [[tensor.detach().requires_grad_() for tensor in pair] for pair in sentences]

        def ours() -> None:
            self._total(self.criterion(type(output)(*leaves), self.batch)).backward()

        def plainly() -> None:
            self._plain_total(lists, dense).backward()

        return Component("losses", plainly, ours)

    def _ranking_component(self) -> Component:
        """NMS and recall of every sentence of the batch, from given scores."""
        with torch.no_grad():
            contrastive, iou = self.model(self.batch).scores(self.batch.layout)
        durations, truth = self.batch.sentence_durations, self.batch.moments
        score_maps = ((contrastive + 1) / 2) ** self.cfg.TEST.CONTRASTIVE_SCORE_POW * iou
        score_maps = self.cells.to_map(score_maps).cpu()

        def ours() -> None:
            moments, _ = self.ranker.rank(contrastive, iou, durations)
            count_hits(temporal_iou(moments, truth[:, None]), RECALL_THRESHOLDS)

        def plainly() -> None:
            for score_map, duration, moment in zip(score_maps, durations.tolist(), truth.cpu(), strict=True):
                moments, _ = plain.rank_moments(score_map, duration, self.cfg.TEST.NMS_THRESH)
                plain.recall_hits(moments, moment, RECALL_THRESHOLDS)

        return Component("NMS + recall", plainly, ours)

    # ---- the whole -------------------------------------------------------------------------------------------------

    def forward(self) -> tuple[Tensor, Tensor]:
        """Scores of every sentence with its video, the project's way, which is in float32."""
        return self.model(self.batch).scores(self.batch.layout)

    def plain_forward(self) -> tuple[list[Tensor], list[Tensor]]:
        dense = plain.video_map(self.model, self.cells, self.batch.feats)
        proposals = plain.dense_proposals(self.model.proposal_conv, dense)
        sentences = plain.encode_sentences(self.model, self.batch)
        return plain.score_maps(sentences, proposals, self.cells.mask.to(self.device))

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
        dense = plain.video_map(self.model, self.cells, self.batch.feats)
        proposals = plain.dense_proposals(self.model.proposal_conv, dense)
        return self._plain_total(plain.encode_sentences(self.model, self.batch), proposals)

    def _total(self, losses: dict[str, Tensor]) -> Tensor:
        return losses["iou"] + self.weight * (losses["vid"] + losses["sent"])

    def _plain_total(self, sentences, proposals) -> Tensor:
        """The weighted losses the plain way, IoU maps included."""
        batch, num_clips = self.batch, self.cells.num_clips
        _, iou_scores = plain.score_maps(sentences, proposals, self.cells.mask.to(self.device))
        rows = [batch.video_index == video for video in range(len(batch.feats))]
        moments = [batch.moments[own] for own in rows]
        iou_maps = [
            torch.stack([plain.iou_map(moment.cpu(), float(duration), num_clips) for moment in own]).to(self.device)
            for own, duration in zip(moments, batch.durations, strict=True)
        ]
        return self._total(self.plain_losses(sentences[0], proposals[0], iou_scores, iou_maps, moments))
