"""Recipes go through files and checkpoints unchanged, and are compared by what decides the features."""

import dataclasses
import io

import h5py
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmn.structures.recipe import FeatureRecipe
from mmn.utils.errors import DataError

RECIPE = FeatureRecipe(
    backbone="clip",
    layer="image_embeds",
    weights_sha256="ab" * 32,
    fps=2.0,
    clip_length=4,
    stride=2,
    image_size=(224, 224),
    resize="bicubic to shorter side 224, centre crop",
    channels="RGB",
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.2, 0.1),
    weights="clip.pth",
    versions={"torch": "2.13.0"},
)
numbers = st.floats(0, 1)
recipes = st.builds(
    FeatureRecipe,
    backbone=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
    layer=st.just("fc6"),
    weights_sha256=st.just("ab" * 32),
    fps=st.one_of(st.none(), st.floats(0.01, 100)),
    clip_length=st.integers(1, 64),
    stride=st.integers(1, 64),
    image_size=st.tuples(st.integers(1, 500), st.integers(1, 500)),
    resize=st.just("bilinear"),
    channels=st.sampled_from(["RGB", "BGR"]),
    mean=st.tuples(numbers, numbers, numbers),
    std=st.tuples(numbers, numbers, numbers),
    weights=st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    versions=st.dictionaries(st.text("abc", min_size=1), st.text("123.")),
)


def all_values(recipe):
    return dataclasses.astuple(recipe)


@given(recipes)
def test_recipe_goes_through_hdf5_attributes_unchanged(recipe):
    with h5py.File(io.BytesIO(), "w") as file:
        file.attrs["description"] = "something else"
        file.attrs.update(recipe.to_attributes())
        assert all_values(FeatureRecipe.from_attributes(file.attrs, "f.hdf5")) == all_values(recipe)


@given(recipes)
def test_recipe_goes_through_a_checkpoint_unchanged(recipe):
    file = io.BytesIO()
    torch.save({"feature_recipe": recipe.to_dict()}, file)
    file.seek(0)
    content = torch.load(file, weights_only=True)
    assert all_values(FeatureRecipe.from_dict(content["feature_recipe"], "c.pth")) == all_values(recipe)


def test_a_file_without_a_recipe_has_none():
    assert FeatureRecipe.from_attributes({"dim": 3, "fps": 1.0}, "f.hdf5") is None


@pytest.mark.parametrize("spoil", [{"stride": None}, {"unknown": 3}, {"mean": "grey"}])
def test_a_recipe_that_cannot_be_understood_is_refused_with_the_file(spoil):
    values = {**RECIPE.to_dict(), **spoil}
    if spoil.get("stride", 0) is None:
        del values["stride"]
    with pytest.raises(DataError, match="recipe of f.hdf5 cannot be understood"):
        FeatureRecipe.from_dict(values, "f.hdf5")


def test_names_and_versions_do_not_make_features_others():
    assert dataclasses.replace(RECIPE, weights="copy.pth", versions={"torch": "2.6.0"}) == RECIPE


@pytest.mark.parametrize("change", [{"fps": None}, {"stride": 3}, {"weights_sha256": "cd" * 32}, {"layer": "fc7"}])
def test_what_decides_the_features_makes_them_others(change):
    other = dataclasses.replace(RECIPE, **change)
    assert other != RECIPE
    assert RECIPE.differences(other) == next(iter(change))
