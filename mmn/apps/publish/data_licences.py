"""Licences of the datasets whose splits the catalog names, as far as they are known here.

"Read here" means that the licence's text came with the files that this package was written with; for the others the words
say where to look, and nothing was verified.
"""

from yacs.config import CfgNode

from mmn.config.paths_catalog import load_catalog
from mmn.utils.errors import ConfigError

# By the folder of the annotation files below DATASETS.ROOT.
LICENCES = {
    "TACoS": "TACoS: annotations of videos of MPII Cooking; see the terms of both at their sources (not read here).",
    "ActivityNet": "ActivityNet Captions: annotations of videos of ActivityNet; see the terms of both at their sources "
    "(not read here).",
    "Charades_STA": "Charades-STA: annotations of videos of Charades; see the terms of both at their sources "
    "(not read here).",
    "QVHighlights": "QVHighlights: annotations under CC BY-NC-SA 4.0 (read here), of videos of YouTube.",
    "Ego4D": "Ego4D: see the terms at its source (not read here).",
    "MAD": "MAD: features and annotations of films; see the terms of both at their sources (not read here).",
    "HC_STVG": "HC-STVG: see the terms at its source (not read here).",
    "synthetic": "Synthetic data made by this package: MIT, as the code.",
    "synthetic_stvg": "Synthetic data made by this package: MIT, as the code.",
    "pixels": "Videos rendered by this package: MIT, as the code.",
}
UNKNOWN = "The catalog of this package does not know the data of {splits}: ask who trained the model."


def data_licences(cfg: CfgNode) -> list[str]:
    """A sentence for each dataset that a config trains on."""
    splits = cfg.DATASETS.TRAIN
    try:
        catalog = load_catalog(cfg.PATHS_CATALOG)
    except ConfigError:  # a file of the machine of the training
        catalog = load_catalog()
    folders = {name: catalog[name].annotation.partition("/")[0] if name in catalog else "" for name in splits}
    known = {LICENCES[folder]: None for folder in folders.values() if folder in LICENCES}
    unknown = [name for name, folder in folders.items() if folder not in LICENCES]
    return [*known, *([UNKNOWN.format(splits=", ".join(unknown) or "its training")] if unknown or not splits else [])]
