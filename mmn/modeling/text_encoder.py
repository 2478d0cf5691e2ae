"""Tokens -> one vector per sentence in each of the two joint spaces."""

import contextlib
import functools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from mmn.modeling.attention_mask import mask_of_pairs, takes_mask_of_pairs
from mmn.modeling.encoder_trial import longest_tried
from mmn.modeling.fast.length_groups import encode_in_groups
from mmn.modeling.fast.packed_linear import pack_linears
from mmn.modeling.fast.sentence_memo import SentenceMemo
from mmn.modeling.fast.sentence_rows import encode_in_rows, takes_rows
from mmn.modeling.sentence_towers import end_token, first_token, is_dual, mean_of_tokens, sentence_tower
from mmn.utils.errors import ConfigError
from mmn.utils.pretrained import load_pretrained
from mmn.utils.torchvision import explains_torchvision

PRETRAINED_KEY = "MODEL.MMN.TEXT_ENCODER.PRETRAINED"  # for messages
POOLING_KEY = "MODEL.MMN.TEXT_ENCODER.POOLING"
OWN = "own"
POOLINGS = {"mean": mean_of_tokens, "cls": first_token, "end": end_token}  # and OWN


class SentencePooling(nn.Module):
    """A Hugging Face encoder, pooled over the tokens of each sentence.

    Args:
        bert: any encoder whose output has `last_hidden_state` [S, L, hidden_size]; for the pooling "own" one that has
            `sentence_vectors`, see `mmn.modeling.sentence_towers`.
        pooling: a name in POOLINGS, or OWN, see MODEL.MMN.TEXT_ENCODER.POOLING.
    """

    def __init__(self, bert: nn.Module, pooling: str = "mean"):
        super().__init__()
        self.bert = bert
        self.pool = None if pooling == OWN else POOLINGS[pooling]
        self._memo: SentenceMemo | None = None  # see `remembered_sentences`

    def sentence_vectors(self, tokens: Tensor, token_mask: Tensor) -> Tensor:
        """tokens, token_mask [U, L] int64 -> [U, size]."""
        if self._memo is not None and tokens.device.type == "cpu":
            return self._memo(self._encode, tokens, token_mask)
        return self._encode(tokens, token_mask)

    def _encode(self, tokens: Tensor, token_mask: Tensor) -> Tensor:
        """`sentence_vectors`, all computed now. On a CPU sentences share rows, or those of like length a forward.

        Not in training: dropout would fall on other tokens, so that a run of an earlier version would go on differently.
        """
        may_share = tokens.device.type == "cpu" and not self.training and self._is_tried(tokens)
        if may_share and self.pool is not None and self.takes_rows:
            return self.pool(encode_in_rows(self.bert, tokens, token_mask), token_mask)
        return encode_in_groups(self.pooled_hidden_state, tokens, token_mask)

    def pooled_hidden_state(self, tokens: Tensor, token_mask: Tensor) -> Tensor:
        """The encoder's last hidden states, pooled over the tokens of each sentence: [U, L] -> [U, size]."""
        if self.pool is None:
            return self.bert.sentence_vectors(tokens, token_mask)
        by_pairs = tokens.device.type != "cpu" and self._is_tried(tokens) and self.takes_pairs
        mask = mask_of_pairs(token_mask) if by_pairs else token_mask
        hidden = self.bert(input_ids=tokens, attention_mask=mask).last_hidden_state
        return self.pool(hidden, token_mask)

    def _is_tried(self, tokens: Tensor) -> bool:
        """Tell whether sentences [U, L] are short enough for what trials of the encoder find."""
        return tokens.shape[1] <= longest_tried(self.bert)

    @functools.cached_property
    def takes_pairs(self) -> bool:
        """True where the encoder takes a mask that a GPU need not be asked about; tried when it is first needed."""
        return takes_mask_of_pairs(self.bert)

    @functools.cached_property
    def takes_rows(self) -> bool:
        """True where the encoder takes several sentences in one row; tried when it is first needed."""
        return takes_rows(self.bert)


class TextEncoder(SentencePooling):
    """A pooled encoder with LayerNorm and a linear projection per head (SPEC section 2).

    With `shared_heads` one projection, `fc_out1`, makes the vectors of both joint spaces.

    Args:
        bert, pooling: see `SentencePooling`.
        hidden_size: width of the pooled vectors.
        joint_space_size: C.
    """

    def __init__(
        self,
        bert: nn.Module,
        hidden_size: int,
        joint_space_size: int,
        pooling: str = "mean",
        shared_heads: bool = False,
    ):
        super().__init__(bert, pooling)
        # The names and their order are those of the released weights: fc_out1 is IoU, fc_out2 contrastive.
        self.fc_out1 = nn.Linear(hidden_size, joint_space_size)
        self.fc_out2 = None if shared_heads else nn.Linear(hidden_size, joint_space_size)
        self.layernorm = nn.LayerNorm(hidden_size)

    def forward(self, tokens: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor]:
        """tokens, token_mask [U, L] int64 -> sentence features (contrastive, iou), each [U, C]."""
        return self.project(self.sentence_vectors(tokens, token_mask))

    def project(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled vectors [U, size] -> sentence features (contrastive, iou), each [U, C]."""
        pooled = self.layernorm(pooled)
        iou = self.fc_out1(pooled)
        return iou if self.fc_out2 is None else self.fc_out2(pooled), iou


@contextlib.contextmanager
def remembered_sentences(model: nn.Module) -> Iterator[None]:
    """Context in which a model on a CPU encodes each sentence once; its weights and mode must stay as they are."""
    encoders = [module for module in model.modules() if isinstance(module, SentencePooling)]
    for encoder in encoders:
        encoder._memo = SentenceMemo()
    try:
        yield
    finally:
        for encoder in encoders:
            encoder._memo = None


def last_layers(encoder: nn.Module, num_layers: int) -> list[nn.Parameter]:
    """The parameters of a Hugging Face encoder's last layers, and of what follows them; -1: all parameters.

    Raises ConfigError where the encoder has fewer layers, or none that can be told.
    """
    parameters = list(encoder.parameters())
    if num_layers == -1:
        return parameters
    key = "MODEL.MMN.TEXT_ENCODER.TRAIN_LAYERS"
    total = encoder.config.num_hidden_layers
    stacks = [module for module in encoder.modules() if isinstance(module, nn.ModuleList) and len(module) == total]
    if not stacks:
        raise ConfigError(
            f"{key} is {num_layers}, but the layers of a {type(encoder).__name__} are not known: set it to -1"
        )
    if not 0 <= num_layers <= total:
        raise ConfigError(
            f"{key} is {num_layers}, but the text encoder has {total} layers: -1 (all) to {total} will do"
        )
    if num_layers == 0:
        return []
    first = next(stacks[0][total - num_layers].parameters())
    return parameters[next(place for place, parameter in enumerate(parameters) if parameter is first) :]


@explains_torchvision()
def load_encoder(pretrained: str, with_weights: bool, pooling: str = "mean") -> tuple[nn.Module, int]:
    """The encoder and the width of its pooled vectors.

    Args:
        pretrained: hub name or local folder, of a text encoder or of a dual encoder, whose text half is taken.
        with_weights: False builds it from its config alone, for a checkpoint that brings the weights.
        pooling: as in `TextEncoder`, which gets what this returns.
    Its linear layers are packed ones: the same parameters, faster in inference on a CPU.
    """
    config = load_pretrained(AutoConfig, pretrained, "text encoder", PRETRAINED_KEY)
    # float32 whatever the file holds: the optimizer's steps are too small for less.
    if with_weights:
        model = load_pretrained(AutoModel, pretrained, "text encoder", PRETRAINED_KEY, dtype=torch.float32)
    else:
        model = AutoModel.from_config(config).float()
    if pooling == OWN:
        tower = sentence_tower(model, pretrained, POOLING_KEY)
        return pack_linears(tower), _width(tower)
    encoder = model.text_model if is_dual(config) else model
    # Heads over one token: their parameters would have no gradient.
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    if isinstance(getattr(encoder, "head", None), nn.Linear):
        encoder.head = nn.Identity()
    return pack_linears(encoder), encoder.config.hidden_size


@torch.no_grad()
def _width(tower: nn.Module) -> int:
    """The width of an encoder's own sentence vectors, by a forward of one sentence of two tokens."""
    tokens = torch.zeros(1, 2, dtype=torch.int64)
    return tower.sentence_vectors(tokens, torch.ones_like(tokens)).shape[1]
