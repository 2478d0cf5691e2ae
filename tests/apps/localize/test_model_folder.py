"""Models as folders and on the hub: written, read, refused; a local server speaks the hub's protocol."""

import json
import os
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hub_server import TOKEN, hub_server
from localizing import RECIPE, checkpoint_content, random_rows
from safetensors.torch import load_file, save_file
from tiny import run_python, tiny_config

from mmn import MomentLocalizer
from mmn.apps.localize.identity import model_identity
from mmn.utils.checkpoint import load_checkpoint
from mmn.utils.errors import CheckpointError, ConfigError, UserError
from mmn.utils.hub import commits_anywhere, hub_answers
from mmn.utils.model_folder import file_sha256

QUERIES = ["A man throws a ball.", "The woman opens a box in the yard."]
SCORES = """
import socket, sys
socket.socket.connect = None  # no network
import numpy, torch
from mmn import MomentLocalizer
torch.set_num_threads(1)
localizer = MomentLocalizer.from_pretrained(sys.argv[1], device="cpu")
maps = localizer.score_maps(numpy.load(sys.argv[2]), sys.argv[4:], duration=25.0)
numpy.save(sys.argv[3], numpy.stack(maps))
"""


@pytest.fixture(scope="module")
def checkpoint(dataset_root, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "model.pth"
    cfg = tiny_config(dataset_root, "somewhere/private")
    torch.save(checkpoint_content(cfg, feature_recipe=RECIPE.to_dict(), epoch=3, git_revision="abc"), path)
    return path


@pytest.fixture(scope="module")
def localizer(checkpoint):
    return MomentLocalizer.from_checkpoint(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def written(localizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "model"
    localizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(written, tmp_path):
    """A copy to be spoiled."""
    return shutil.copytree(written, tmp_path / "copy")


def describe(folder, **changes):
    """Change the folder's config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def scores(localizer):
    return np.stack(localizer.score_maps(random_rows(50), QUERIES, duration=25.0))


def test_folder_gives_the_same_scores_to_the_bit_on_a_machine_that_has_nothing_else(localizer, written, tmp_path):
    np.save(tmp_path / "rows.npy", random_rows(50))
    moved = shutil.copytree(written, tmp_path / "elsewhere")
    places = (moved, tmp_path / "rows.npy", tmp_path / "scores.npy")
    empty = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)}
    done = run_python("-c", SCORES, *places, *QUERIES, **empty)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), scores(localizer))


def test_folder_says_all_that_the_checkpoint_says_and_nothing_of_the_machine(localizer, written, dataset_root):
    again = MomentLocalizer.from_pretrained(written, device="cpu")
    assert again.train_durations == localizer.train_durations
    assert again.recipe == localizer.recipe
    assert again.trained.origin["epoch"] == 3
    texts = [path.read_text() for path in written.rglob("*") if path.suffix in (".json", ".md")]
    assert not [text for text in texts if str(dataset_root) in text or "somewhere/private" in text]
    assert not list(written.rglob("*.py")) + list(written.rglob("*.pth"))


def test_index_takes_the_folder_for_the_model_of_its_checkpoint(localizer, written):
    pulled = MomentLocalizer.from_pretrained(written, device="cpu")
    assert model_identity(pulled.encoder) == model_identity(localizer.encoder)


def test_folder_is_a_checkpoint_to_whatever_takes_one(checkpoint, written):
    one, other = load_checkpoint(str(checkpoint)), load_checkpoint(str(written))
    assert all(torch.equal(value, other["model"][name]) for name, value in one["model"].items())
    assert (other["train_durations"], other["feature_recipe"]) == (
        one["train_durations"],
        json.loads(json.dumps(one["feature_recipe"])),
    )


# ---- What is refused -------------------------------------------------------------------------------------------------


def change_a_weight(folder):
    weights = load_file(folder / "model.safetensors")
    weights["featpool.conv.bias"] += 1
    save_file(weights, folder / "model.safetensors")


def truncate(folder):
    os.truncate(folder / "model.safetensors", 1000)


def take_another_tokenizer(folder):
    path = folder / "text_encoder" / "tokenizer.json"
    path.write_text(path.read_text() + " ")


def swap_weights(folder):
    """Of another model, its hash put in as well."""
    save_file({"weight": torch.zeros(2)}, folder / "model.safetensors")
    content = json.loads((folder / "config.json").read_text())
    describe(folder, sha256=content["sha256"] | {"model.safetensors": file_sha256(folder / "model.safetensors")})


SPOILED = {
    "tampered weights": (change_a_weight, "model.safetensors of the model .* is not the file that was written"),
    "truncated": (truncate, "model.safetensors of the model .* is not the file that was written"),
    "another tokenizer": (take_another_tokenizer, "text_encoder/tokenizer.json of the model .* is not the file"),
    "weights of another model": (swap_weights, "does not fit the model"),
    "weights lost": (lambda folder: (folder / "model.safetensors").unlink(), "lacks model.safetensors: fetch it again"),
    "newer format": (lambda folder: describe(folder, format=2, mmn_version="9.0"), "format 2, written by mmn 9.0"),
    "newer architecture": (
        lambda folder: describe(folder, architecture="MMN9"),
        "architecture MMN9, which this version",
    ),
    "another library": (lambda folder: describe(folder, library_name="timm"), "is no model of this package"),
    "a file outside": (lambda folder: describe(folder, sha256={"../x": "0"}), "says too little or too much"),
    "no json": (lambda folder: (folder / "config.json").write_text("{"), "damaged config.json"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "is a folder: name a file in it"),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_spoiled_folder_is_one_sentence(folder, kind):
    spoil, sentence = SPOILED[kind]
    spoil(folder)
    with pytest.raises(UserError, match=sentence) as caught:
        MomentLocalizer.from_pretrained(folder, device="cpu")
    assert "\n" not in str(caught.value)


def test_code_in_a_folder_is_not_run(folder):
    text = folder / "text_encoder"
    (text / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (text / "config.json").write_text(json.dumps(config))
    sums = json.loads((folder / "config.json").read_text())["sha256"]
    describe(folder, sha256=sums | {"text_encoder/config.json": file_sha256(text / "config.json")})
    with pytest.raises(ConfigError, match="is not one that AutoConfig can load .*custom code"):
        MomentLocalizer.from_pretrained(folder, device="cpu")
    assert not (folder / "ran").exists()


def test_folder_of_another_program_is_not_overwritten(localizer, folder):
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="is no model of this package"):
        localizer.save_pretrained(folder)


# ---- The hub ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hub():
    with hub_server() as server:
        yield server


@pytest.fixture
def online(hub, monkeypatch):
    """The hub, asked by whatever code runs in this test."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    if not commits_anywhere():  # then this is the hub of HF_ENDPOINT
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
        template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    return hub


def test_model_is_pushed_and_pulled_and_then_opens_without_the_hub(localizer, online, tmp_path, monkeypatch):
    hub = {"endpoint": online.endpoint, "token": TOKEN}
    address = localizer.push_to_hub("someone/tiny", private=True, **hub)
    commit = address.rpartition("/")[2]
    stored = online.commits[commit].keys() - {".gitattributes"}
    assert stored >= {"config.json", "model.safetensors", "text_encoder/tokenizer.json", "README.md"}
    assert "POST /api/validate-yaml" in online.requests

    place = {"cache_dir": tmp_path / "cache", "device": "cpu"}
    pulled = MomentLocalizer.from_pretrained("someone/tiny", **place, **hub)
    assert pulled.path == f"someone/tiny@{commit}"
    np.testing.assert_array_equal(scores(pulled), scores(localizer))
    for missing, sentence in (({"revision": "v9"}, "no revision v9"), ({"token": False}, "none that you may see")):
        with pytest.raises(CheckpointError, match=sentence):
            MomentLocalizer.from_pretrained("someone/tiny", cache_dir=tmp_path / "other", **{**hub, **missing})

    online.requests.clear()
    cached = MomentLocalizer.from_pretrained("someone/tiny", **place, local_files_only=True)
    assert (cached.path, online.requests) == (pulled.path, [])
    monkeypatch.setattr("mmn.utils.hub.HUB_TIMEOUT", 0.5)
    gone = {"endpoint": "http://127.0.0.1:9"}  # nobody listens
    assert MomentLocalizer.from_pretrained(pulled.path, **place, **gone).path == pulled.path
    with pytest.raises(CheckpointError, match="not on this machine and the Hugging Face hub does not give it"):
        MomentLocalizer.from_pretrained("someone/other", **place, **gone)


def test_client_that_is_too_old_for_another_hub_is_told_before_it_commits(localizer, hub, monkeypatch):
    @dataclass
    class OldInfo:
        commit_url: str

    monkeypatch.setattr("huggingface_hub.CommitInfo", OldInfo)
    hub.requests.clear()
    with pytest.raises(CheckpointError, match=f"set HF_ENDPOINT={hub.endpoint} and leave out endpoint"):
        localizer.push_to_hub("someone/tiny", endpoint=hub.endpoint, token=TOKEN)
    assert hub.requests == []


def test_only_weights_and_texts_are_fetched(localizer, online, tmp_path):
    hub = {"endpoint": online.endpoint, "token": TOKEN}
    localizer.push_to_hub("someone/odd", **hub, branch="v1")
    online.commit(
        "someone/odd", "v1", {"modeling.py": b"raise SystemExit", "weights.pth": b"x", "text_encoder/x.py": b""}
    )
    pulled = MomentLocalizer.from_pretrained("someone/odd@v1", cache_dir=tmp_path, device="cpu", **hub)
    assert model_identity(pulled.encoder) == model_identity(localizer.encoder)
    fetched = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not fetched & {"modeling.py", "weights.pth"}


def test_hub_that_refuses_a_page_is_there_all_the_same(hub, monkeypatch):
    assert hub_answers(hub.endpoint)
    assert hub_answers(f"{hub.endpoint}/no-such-page")  # 404
    monkeypatch.setattr("mmn.utils.hub.HUB_TIMEOUT", 0.5)
    assert not hub_answers("http://127.0.0.1:9")  # nobody listens
