"""Keys whose value is one of a few names: config declares the names, other rooms hold what they stand for."""

import pytest

from mmn.config import get_cfg, load_config, validate
from mmn.config.defaults import CHOICES
from mmn.config.load import config_values
from mmn.engine.precision import AMP_DTYPES
from mmn.engine.tasks import TASKS
from mmn.engine.tracking import TRACKERS
from mmn.modeling.batch_norm import BATCH_NORMS
from mmn.modeling.feat2d import FEAT2D
from mmn.modeling.match_rules import MATCH_RULES
from mmn.modeling.scoring import SCORES
from mmn.modeling.text_encoder import OWN, POOLINGS
from mmn.utils.errors import ConfigError


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("MODEL.ARCHITECTURE", TASKS),
        ("MODEL.MMN.FEAT2D.NAME", FEAT2D.entries),
        ("MODEL.MMN.PREDICTOR.BATCH_NORM", BATCH_NORMS),
        ("SOLVER.AMP", AMP_DTYPES),
        ("SOLVER.TRACKER", {"", *TRACKERS.entries}),
        ("TEST.SCORE", SCORES),
        ("TEST.CONTRASTIVE_RULE", MATCH_RULES),
        ("MODEL.MMN.TEXT_ENCODER.POOLING", {*POOLINGS, OWN}),
    ],
)
def test_choices_are_those_that_something_stands_behind(key, names):
    assert set(CHOICES[key]) == set(names)


def test_default_is_one_of_the_choices():
    defaults = config_values(get_cfg())
    assert all(defaults[key] in choices for key, choices in CHOICES.items())


@pytest.mark.parametrize("key", CHOICES)
def test_another_name_is_refused_with_the_choices(key):
    with pytest.raises(ConfigError, match=f"^{key} is 'other': it must be one of .*{CHOICES[key][-1]!r}"):
        validate(load_config(None, [key, "other"]))
