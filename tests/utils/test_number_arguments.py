"""Numbers of a command line are refused in a sentence where they lie outside their range."""

import argparse

import pytest

from mmn.utils.number_arguments import above_zero, whole_number

WHOLE, POSITIVE = "must be a whole number of at least 1", "must be a number above 0"


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [(whole_number, text, WHOLE) for text in ("0", "-3", "2.5", "x", "")]
    + [(above_zero, text, POSITIVE) for text in ("0", "-1", "nan", "inf", "x")],
)
def test_number_outside_its_range_ends_with_the_usage(capsys, kind, text, words):
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=kind)
    with pytest.raises(SystemExit):
        parser.parse_args([f"--number={text}"])
    assert capsys.readouterr().err.endswith(f"argument --number: {text!r} {words}\n")


def test_number_within_its_range_is_taken():
    assert (whole_number("12"), above_zero("0.5")) == (12, 0.5)
