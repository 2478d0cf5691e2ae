"""Model cards: README.md of a model folder, written from facts alone. What is not known is said to be so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yacs.config import CfgNode

from mmn.config import load_config
from mmn.config.load import config_values
from mmn.config.packaged import RELEASED, config_names
from mmn.config.paths_catalog import load_catalog
from mmn.config.validate import input_sizes
from mmn.engine.feature_recipes import checkpoint_recipe
from mmn.utils.errors import ConfigError
from mmn.utils.logger import get_logger
from mmn.utils.markdown import markdown_table
from mmn.utils.version import VERSION
from mmn.utils.weight_hash import weights_sha256

# Keys that say nothing of the method: where things are, how fast, how often something is written.
NOT_COMPARED = (
    *("OUTPUT_DIR", "PATHS_CATALOG", "DATASETS.", "DATALOADER.", "MODEL.DEVICE", "MODEL.MMN.TEXT_ENCODER.PRETRAINED"),
    *("SOLVER.RESUME", "SOLVER.INIT_WEIGHTS", "SOLVER.TRACKER", "SOLVER.CHECKPOINT", "SOLVER.LOG_PERIOD"),
    *("SOLVER.TIMEOUT_MINUTES", "TEST.BATCH_SIZE", "SOLVER.TEST_PERIOD"),
    *("MODEL.MMN.PREDICTOR.IMPL", "MODEL.MMN.PREDICTOR.KEPT_MB"),
)
TAGS = ["temporal-grounding", "video-moment-retrieval", "natural-language-video-localization"]
ABOUT = (
    "A Mutual Matching Network for temporal grounding (*Negative Sample Matters: A Renaissance of Metric Learning for "
    "Temporal Grounding*, AAAI 2022): for a video and a sentence it gives the moments, start and end in seconds, that the "
    "sentence describes."
)
UNKNOWN_DATA = "What the licence of the data of {splits} is, is not known here: ask who trained the model."
SNIPPET = """```python
from mmn import MomentLocalizer

localizer = MomentLocalizer.from_pretrained("{name}")
for result in localizer.localize({video}, queries=["a person opens a door"], top_k=5):
    for moment in result.moments:
        print(moment.start, moment.end, moment.score)
```"""


@dataclass(frozen=True)
class CardFacts:
    """Facts that a card is written from.

    Attributes:
        name: the folder's or the repository's.
        cfg: the model's config.
        content: the rest of the model, as a checkpoint's.
        pictures: path in the folder and caption of each.
        licence: the weights', as the hub names licences; "" where nobody has said.
    """

    name: str
    cfg: CfgNode
    content: Mapping[str, Any]
    pictures: Sequence[tuple[str, str]] = ()
    licence: str = ""


def write_card(facts: CardFacts) -> str:
    """The text of README.md: metadata that the hub reads, then the page."""
    parts = [
        ("Use", _use(facts)),
        ("Results", _results(facts)),
        ("Features", _features(facts)),
        ("Training", _training(facts)),
        ("Data", _data(facts.cfg)),
        ("Intended use and limits", _limits(facts)),
        ("Origin", _origin(facts)),
    ]
    sections = [line for title, lines in parts for line in ("", f"## {title}", "", *lines)]
    title = facts.name.rpartition("/")[2]
    return "\n".join(["---", _metadata(facts), "---", "", f"# {title}", "", ABOUT, *sections, ""])


def _metadata(facts: CardFacts) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    found = (facts.content.get("metrics") or {}).get("splits", [])
    results = [
        EvalResult(
            task_type="temporal-grounding",
            dataset_type=split["split"],
            dataset_name=split["dataset"] or split["split"],
            dataset_split=split["split"],
            metric_type=name,
            metric_value=round(100 * value, 2),
        )
        for split in found
        for name, value in split["metrics"].items()
    ]
    options: dict[str, Any] = {"model_name": facts.name, "eval_results": results} if results else {}
    base = facts.content.get("text_encoder_name")
    options |= {"base_model": base} if base else {}
    options |= {"license": facts.licence} if facts.licence else {}
    return ModelCardData(library_name="mmn", tags=TAGS, **options).to_yaml().strip()


def _use(facts: CardFacts) -> list[str]:
    recipe = checkpoint_recipe(facts.content, facts.name)
    takes_files = recipe is not None and recipe.extraction is not None
    example = SNIPPET.format(name=facts.name, video='"video.mp4"' if takes_files else "rows, duration=30.0")
    if takes_files:
        return [example]
    size = sum(input_sizes(facts.cfg))
    note = f"`rows` are the features of a video, [any number, {size}] evenly spread over it; see below."
    return [example, "", note]


def _results(facts: CardFacts) -> list[str]:
    metrics = facts.content.get("metrics")
    if metrics is None:
        return ["No metrics file was given when this card was written, so nothing is claimed."]
    lines = ["In percent, as `mmn test --metrics-out` wrote them of these very weights."]
    for split in metrics["splits"]:
        names, values = zip(*split["metrics"].items(), strict=True)
        where = f"{split['split']}: {split['videos']} videos, {split['sentences']} sentences"
        lines += ["", where, "", *markdown_table(names, [[f"{100 * value:.2f}" for value in values]])]
    if facts.pictures:
        lines += ["", f"{len(facts.pictures)} queries of the test, drawn at random:"]
    for path, caption in facts.pictures:
        lines += ["", f"![{caption}]({path})", "", caption]
    return lines


def _features(facts: CardFacts) -> list[str]:
    recipe = checkpoint_recipe(facts.content, facts.name)
    if recipe is None:
        splits = ", ".join(facts.cfg.DATASETS.TRAIN) or "(none named)"
        return [
            f"The model was trained on rows of {sum(input_sizes(facts.cfg))} numbers, and its checkpoint does "
            f"not say how they were made. The splits {splits} are entries of the package's catalog, of which its "
            "dataset/README.md says which files they need and where those come from, or of the trainer's own."
        ]
    if recipe.extraction is None:
        return [f"The feature tracks are, side by side in this order: {recipe}. Others are refused."]
    lines = [f"Made as follows; features made otherwise are refused: {recipe}."]
    rate, backbone = recipe.extraction.fps or 0, recipe.extraction.backbone
    command = f"mmn extract --videos DIR --backbone {backbone} --fps {rate:g} --out features.hdf5"
    lines += ["", "A video file is enough: its features are extracted in this way. For many videos at once:", ""]
    return [*lines, "```bash", command, "```"]


def _training(facts: CardFacts) -> list[str]:
    reference, differences = nearest_released(facts.cfg)
    durations, origin = facts.content.get("train_durations"), facts.content
    lines = [f"Trained on {', '.join(facts.cfg.DATASETS.TRAIN) or 'splits that its config does not name'}."]
    if durations:
        lines[0] += f" Its videos last {durations['median']:.1f} s (median), {durations['longest']:.1f} s at most."
    if origin.get("epoch") is not None:
        lines[0] += f" The weights are those of epoch {origin['epoch']}."
    if reference is None:
        return [
            *lines,
            "",
            f"There is no released setting of {facts.cfg.MODEL.ARCHITECTURE} to compare the config with.",
        ]
    if not differences:
        return [*lines, "", f"The config is the released setting `{reference}`."]
    rows = [[f"`{key}`", str(value), str(ours)] for key, (value, ours) in differences.items()]
    lines += ["", f"What differs from the released setting that is nearest, `{reference}`:", ""]
    return [*lines, *markdown_table(["key", "released", "this model"], rows)]


def _data(cfg: CfgNode) -> list[str]:
    """A sentence for each dataset that a config trains on: what its catalog says of the licence.

    A catalog of the training that cannot be read here is logged, and the card then says that nothing is known.
    """
    splits = cfg.DATASETS.TRAIN
    try:
        catalog = load_catalog(cfg.PATHS_CATALOG)
    except ConfigError as error:
        get_logger().warning("the model card does not say whose data the model was trained on: %s", error)
        catalog = {}
    licences = {name: catalog[name].licence if name in catalog else "" for name in splits}
    known = dict.fromkeys(licence for licence in licences.values() if licence)
    unknown = [name for name, licence in licences.items() if not licence]
    if unknown or not splits:
        return [*known, UNKNOWN_DATA.format(splits=", ".join(unknown) or "its training")]
    return list(known)


def _limits(facts: CardFacts) -> list[str]:
    mmn, durations = facts.cfg.MODEL.MMN, facts.content.get("train_durations")
    lines = [
        "Meant for research on temporal grounding, and for finding moments in videos like those of its training. Scores of "
        "moments are not probabilities"
        + ("" if facts.content.get("calibration") else ", and this model is not calibrated")
        + ": a sentence about something that is not in the video gets moments all the same.",
        "",
        f"* A video, or a window of it, is {mmn.NUM_CLIPS} clips; a moment is one or more whole clips.",
    ]
    if durations:
        length = durations["median"]
        lines += [
            f"* In a video of {length:.1f} s a clip is {length / mmn.NUM_CLIPS:.2f} s. Videos longer than "
            f"{durations['longest']:.1f} s are searched in overlapping windows of {length:.1f} s; no moment longer than a "
            "window is found in them.",
        ]
    lines += [
        "* Sentences are of the language and kind of the training's annotations; what they favour, the model favours.",
        "* It sees what its features see; other features than those above mean nothing to it.",
    ]
    return lines


def _origin(facts: CardFacts) -> list[str]:
    revision = facts.content.get("git_revision") or "not known"
    encoder = facts.content.get("text_encoder_name") or "a folder, whose config and tokenizer are in text_encoder/"
    return [
        f"* Trained by revision {revision} of the package; this folder was written by mmn {VERSION}.",
        f"* Text encoder: {encoder}.",
        f"* sha256 of the weights by name and value: {weights_sha256(facts.content['model'])}.",
        f"* Licence of the weights: {facts.licence or 'not stated'}. The code is under the MIT licence.",
    ]


def nearest_released(cfg: CfgNode) -> tuple[str | None, dict[str, tuple[object, object]]]:
    """The released setting of the architecture that differs in the fewest keys: its name, and (released, own) values."""
    own, found = config_values(cfg), []
    for name in config_names():
        if not RELEASED.fullmatch(name):
            continue
        released = load_config(name)
        if released.MODEL.ARCHITECTURE != cfg.MODEL.ARCHITECTURE:
            continue
        pairs = {key: (value, own[key]) for key, value in config_values(released).items() if value != own[key]}
        found.append((name, {key: pair for key, pair in pairs.items() if not key.startswith(NOT_COMPARED)}))
    return min(found, key=lambda entry: len(entry[1]), default=(None, {}))
