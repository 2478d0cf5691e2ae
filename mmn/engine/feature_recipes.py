"""Refusing features that are not those a model was trained on: other tracks, or made in another way, as far as both say."""

from collections.abc import Mapping, Sequence

from yacs.config import CfgNode

from mmn.data.splits import Split
from mmn.engine.tasks import Task
from mmn.structures.recipe import TracksRecipe
from mmn.utils.errors import DataError
from mmn.utils.logger import get_logger

KEY = "feature_recipe"  # in checkpoints


def checkpoint_recipe(checkpoint: Mapping | None, source: str | None) -> TracksRecipe | None:
    """The recipe of the features that a checkpoint's model was trained on, where it says so."""
    recipe = None if checkpoint is None else checkpoint.get(KEY)
    return None if recipe is None else TracksRecipe.from_dict(recipe, str(source))


def shared_recipe(task: Task, cfg: CfgNode, splits: Sequence[Split]) -> TracksRecipe | None:
    """The recipe of all splits that say how their features were made; None where none does.

    Raises DataError, naming both, where two splits differ.
    """
    recipe = known = None
    for split in splits:
        found = task.feature_recipe(cfg, split)
        if found is None:
            continue
        if recipe is not None and recipe.differences(found):
            raise DataError(
                f"the features of the split {known} are {recipe}, but those of {split.name} are {found}, which differs in "
                f"{recipe.differences(found)}: a model sees features of one kind, so take the same of them, made alike"
            )
        recipe, known = found, split.name
    return recipe


def training_recipe(
    task: Task,
    cfg: CfgNode,
    splits: Sequence[Split],
    evaluated: Sequence[Split],
    checkpoint: Mapping | None,
    source: str | None,
    resumes: bool,
) -> dict[str, dict]:
    """The entry of a run's checkpoints about its features, {} or {KEY: a recipe as plain values}.

    Args:
        splits: the splits that the run's model is trained on.
        evaluated: the splits that it is going to meet besides.
        checkpoint, source: the checkpoint that the run begins with, if any, and its file.
        resumes: whether the run of that checkpoint goes on.
    Raises DataError where these do not go together, see `shared_recipe` and `check_recipes`.
    """
    trained = checkpoint_recipe(checkpoint, source)
    if checkpoint is not None:
        check_recipes(task, cfg, splits, trained, str(source))
    recipe = shared_recipe(task, cfg, splits) or (trained if resumes else None)
    check_recipes(task, cfg, evaluated, recipe, "the model of this run")
    return {} if recipe is None else {KEY: recipe.to_dict()}


def check_recipes(task: Task, cfg: CfgNode, splits: Sequence[Split], trained: TracksRecipe | None, source: str) -> None:
    """Raise DataError where a split has features of another recipe than a model was trained on, naming both.

    Where only one of the two is known, the log says so and nothing is refused.

    Args:
        splits: the splits that the model is going to meet.
        trained: the model's recipe, see `checkpoint_recipe`.
        source: the model's file, for messages.
    """
    for split in dict.fromkeys(splits):
        found = task.feature_recipe(cfg, split)
        if found is not None and trained is not None and trained.differences(found):
            raise DataError(
                f"{source} is trained on features of {trained}, but those of the split {split.name} are {found}, which "
                f"differs in {trained.differences(found)}: take the model's tracks, in its order and made by its recipe"
            )
        if found is not None and trained is None:
            get_logger().info("%s does not say which features it is trained on; %s has %s", source, split.name, found)
        if found is None and trained is not None:
            get_logger().info(
                "the features of %s do not say how they were made; %s wants %s", split.name, source, trained
            )
