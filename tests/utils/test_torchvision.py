"""What is said of a torchvision that does not fit torch."""

import sys

import pytest
import torch

from mmn.utils.errors import UserError
from mmn.utils.torchvision import explains_torchvision, import_torchvision


@pytest.fixture
def misfit(tmp_path, monkeypatch):
    """A torchvision whose operators torch does not have, in the place of any that is installed."""
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    "torch_version, pair", [("2.13.0+cpu", "0.28.0"), ("2.6.0", "0.21.0"), ("2.7.1+cu126", "0.22.1")]
)
def test_torchvision_that_does_not_fit_names_the_pair(misfit, monkeypatch, torch_version, pair):
    monkeypatch.setattr(torch, "__version__", torch_version)
    with pytest.raises(UserError, match="nms does not exist") as error:
        import_torchvision()
    assert f"torch=={torch_version.split('+')[0]} torchvision=={pair}" in str(error.value)


def test_models_that_cannot_be_imported_because_of_it_name_the_pair(misfit):
    with pytest.raises(UserError, match=r"does not fit torch .* install the pair"), explains_torchvision():
        raise ModuleNotFoundError("Could not import module 'DistilBertModel'")


def test_other_import_errors_are_left_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ModuleNotFoundError, match="DistilBertModel"), explains_torchvision():
        raise ModuleNotFoundError("Could not import module 'DistilBertModel'")
