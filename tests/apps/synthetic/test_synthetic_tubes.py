"""The made-up dataset of tubes: it says what it shows, the same every time."""

import filecmp

import naive_tubes
import numpy as np
import pytest

from mmn.apps.benchmark.tubes import plain_piece_ious
from mmn.apps.synthetic.options import SyntheticStvgOptions
from mmn.apps.synthetic.synthetic_tubes import (
    ACTIONS,
    CLOTHES,
    COLOURS,
    HEIGHT,
    KINDS,
    WIDTH,
    concept_vectors,
    make_candidates,
    make_scene,
    render_frames,
    write_synthetic_stvg,
)
from mmn.utils.errors import ConfigError

SCENES = [make_scene("train", index, seed=3) for index in range(40)]


def concepts_said(sentence, names):
    """The concepts of which some form stands in the sentence, as whole words."""
    words = f" {sentence.lower().rstrip('.')} "

    def forms(name):
        said = names[name]
        return [form for part in said for form in (part if isinstance(part, tuple) else (part,))]

    return [name for name in names if any(f" {form} " in words for form in forms(name))]


@pytest.mark.parametrize("scene", SCENES[:10], ids=range(10))
def test_sentence_says_who_it_is_and_what_they_do(scene):
    person = scene.people[0]
    assert concepts_said(scene.sentence, KINDS) == [person.kind]
    assert concepts_said(scene.sentence, CLOTHES) == [person.clothes]
    assert concepts_said(scene.sentence, ACTIONS) == [person.actions[scene.action][0]]


def test_nobody_else_does_the_same_and_looks_the_same():
    for scene in SCENES:
        person = scene.people[0]
        action = person.actions[scene.action][0]
        for other in scene.people[1:]:
            is_like = (other.kind, other.clothes) == (person.kind, person.clothes)
            assert not (is_like and action in [name for name, *_ in other.actions])


def test_neither_the_person_nor_the_action_is_enough():
    """Somebody else does the same in many videos, and looks the same in some."""
    same_action = same_person = 0
    for scene in SCENES:
        person = scene.people[0]
        action = person.actions[scene.action][0]
        same_action += any(action in [name for name, *_ in other.actions] for other in scene.people[1:])
        same_person += any((other.kind, other.clothes) == (person.kind, person.clothes) for other in scene.people[1:])
    assert same_action >= 15
    assert same_person >= 10


def test_actions_follow_each_other_within_the_tube():
    for scene in SCENES:
        for person in scene.people:
            bounds = [row for _, start, stop in person.actions for row in (start, stop)]
            assert bounds == sorted(bounds)
            assert bounds[-1] <= int(person.tube.lengths)
            assert all(start < stop for _, start, stop in person.actions)
            assert int(person.tube.first_frames + person.tube.lengths) <= scene.num_frames


def test_boxes_are_within_the_picture():
    for scene in SCENES:
        for person in scene.people:
            boxes = person.tube.boxes
            assert (boxes[:, :2] >= 0).all()
            assert (boxes[:, 2] <= WIDTH).all()
            assert (boxes[:, 3] <= HEIGHT).all()


def test_one_candidate_follows_the_truth():
    rng = np.random.default_rng(0)
    for scene in SCENES[:10]:
        candidates, inside = make_candidates(scene, rng)
        truth = naive_tubes.frames_of(scene.truth(), 0)
        number = inside.index(scene.people[0])
        tube = naive_tubes.frames_of(candidates, number)
        spatial, temporal = plain_piece_ious({frame: tube[frame] for frame in truth}, truth)
        assert temporal == 1
        assert spatial > 0.6
        assert len(inside) == len(candidates.lengths) == len(scene.people) + (scene.false_tube is not None)


def test_concepts_are_unit_vectors():
    vectors = concept_vectors(8, seed=0)
    assert vectors.keys() == {*KINDS, *CLOTHES, *ACTIONS}
    assert np.allclose([np.linalg.norm(vector) for vector in vectors.values()], 1)


def test_same_seed_gives_the_same_files(tmp_path):
    options = SyntheticStvgOptions(num_train=2, num_val=1, num_test=1, dim=4)
    folders = [write_synthetic_stvg(tmp_path / name, options, log=lambda line: None) for name in ("one", "two")]
    names = [path.relative_to(folders[0]) for path in folders[0].rglob("*") if path.is_file()]
    assert len(names) >= 16
    _, mismatch, errors = filecmp.cmpfiles(*folders, names, shallow=False)
    assert (mismatch, errors) == ([], [])


def test_video_does_not_depend_on_how_many_there_are():
    assert make_scene("train", 5, seed=3).sentence == SCENES[5].sentence


def test_drawn_person_is_in_their_box():
    scene = SCENES[0]
    person = scene.people[0]
    first = int(person.tube.first_frames)
    images = list(render_frames(scene))
    assert len(images) == scene.num_frames
    for row in (0, int(person.tube.lengths) - 1):
        x1, y1, x2, y2 = person.tube.boxes[row].round().int().tolist()
        body = images[first + row][(y1 + y2) // 2 : y2 + 1, x1 : x2 + 1]
        assert (body == COLOURS[person.clothes]).all()


@pytest.mark.parametrize("change", [{"num_val": 0}, {"dim": 0}, {"noise": -1.0}, {"seed": -1}], ids=str)
def test_impossible_sizes_are_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        SyntheticStvgOptions(**change)
