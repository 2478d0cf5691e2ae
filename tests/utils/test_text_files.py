"""Reading text, json and yaml as people write them."""

import pytest
import yaml

from mmn.utils.text_files import UniqueKeyLoader, numbered_lines, parse_json, parse_yaml, read_text


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_byte_order_mark_is_no_part_of_the_text(tmp_path, mark):
    path = tmp_path / "text"
    path.write_bytes(mark + "é\r\n".encode())
    assert read_text(str(path)) == "é\r\n"


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "c": 2, "a": 3}}]'])
def test_repeated_key_of_json_is_named(text):
    with pytest.raises(ValueError, match="'a'"):
        parse_json(text)


@pytest.mark.parametrize(
    "text, lines",
    [
        ("a: 1\nb: 2\na: 3", (3, 1)),
        ("top:\n  a: 1\n  'a': 1", (3, 2)),
        ("- {x: 1}\n- {a: 1, b: {},\n   a: 2}", (3, 2)),
    ],
)
@pytest.mark.parametrize("read", [parse_yaml, lambda text: yaml.compose(text, Loader=UniqueKeyLoader)])
def test_repeated_key_of_yaml_is_named_with_its_lines(text, lines, read):
    with pytest.raises(yaml.YAMLError) as error:
        read(text)
    assert "'a'" in str(error.value)
    assert all(f"line {line}" in str(error.value) for line in lines)


def test_one_key_in_several_mappings_and_over_a_merged_one_is_fine():
    content = parse_yaml("base: &base {a: 1, b: 2}\nother:\n  <<: *base\n  a: 3\nlist: [{a: 1}, {a: 2}]\n1: x\n'1': y")
    assert content["other"] == {"a": 3, "b": 2}
    assert (content["list"], content[1], content["1"]) == ([{"a": 1}, {"a": 2}], "x", "y")


def test_lines_end_at_line_feeds_alone():
    assert list(numbered_lines("a\u2028b\r\n\n c\n")) == [(1, "a\u2028b"), (3, " c")]
