"""Rows of a table, from `--vary` or from a file of named rows, and the runs that they need."""

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import yaml
from yacs.config import CfgNode

from mmn.config import load_config, validate
from mmn.utils.errors import ConfigError, failed_read
from mmn.utils.text_files import UniqueKeyLoader, read_text

BASELINE = "baseline"  # the name, and the folder, of what changes nothing
# Set for each run, or the same for all rows, which are compared on the same queries.
RESERVED = ("OUTPUT_DIR", "SOLVER.SEED", "SOLVER.RESUME", "SOLVER.RESUME_EPOCH", "DATASETS.TEST")
EVALUATION = "TEST."  # keys below it need no training of their own
LONGEST_NAME = 100  # characters of a folder's name


@dataclass(frozen=True)
class Row:
    """A row of the table: a name and what it changes, (key, value as on the command line) in the order given."""

    name: str
    changes: tuple[tuple[str, str], ...]

    @property
    def training(self) -> tuple[tuple[str, str], ...]:
        """The changes that need a training of their own."""
        return tuple(change for change in self.changes if not change[0].startswith(EVALUATION))

    @property
    def predictions(self) -> str:
        """The name of its prediction file, in the folder of the training."""
        return f"predictions_{folder_name(self.evaluation)}.jsonl" if self.evaluation else "predictions.jsonl"

    @property
    def evaluation(self) -> tuple[tuple[str, str], ...]:
        """The changes that the evaluation alone reads: rows that differ in no others share their trained models."""
        return tuple(change for change in self.changes if change[0].startswith(EVALUATION))


def grid_rows(variations: Sequence[str]) -> list[Row]:
    """All combinations of the values in "KEY=V1,V2" texts; the first values make the first row.

    Commas inside brackets, braces and quotes belong to the value.

    >>> [row.name for row in grid_rows(["A.B=1,2"])]
    ['A.B=1', 'A.B=2']
    """
    axes = []
    for text in variations:
        key, equals, values = text.partition("=")
        key = key.strip()
        choices = [value.strip() for value in split_values(values)]
        if not key or not equals or not all(choices):
            raise ConfigError(f"--vary {text!r} is not of the form KEY=V1,V2")
        _refuse_repeated(choices, f"--vary {key}", "value")
        axes.append([(key, value) for value in choices])
    _refuse_repeated([axis[0][0] for axis in axes], "--vary", "key")
    rows = [Row(describe_changes(changes), changes) for changes in itertools.product(*axes)]
    return _checked(rows, "--vary")


def split_values(text: str) -> list[str]:
    """Split at the commas outside brackets and quotes.

    >>> split_values("[15, 8],[15]")
    ['[15, 8]', '[15]']
    """
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        if character == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def read_rows(path: str) -> list[Row]:
    """The rows of a yaml file, in its order; the first is what the others are compared with. Such a file looks like this:

        all: {}
        without IoU loss: {MODEL.MMN.LOSS.IOU_WEIGHT: 0}
        IoU loss alone:
          MODEL.MMN.LOSS.CONTRASTIVE_WEIGHT: 0
          TEST.SCORE: iou

    Raises ConfigError where the file cannot be read or has another form.
    """
    try:
        root = yaml.compose(read_text(path), Loader=UniqueKeyLoader)
    except OSError as error:
        raise ConfigError(f"the file of rows {path} cannot be read ({failed_read(error)}): check --runs") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"the file of rows {path} is not valid yaml: {' '.join(str(error).split())}") from error
    if not isinstance(root, yaml.MappingNode) or not root.value:
        raise ConfigError(
            f"the file of rows {path} must hold rows like `without margin: {{MODEL.MMN.LOSS.MARGIN: 0.0}}`"
        )
    rows = []
    for name, changes in root.value:
        where = f"row {name.value!r} of {path}"
        if not isinstance(changes, yaml.MappingNode):
            raise ConfigError(f"{where} must map keys to values, {{}} where nothing changes")
        rows.append(Row(str(name.value).strip(), tuple(_changes(changes, where))))
    return _checked(rows, path)


def _changes(node: yaml.MappingNode, where: str) -> Iterator[tuple[str, str]]:
    # From the nodes, as yaml would read the text of `SOLVER.AMP: off` as False.
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or not isinstance(value, (yaml.ScalarNode, yaml.SequenceNode)):
            raise ConfigError(f"{where} must map full key names such as MODEL.MMN.LOSS.MARGIN to values")
        yield key.value, _value_text(value, where)


def _value_text(node: yaml.Node, where: str) -> str:
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if not isinstance(node, yaml.SequenceNode):
        raise ConfigError(f"{where} has a value that is neither a plain value nor a list of them")
    items = [
        _value_text(item, where) if item.tag != "tag:yaml.org,2002:str" else repr(item.value) for item in node.value
    ]
    return f"[{', '.join(items)}]"


def _checked(rows: list[Row], where: str) -> list[Row]:
    for row in rows:
        keys = [key for key, _ in row.changes]
        _refuse_repeated(keys, f"row {row.name!r} of {where}", "key")
        for key in keys:
            if key in RESERVED:
                raise ConfigError(f"row {row.name!r} of {where} sets {key}, which a row cannot change: leave it out")
    _refuse_repeated([row.name for row in rows], where, "row")
    _refuse_repeated([sorted(row.changes) for row in rows], where, "set of changes")
    return rows


def _refuse_repeated(values: Sequence, where: str, kind: str) -> None:
    for number, value in enumerate(values):
        if value in values[:number]:
            raise ConfigError(f"{where} has the {kind} {value!r} twice: leave one out")


def describe_changes(changes: Sequence[tuple[str, str]]) -> str:
    """The changes of a row in one line: full key names but for the prefix that most share.

    >>> describe_changes([("MODEL.MMN.LOSS.MARGIN", "0.2"), ("SOLVER.LR", "0.1")])
    'LOSS.MARGIN=0.2, SOLVER.LR=0.1'
    """
    return ", ".join(f"{key.removeprefix('MODEL.MMN.')}={value}" for key, value in changes) or BASELINE


def folder_name(changes: Sequence[tuple[str, str]]) -> str:
    """A file name for what is changed: the same in every call, another one for every other change.

    A part of a hash is added where the description holds characters that file systems may refuse, or is too long.

    >>> folder_name([("SOLVER.LR", "0.1"), ("MODEL.MMN.LOSS.MARGIN", "0.2")])
    'LOSS.MARGIN=0.2,SOLVER.LR=0.1'
    """
    text = describe_changes(sorted(changes)).replace(", ", ",")
    safe = re.sub(r"[^A-Za-z0-9._=,+-]+", "-", text)
    if safe == text and len(text) <= LONGEST_NAME:
        return text
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return f"{safe[: LONGEST_NAME - 9]}-{digest}"


def run_config(
    config_file: str, options: Sequence[str], changes: Sequence[tuple[str, str]], fixed: Mapping[str, object], name: str
) -> tuple[CfgNode, list[str]]:
    """The checked config of one run and the KEY VALUE pairs that give it.

    Args:
        options: KEY VALUE pairs of all runs.
        changes: KEY, value of what the row changes; they win over `options`.
        fixed: values of RESERVED keys.
        name: the row's, for the ConfigError that says why its config cannot work.
    """
    given = [(key, str(value)) for key, value in fixed.items()]
    pairs = [*options, *itertools.chain.from_iterable([*changes, *given])]
    try:
        cfg = load_config(config_file, pairs)
        validate(cfg)
    except ConfigError as error:
        raise ConfigError(f"row {name!r}: {error}") from error
    return cfg, pairs
