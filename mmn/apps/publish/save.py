"""Writing a trained model as a model folder (`mmn.utils.model_folder`), and putting that on the Hugging Face hub."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from yacs.config import CfgNode

from mmn.apps.publish.model_card import CardFacts, write_card
from mmn.config import get_cfg
from mmn.data.tokenizer import PRETRAINED_KEY
from mmn.evaluation.metrics_file import read_metrics
from mmn.utils.errors import ConfigError, DataError
from mmn.utils.files import atomic_path
from mmn.utils.hub import upload_model
from mmn.utils.model_folder import CARD_FILE, NEEDED, TEXT_ENCODER, write_model_folder
from mmn.utils.pretrained import description_files
from mmn.utils.weight_hash import weights_sha256

# Keys that say where things lie on the machine of the training, or how it was started: they go back to their defaults.
LOCAL_KEYS = (
    "MODEL.DEVICE",
    "DATASETS.ROOT",
    "DATALOADER.CACHE_DIR",
    "SOLVER.RESUME",
    "SOLVER.RESUME_EPOCH",
    "SOLVER.INIT_WEIGHTS",
    "SOLVER.TRACKER",
    "OUTPUT_DIR",
    "PATHS_CATALOG",
)
PUBLISHED = ("MMN", "STVG")  # architectures
IMAGES = "images"
UPLOADED = (*NEEDED, CARD_FILE, f"{IMAGES}/*", "onnx/*")
NUM_PICTURES = 5


@dataclass(frozen=True)
class Evidence:
    """Files that a card shows, besides what the model itself says.

    Attributes:
        metrics: a metrics file of the model's test; None for none.
        predictions, maps: a prediction file and the map file that goes with it, of which NUM_PICTURES queries are drawn.
        truth: the true moments of the predictions, where these do not have them.
        licence: the weights', as the hub names licences; "" where nobody has said.
    """

    metrics: str | None = None
    predictions: str | None = None
    maps: str | None = None
    truth: str | None = None
    licence: str = ""

    def __post_init__(self):
        if (self.predictions is None) != (self.maps is None) or (self.truth and not self.predictions):
            raise ConfigError(
                "pictures of queries need --predictions FILE and --maps FILE, which test_net.py writes together: give both"
            )


def save_model(
    folder: str | os.PathLike,
    cfg: CfgNode,
    content: Mapping[str, object],
    evidence: Evidence | None = None,
    name: str | None = None,
) -> None:
    """Write a model folder with its card.

    Args:
        cfg: the model's config.
        content: the rest of it, as a checkpoint's.
        name: the model's in the card; by default the folder's.
    Raises UserError where the folder cannot be written or the evidence is of another model, and ConfigError where the
    text encoder's files are not there.
    """
    if cfg.MODEL.ARCHITECTURE not in PUBLISHED:
        raise ConfigError(
            f"a model folder holds a text encoder, which MODEL.ARCHITECTURE {cfg.MODEL.ARCHITECTURE} has not: hand on the "
            "checkpoint, and name the file of its word vectors"
        )
    evidence = evidence or Evidence()
    folder, encoder = os.path.abspath(folder), cfg.MODEL.MMN.TEXT_ENCODER.PRETRAINED
    files = description_files(encoder, "text encoder", PRETRAINED_KEY)
    content = {**content, "config": public_config(cfg).dump()}
    if not os.path.isdir(encoder):
        content["text_encoder_name"] = encoder
    if evidence.metrics:
        content["metrics"] = _own_metrics(evidence.metrics, content)
    write_model_folder(folder, content, cfg.MODEL.ARCHITECTURE, files)
    pictures = _draw_pictures(folder, evidence)
    card = write_card(CardFacts(name or os.path.basename(folder), cfg, content, pictures, evidence.licence))
    with atomic_path(os.path.join(folder, CARD_FILE)) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(card)


def _own_metrics(path: str, content: Mapping[str, object]) -> dict[str, object]:
    """A metrics file. Raises DataError where it is of other weights."""
    metrics, own = read_metrics(path), weights_sha256(content["model"])
    if metrics["weights_sha256"] != own:
        raise DataError(
            f"the metrics of {path} are of other weights ({metrics['weights_sha256'][:12]}) than the model's ({own[:12]}): "
            "test this model by test_net.py --metrics-out"
        )
    return metrics


def _draw_pictures(folder: str, evidence: Evidence) -> list[tuple[str, str]]:
    """Pictures of queries drawn at random, in the folder's images/: path from the folder and caption of each."""
    if evidence.predictions is None or evidence.maps is None:
        return []
    from mmn.apps.visual.picture_report import draw_queries  # needs an optional library
    from mmn.apps.visual.query_choice import QueryChoice

    choice = QueryChoice(NUM_PICTURES, kinds=("random",))
    drawn = draw_queries(os.path.join(folder, IMAGES), evidence.predictions, evidence.maps, choice, evidence.truth)
    return [(f"{IMAGES}/{os.path.basename(path)}", caption) for path, caption in drawn]


def push_model(
    repo: str,
    cfg: CfgNode,
    content: Mapping[str, object],
    message: str,
    evidence: Evidence | None = None,
    **hub_options,
) -> str:
    """Write a model folder into a repository of the hub -> the address of the commit; `hub_options` as `upload_model`."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(folder, cfg, content, evidence, repo)
        return upload_model(folder, repo, UPLOADED, message, **hub_options)


def public_config(cfg: CfgNode) -> CfgNode:
    """A copy of a config that says nothing of the machine it was used on; the text encoder is the folder's own."""
    cfg, defaults = cfg.clone(), get_cfg()
    cfg.defrost()
    for key in LOCAL_KEYS:
        *sections, name = key.split(".")
        node, default = cfg, defaults
        for section in sections:
            node, default = node[section], default[section]
        node[name] = default[name]
    cfg.MODEL.MMN.TEXT_ENCODER.PRETRAINED = TEXT_ENCODER
    return cfg
