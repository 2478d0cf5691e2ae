"""What tools/demo.py serves: which model, which videos, which library."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmn.apps.demo import demo_command as run
from mmn.apps.demo.demo_command import ExampleRun, PageVideos, run_demo
from mmn.apps.demo.growing_library import GrowingLibrary
from mmn.apps.localize.model_source import ModelSource
from mmn.apps.search.indexed_video import BuildSettings, index_info, video_moments
from mmn.apps.search.vector_store import create_store
from mmn.utils.errors import ConfigError, DataError, UserError

pytest.importorskip("gradio", reason="Gradio is not installed: pip install .[demo]")


@pytest.fixture
def served(demo_localizer, monkeypatch):
    """What would be served, a list of pages, and the models that were loaded for them."""
    pages, models = [], []
    monkeypatch.setattr(run, "load_localizer", lambda source: models.append(source) or demo_localizer)
    monkeypatch.setattr(run, "serve", lambda app, host, port: None)

    def build_app(search, listed, library, begins_with_library):
        if isinstance(library, GrowingLibrary) and library.adding is not None:
            library._thread.join(60)
        names = library.names(9)
        files = {name: library.path_of(name) for name in names}
        listed = [video.name for video in listed]
        pages.append(
            SimpleNamespace(listed=listed, library=library, names=names, files=files, begins=begins_with_library)
        )

    monkeypatch.setattr(run, "build_app", build_app)
    return pages, models


@pytest.fixture
def place(demo_localizer, listed, tmp_path):
    """An index of walk and of lost, whose file is gone, built by a model in a file that is there."""
    (tmp_path / "model.pth").write_bytes(b"")
    info = replace(index_info(demo_localizer), model_name=str(tmp_path / "model.pth"))
    with create_store(str(tmp_path / "index"), info, "exact") as store:
        video = demo_localizer.encode_video(listed[0].path)
        for name, path in (("walk", listed[0].path), ("lost", "/nowhere/lost.mp4")):
            store.put([video_moments(video, BuildSettings(), path=path, video_id=name)])
    return str(tmp_path / "index")


def test_index_is_the_library_and_its_files_can_be_picked(served, place, video_folder):
    pages, models = served
    run_demo(ModelSource("w"), PageVideos(None, str(video_folder / "annotations.json"), place), "h", 1)
    (page,) = pages
    assert (page.listed, page.names, page.begins, page.library.can_grow) == (["walk"], ["lost", "walk"], True, False)
    assert page.library.sentences["walk"]["A man throws a ball."] == ((3, 9),)
    assert models == [ModelSource("w")]


def test_index_names_its_model(served, place):
    run_demo(ModelSource(""), PageVideos(index=place), "h", 1)
    (source,) = served[1]
    assert source.ckpt.endswith("model.pth")
    Path(source.ckpt).unlink()
    with pytest.raises(UserError, match=r"was built by .*model\.pth, which is not there: say where the model is"):
        run_demo(ModelSource(""), PageVideos(index=place), "h", 1)


def test_videos_beside_an_index_are_listed_and_give_it_files(served, place, video_folder, tmp_path):
    lost = tmp_path / "lost.mp4"
    lost.write_bytes((video_folder / "walk.mp4").read_bytes())
    run_demo(ModelSource("w"), PageVideos([str(lost)], None, place), "h", 1)
    (page,) = served[0]
    assert page.listed == ["lost"]
    assert page.files == {"lost": str(lost), "walk": str(video_folder / "walk.mp4")}


def test_index_of_another_model_is_refused(served, place, demo_localizer, monkeypatch):
    weight = next(demo_localizer.model.parameters())
    monkeypatch.setattr(weight, "data", weight.data + 1)
    with pytest.raises(ConfigError, match="is another model: search with the one that built it"):
        run_demo(ModelSource("w"), PageVideos(index=place), "h", 1)


def test_place_without_an_index_is_named(served, tmp_path):
    with pytest.raises(DataError, match="there is no index at"):
        run_demo(ModelSource("w"), PageVideos(index=str(tmp_path)), "h", 1)


def test_without_an_index_the_library_waits_for_the_visitor(served, video_folder):
    run_demo(ModelSource("w"), PageVideos([str(video_folder)]), "h", 1)
    (page,) = served[0]
    assert (page.listed, page.files, page.begins, page.library.can_grow) == (["garden", "walk"], {}, False, True)


@pytest.mark.parametrize("has_example", [True, False])
def test_videos_without_a_model_get_the_one_that_needs_no_network(
    served, video_folder, monkeypatch, tmp_path, has_example
):
    if has_example:
        (tmp_path / "w.pth").write_bytes(b"")
    monkeypatch.setattr(run, "EXAMPLE", ExampleRun(str(tmp_path / "w.pth")))
    run_demo(ModelSource(None), PageVideos([str(video_folder)] if has_example else None), "h", 1)
    assert served[1] == [ModelSource("zero-shot:conse")]


def test_example_fills_its_library_by_itself(served, video_folder, monkeypatch, tmp_path):
    (tmp_path / "w.pth").write_bytes(b"")
    annotations = str(video_folder / "annotations.json")
    monkeypatch.setattr(run, "EXAMPLE", ExampleRun(str(tmp_path / "w.pth"), "encoder", str(video_folder), annotations))
    run_demo(ModelSource(None), PageVideos(), "h", 1)
    (page,) = served[0]
    assert (page.listed, page.begins, page.files) == (["walk"], False, {"walk": str(video_folder / "walk.mp4")})
    assert served[1] == [ModelSource(str(tmp_path / "w.pth"), backbone_weights="encoder")]
