"""The stages of a run, as functions: what they refuse, and what they leave behind where they fail."""

import json

import pytest
import torch
import yaml
from tiny import STVG_CONFIG, tiny_config

from mmn.engine import run
from mmn.evaluation.map_file import MapRequest
from mmn.modeling import build_model
from mmn.utils.errors import ConfigError, DataError

CPU = torch.device("cpu")


def test_official_file_is_refused_before_the_model_loads_where_all_splits_are_scored_by_recall(dataset_root, tmp_path):
    with pytest.raises(ConfigError, match="--official-out out.json: all splits are scored by recall"):
        run.test(tiny_config(dataset_root, tmp_path), CPU, "no checkpoint", official_out="out.json")


@pytest.mark.parametrize(
    "options, said",
    [
        ({"metrics": "detr"}, "--metrics detr is for moments, not for MODEL.ARCHITECTURE STVG"),
        ({"map_request": MapRequest("maps.h5")}, "--dump-maps: MODEL.ARCHITECTURE STVG has no score maps"),
    ],
)
def test_what_is_for_moments_is_refused_for_tubes_before_the_model_loads(stvg_root, tmp_path, options, said):
    with pytest.raises(ConfigError, match=said):
        run.test(tiny_config(stvg_root, tmp_path, config=STVG_CONFIG), CPU, "no checkpoint", **options)


def test_metrics_of_a_split_are_kept_where_a_later_one_fails(dataset_root, tmp_path):
    entry = {"annotation": "no.json", "features": "synthetic/features.hdf5"}
    (tmp_path / "catalog.yaml").write_text(yaml.safe_dump({"broken": entry}))
    options = ["PATHS_CATALOG", str(tmp_path / "catalog.yaml"), "DATASETS.TEST", "('synthetic_test', 'broken')"]
    cfg = tiny_config(dataset_root, tmp_path, *options)
    torch.save(build_model(cfg).state_dict(), tmp_path / "weights.pth")
    out = tmp_path / "metrics.json"
    with pytest.raises(DataError, match="no.json"):
        run.test(cfg, CPU, str(tmp_path / "weights.pth"), metrics_out=str(out))
    assert [split["split"] for split in json.loads(out.read_text())["splits"]] == ["synthetic_test"]
