"""The identity of an index's model: vectors of two models do not compare, so an index refuses another's queries."""

from typing import TYPE_CHECKING

from mmn.utils.weight_hash import weights_sha256

if TYPE_CHECKING:
    from mmn.apps.localize.localizer import MomentLocalizer


def model_identity(localizer: "MomentLocalizer") -> str:
    """A hash of all that decides what vector a moment or a sentence gets, except its features (their recipe is apart).

    That is every weight, by name and value, the resampling and the proposal map.
    """
    cells = localizer.cells
    shape = (
        localizer.num_pre_clips,
        cells.num_clips,
        len(cells),
        int((cells.rows * cells.num_clips + cells.cols).sum()),
    )
    return weights_sha256(localizer.model.state_dict(), prefix=repr(shape))
