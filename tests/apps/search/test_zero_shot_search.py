"""An index of a dual encoder: videos by their nearest moments, moments by the rule, from what is stored."""

import numpy as np
import pytest
from dual_models import SENTENCES, write_dual
from small_videos import require_av

from mmn import MomentIndex, MomentLocalizer
from mmn.apps.search.build_index import build_index
from mmn.apps.search.confidence import fit_calibration
from mmn.apps.search.indexed_video import BuildSettings
from mmn.apps.search.search_command import open_index
from mmn.apps.search.vector_store import open_store
from mmn.apps.search.video_collections import FeatureCollection
from mmn.utils.errors import ConfigError

require_av()
h5py = pytest.importorskip("h5py")
DURATIONS = {"a": 30.0, "b": 45.0, "long": 300.0}


@pytest.fixture(scope="module")
def localizer(tmp_path_factory):
    return MomentLocalizer.zero_shot(write_dual(tmp_path_factory.mktemp("dual") / "model", "siglip"), device="cpu")


@pytest.fixture(scope="module")
def rows(localizer):
    """Near to the second sentence in the middle of every video, as far as random text vectors allow."""
    text = localizer.encode_queries(SENTENCES).contrastive
    made, generator = {}, np.random.default_rng(0)
    for name, duration in DURATIONS.items():
        noise = generator.standard_normal((int(duration * 2), localizer.input_size)).astype(np.float32)
        noise[len(noise) // 3 : len(noise) // 2] += 3 * (text[1] - text[0])
        made[name] = noise
    return made


@pytest.fixture(scope="module")
def features(rows, localizer, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("features") / "features.hdf5")
    with h5py.File(path, "w") as file:
        for name, values in rows.items():
            file[name] = values
            file[name].attrs["duration"] = DURATIONS[name]
    return FeatureCollection(path, "{vid}", localizer.input_size)


@pytest.fixture(scope="module")
def place(localizer, features, tmp_path_factory):
    place = str(tmp_path_factory.mktemp("index") / "index")
    build_index(localizer, features, place)
    return place


def bounds(moments):
    return [(round(moment.start, 3), round(moment.end, 3)) for moment in moments]


@pytest.mark.parametrize("name", ["a", "b"])  # a longer one has windows, which the localizer asks one by one
def test_moments_of_a_video_come_in_the_order_of_the_localizer(localizer, rows, place, name):
    video = localizer.encode_video(rows[name], DURATIONS[name])
    wanted = localizer.localize(video, SENTENCES, top_k=3)
    with MomentIndex.open(place, localizer) as index:
        found = index.search(SENTENCES, top_k=3, videos=[name])
    for one, other in zip(found, wanted, strict=True):
        assert len(bounds(one.moments)) == 3
        assert bounds(one.moments) == bounds(other.moments)


def test_a_search_of_all_videos_keeps_to_its_options(localizer, place):
    with MomentIndex.open(place, localizer) as index:
        (result,) = index.search(SENTENCES[:1], top_k=40, per_video=None, min_length=2.0, max_length=20.0)
        (few,) = index.search(SENTENCES[:1], top_k=5, per_video=1)
    assert len(result.moments) > 10
    assert all(2.0 <= moment.end - moment.start <= 20.0 for moment in result.moments)
    assert [moment.score for moment in result.moments] == sorted((m.score for m in result.moments), reverse=True)
    assert sorted(moment.video for moment in few.moments) == sorted(DURATIONS)


def test_the_index_remembers_its_dual_encoder(place, localizer):
    with MomentIndex.open(place, localizer.path) as index:
        assert index.search(SENTENCES[0])[0].moments
    with open_index(place, options=["MODEL.DEVICE", "cpu"]) as index:
        assert index.search(SENTENCES[0])[0].moments


def test_an_index_with_moments_left_out_is_refused(localizer, features, tmp_path):
    with pytest.raises(ConfigError, match="needs all moments: leave out --prune"):
        build_index(localizer, features, str(tmp_path / "index"), settings=BuildSettings(prune=0.99))


def test_nothing_fits_is_said_where_the_cosines_are_those_of_wrong_videos(localizer, features, tmp_path):
    place = str(tmp_path / "index")
    build_index(localizer, features, place)
    with open_store(place) as store:
        wrong = np.random.default_rng(0).normal(0.5, 0.3, (30, 30)).astype(np.float32)
        calibration = fit_calibration("split", wrong, np.eye(30, dtype=bool))
        store.write_info(store.info.with_calibration(calibration.to_dict()))
    with MomentIndex.open(place, localizer) as index:
        (found,) = index.search(SENTENCES[0])
        query = localizer.encode_queries(SENTENCES[0]).contrastive[0]
        highest = max(float((index.store.read(name).contrastive @ query).max()) for name in DURATIONS)
        wanted = float(calibration.confidence(np.array(highest), len(DURATIONS)))
        assert found.confidence == pytest.approx(wanted, abs=0.01)
        (strict,) = index.search(SENTENCES[0], threshold=min(1.0, found.confidence + 0.01))
    assert (strict.nothing_fits, strict.moments) == (True, ())
