"""Names of 2D-TAN's weights in the third-party program, ChenJoya/2dtan (SPEC section 10)."""

from collections.abc import Mapping

from torch import Tensor

from mmn.utils.errors import CheckpointError

THIRD_PARTY = {
    "featpool.conv": "frame_layer.vis_conv",
    "integrator.lstm": "fusion_layer.textual_encoder",
    "integrator.fc": "fusion_layer.tex_linear",
    "integrator.conv": "fusion_layer.vis_conv",
    "predictor.convs": "map_layer.convs",
    "predictor.pred": "pred_layer",
}
MARK = "integrator."  # before names that no other program has


def official_names(weights: Mapping[str, Tensor], source: str, masked: bool) -> Mapping[str, Tensor]:
    """Weights by the official program's names, which are ours, whatever names they come with.

    Args:
        source: the file, for messages.
        masked: MODEL.TAN2D.MASK_FUSION of the model.
    Raises CheckpointError where they are the third-party program's and the model would not give its scores.
    """
    if not any(name.startswith(MARK) for name in weights):
        return weights
    if masked:
        raise CheckpointError(
            f"the checkpoint {source} is of the third-party 2D-TAN, which does not mask the fused map: set "
            "MODEL.TAN2D.MASK_FUSION False, as the config tan2d_thirdparty_tacos does"
        )
    return {_official_name(name): value for name, value in weights.items()}


def _official_name(name: str) -> str:
    for theirs, ours in THIRD_PARTY.items():
        if name.startswith(theirs + "."):
            return ours + name.removeprefix(theirs)
    return name
