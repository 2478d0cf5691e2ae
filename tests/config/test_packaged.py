"""Config files by name."""

import pytest
from tiny import ROOT

from mmn.config import load_config
from mmn.config.packaged import config_names, find_config, find_rows
from mmn.config.paths_catalog import load_catalog
from mmn.data.splits import Splits
from mmn.utils.errors import ConfigError


@pytest.mark.parametrize("name", ["pool_tacos_128x128_k5l8", "tacos"])
def test_released_config_is_found_by_its_name_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config(name) == load_config(str(ROOT / "configs" / "pool_tacos_128x128_k5l8.yaml"))


def test_every_name_means_one_file():
    names = [name for pair in config_names().items() for name in pair if name]
    assert len(names) == len(set(names))
    assert {find_config(name) for name in names} == {str(path) for path in (ROOT / "configs").glob("*.yaml")}


def test_file_goes_before_a_packaged_config_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tacos").write_text("SOLVER: {MAX_EPOCH: 3}")
    assert load_config("tacos").SOLVER.MAX_EPOCH == 3


@pytest.mark.parametrize(
    "name, hint", [("charade", "did you mean charades"), ("x", "the choices are .*charades.*tacos")]
)
def test_unknown_name_is_refused_with_the_names_there_are(name, hint):
    with pytest.raises(ConfigError, match=f"there is no config '{name}': {hint}"):
        find_config(name)


def test_rows_of_an_ablation_are_found_by_name():
    assert find_rows("paper") == str(ROOT / "configs" / "rows" / "paper.yaml")
    assert find_rows("my/rows.yaml") == "my/rows.yaml"


def test_catalog_that_comes_with_the_package_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "charades_simulated_fit" in Splits(load_config("corpus_charades_simulated")).catalog
    assert "charades_simulated_fit" in load_catalog("charades_holdout")
    with pytest.raises(ConfigError, match="there is no catalog 'charades_holdot': did you mean charades_holdout"):
        load_catalog("charades_holdot")
