"""The work of tools/build_index.py: encode the videos of a collection and put them into an index, once and for all.

A build that is stopped, or killed, goes on where it was: a video whose source has not changed is not encoded again.
"""

from collections.abc import Sequence

from mmn.apps.extraction.video_files import VideoFile, share_out
from mmn.apps.localize.identity import model_identity
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.search.encode_collection import BuildResult, CollectionEncoder
from mmn.apps.search.indexed_video import BuildSettings, index_info
from mmn.apps.search.vector_store import VectorStore, default_store, ensure_store, has_index, open_store
from mmn.apps.search.video_collections import VideoCollection
from mmn.modeling.match_rules import COSINE
from mmn.structures.recipe import FeatureRecipe
from mmn.utils import comm
from mmn.utils.errors import ConfigError, DataError, UserError
from mmn.utils.logger import get_logger


def build_index(
    localizer: MomentLocalizer,
    collection: VideoCollection,
    place: str,
    engine: str = "auto",
    settings: BuildSettings | None = None,
    removes_others: bool = False,
) -> BuildResult:
    """Have the index at `place` hold the videos of a collection; called on all processes, each encodes its share.

    Args:
        engine: the name of a store, one of STORES; "auto" is the one of the index, or for a new one chosen by its moments.
        settings: the way moments are made; None is as in the index, or the defaults for a new one.
        removes_others: take out the videos that the collection lacks.
    Raises:
        ConfigError: where the index is of another model, or of other settings, or kept by another store.
        DataError: where it, or the model, is of other features, or it is damaged.
        UserError: at the end, where videos could not be used; each of them is logged with its reason by then.
    """
    if collection.recipe is not None:
        localizer.check_recipe(collection.recipe, "those of the videos")
    if settings is not None and settings.prune is not None and localizer.rule.match != COSINE:
        raise ConfigError(
            f"{localizer.source} scores a moment against the rest of its video (TEST.CONTRASTIVE_RULE "
            f"{localizer.rule.match}), so that its index needs all moments: leave out --prune"
        )
    videos = collection.videos()
    identity = model_identity(localizer.encoder)
    if comm.get_rank() == 0 and not has_index(place):
        _create(localizer, identity, collection, place, engine, settings or BuildSettings(), len(videos))
    comm.barrier()
    with open_store(place) as index:
        settings = _check_same(index, localizer, identity, collection.recipe, engine, settings)
        result = CollectionEncoder(localizer, collection, index, settings).run(_share(videos))
        collection.close()
        results = comm.all_gather_objects(result)
        result = _sum(results)
        if comm.get_rank() == 0:
            result.num_removed = _finish(index, {video.video_id for video in videos}, removes_others)
            _summarise(index, result)
        comm.barrier()
    if result.failures and comm.get_rank() == 0:
        raise UserError(
            f"{len(result.failures)} of {len(videos)} videos could not be used, each named above: {place} has the others, "
            "and the same command tries these again"
        )
    return result


# ---- The index ----


def _create(
    localizer: MomentLocalizer,
    identity: str,
    collection: VideoCollection,
    place: str,
    engine: str,
    settings: BuildSettings,
    num_videos: int,
) -> None:
    if engine == "auto":
        engine = default_store(place, num_videos * len(localizer.cells))
    if ensure_store(place, index_info(localizer, settings, collection.recipe, identity), engine):
        get_logger().info("new index %s, kept by the engine %s", place, engine)
    else:
        get_logger().info("another process has just made the index %s", place)


def _check_same(
    index: VectorStore,
    localizer: MomentLocalizer,
    identity: str,
    recipe: FeatureRecipe | None,
    engine: str,
    settings: BuildSettings | None,
) -> BuildSettings:
    """The settings of the index; raises where videos of this model, these features and settings do not belong in it."""
    info, built = index.info, BuildSettings.of(index.info.build)
    if engine not in ("auto", index.name):
        raise ConfigError(
            f"the index {index.place} is kept by the engine {index.name}: leave out --engine {engine}, or copy the index "
            "to another place by --from"
        )
    if info.model != identity:
        raise ConfigError(
            f"the index {index.place} was built by {info.model_name}, and {localizer.source} is another model: add videos "
            "by that one, or choose another place"
        )
    known = None if info.recipe is None else FeatureRecipe.from_dict(info.recipe, f"the index {index.place}")
    if None not in (known, recipe) and known != recipe:
        raise DataError(
            f"the index {index.place} is of features of {known}, but these are {recipe}, which differs in "
            f"{known.differences(recipe)}: extract them like those, or choose another place"
        )
    if settings is not None and settings != built:
        raise ConfigError(
            f"the index {index.place} was built with {_words(built)}, not with {_words(settings)}: leave these out, "
            "or choose another place"
        )
    return built


def _words(settings: BuildSettings) -> str:
    values = {"window": settings.window, "overlap": settings.overlap, "prune": settings.prune}
    return ", ".join(f"{name} {'default' if value is None else f'{value:g}'}" for name, value in values.items())


def _share(videos: Sequence[VideoFile]) -> list[VideoFile]:
    """The videos that this process encodes, in their order."""
    share = set(share_out(videos, comm.get_world_size())[comm.get_rank()])
    return [video for video in videos if video in share]


def _finish(index: VectorStore, video_ids: set[str], removes_others: bool) -> int:
    """Clear up, on one process when all have put their videos; returns how many videos it removed."""
    index.refresh()
    others = [name for name in index.videos() if name not in video_ids] if removes_others else []
    index.remove(others)
    index.optimize()
    return len(others)


def _sum(results: Sequence[BuildResult]) -> BuildResult:
    counts = [(part.num_new, part.num_replaced, part.num_unchanged, part.num_removed) for part in results]
    return BuildResult(*map(sum, zip(*counts, strict=True)), sum((part.failures for part in results), []))


def _summarise(index: VectorStore, result: BuildResult) -> None:
    for sentence in result.failures:
        get_logger().error("%s", sentence)
    get_logger().info(
        "%s: %d videos with %d moments; %d new, %d replaced, %d unchanged, %d removed",
        index.place,
        len(index.videos()),
        index.num_moments,
        result.num_new,
        result.num_replaced,
        result.num_unchanged,
        result.num_removed,
    )
