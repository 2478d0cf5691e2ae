"""Config files of other programs, told apart by what they say, with their values by our names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mmn.config import official_tan2d
from mmn.utils.errors import ConfigError

Values = dict[str, object]  # by full key

# HC-STVG's and the third-party 2D-TAN's files say MODEL.TAN where this says MODEL.MMN, and TAN for what each of them is.
RELEASED_SECTION, SECTION = "MODEL.TAN.", "MODEL.MMN."
RELEASED_ARCHITECTURES = {"TAN": "STVG"}  # on a command line, which has no other mark
INTEGRATOR = "MODEL.TAN.INTEGRATOR."
THIRD_PARTY_KEYS = {
    f"{INTEGRATOR}QUERY_HIDDEN_SIZE": "MODEL.TAN2D.TEXT.HIDDEN_SIZE",
    f"{INTEGRATOR}LSTM.NUM_LAYERS": "MODEL.TAN2D.TEXT.NUM_LAYERS",
    "INPUT.PRE_QUERY_SIZE": "MODEL.TAN2D.TEXT.EMBEDDING_SIZE",
    "MODEL.WEIGHT": "SOLVER.INIT_WEIGHTS",
}
BIDIRECTIONAL = f"{INTEGRATOR}LSTM.BIDIRECTIONAL"


def our_name(key: str) -> str:
    """The name here of a key of MODEL.TAN; other keys as they are."""
    return SECTION + key.removeprefix(RELEASED_SECTION) if key.startswith(RELEASED_SECTION) else key


def _third_party(values: Values, where: str) -> Values:
    """The values of a file of ChenJoya/2dtan (SPEC section 10)."""
    if values.get(BIDIRECTIONAL):
        raise ConfigError(f"{where} sets {BIDIRECTIONAL} to {values[BIDIRECTIONAL]}: the LSTM here has one direction")
    kept = {key: value for key, value in values.items() if key != BIDIRECTIONAL}
    return {**{THIRD_PARTY_KEYS.get(key, key): value for key, value in kept.items()}, "MODEL.ARCHITECTURE": "TAN2D"}


@dataclass(frozen=True)
class Dialect:
    """Manner in which the files of another program say what ours do.

    Attributes:
        is_spoken: tells by the values of a file whether it is of that program.
        in_code: values that the program has in its code, by our names; those of the file go over them.
        translate: values of a file, and where they are from -> the values by our names. Raises ConfigError, which names
            the key, for what cannot be said here.
    """

    is_spoken: Callable[[Values], bool]
    in_code: Mapping[str, object]
    translate: Callable[[Values, str], Values]


DIALECTS = (
    Dialect(
        lambda values: any(key.startswith(official_tan2d.SECTION) for key in values),
        official_tan2d.IN_CODE,
        official_tan2d.translate,
    ),
    Dialect(
        lambda values: values.get("MODEL.ARCHITECTURE") == "TAN" and any(key.startswith(INTEGRATOR) for key in values),
        {
            "MODEL.TAN2D.MASK_FUSION": False,
            "SOLVER.OPTIMIZER": "adam",
            "SOLVER.SCHEDULE": "multistep",
            "SOLVER.CLIP_GRAD_NORM": 0.0,
            "SOLVER.TEST_ITERS": 0,
        },
        _third_party,
    ),
    Dialect(  # HC-STVG's
        lambda values: str(values.get("MODEL.ARCHITECTURE")) in RELEASED_ARCHITECTURES,
        {"SOLVER.CLIP_GRAD_NORM": 10.0},
        lambda values, where: values,
    ),
)


def translate(files: list[tuple[str, Values]]) -> list[tuple[str, Values]]:
    """(Where they are from, values) pairs by our names, and first what the programs of such files have in their code."""
    translated: list[tuple[str, Values]] = []
    for where, values in files:
        dialect = next((dialect for dialect in DIALECTS if dialect.is_spoken(values)), None)
        if dialect is not None:
            translated.insert(0, ("the program of the file", dict(dialect.in_code)))
            values = dialect.translate(values, where)
        translated.append((where, values))
    return translated
