"""torchvision, an optional library whose compiled part must fit torch."""

import contextlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from types import ModuleType

import torch

from mmn.utils.errors import UserError


def import_torchvision() -> ModuleType:
    """torchvision. Raises UserError with the version to install where it is missing or does not fit torch."""
    try:
        import torchvision
    except ImportError as error:
        raise UserError(
            f"this backbone needs torchvision, which is missing here ({error}): pip install .[torchvision], or "
            f"{_matching_pair()} where pip would otherwise change torch"
        ) from error
    except (RuntimeError, OSError, AttributeError) as error:
        raise UserError(
            f"torchvision {_installed('torchvision')} does not fit torch {torch.__version__} "
            f"({str(error).splitlines()[0]}): install the pair {_matching_pair()}, both for the CPU or both for the same "
            "CUDA, from the same package index"
        ) from error
    return torchvision


@contextlib.contextmanager
def explains_torchvision() -> Iterator[None]:
    """For what imports models of transformers, which import torchvision where they find it.

    Raises UserError with the version to install where they cannot be imported since torchvision does not fit torch.
    """
    try:
        yield
    except ImportError:
        if importlib.util.find_spec("torchvision") is not None:
            import_torchvision()
        raise


def _matching_pair() -> str:
    """For torch 2.m it is torchvision 0.(m + 15), with the same patch number.

    torch 2.6.0 and torchvision 0.21.0, torch 2.13.0 and torchvision 0.28.0.
    """
    major, minor, patch = torch.__version__.split("+")[0].split(".")[:3]
    if major != "2":
        return f"torch=={torch.__version__} and the torchvision that its release notes name"
    return f"torch=={major}.{minor}.{patch} torchvision==0.{int(minor) + 15}.{patch}"


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "of an unknown version"
