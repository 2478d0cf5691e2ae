"""Writing a trained model as a model folder (`mmn.utils.model_folder`), and putting that on the Hugging Face hub."""

import os
import tempfile
from collections.abc import Mapping

from yacs.config import CfgNode

from mmn.config import get_cfg
from mmn.data.tokenizer import PRETRAINED_KEY
from mmn.utils.hub import upload_model
from mmn.utils.model_folder import NEEDED, TEXT_ENCODER, write_model_folder
from mmn.utils.pretrained import description_files

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
UPLOADED = (*NEEDED, "README.md", "images/*", "onnx/*")


def save_model(folder: str | os.PathLike, cfg: CfgNode, content: Mapping[str, object]) -> None:
    """Write a model folder.

    Args:
        cfg: the model's config.
        content: the rest of it, as a checkpoint's.
    Raises UserError where the folder cannot be written, and ConfigError where the text encoder's files are not there.
    """
    folder, name = os.fspath(folder), cfg.MODEL.MMN.TEXT_ENCODER.PRETRAINED
    files = description_files(name, "text encoder", PRETRAINED_KEY)
    if not os.path.isdir(name):
        content = {**content, "text_encoder_name": name}
    write_model_folder(folder, {**content, "config": public_config(cfg).dump()}, cfg.MODEL.ARCHITECTURE, files)


def push_model(repo: str, cfg: CfgNode, content: Mapping[str, object], message: str, **hub_options) -> str:
    """Write a model folder into a repository of the hub -> the address of the commit; `hub_options` as `upload_model`."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(folder, cfg, content)
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
