"""Fetching models from the Hugging Face hub and putting them there; whatever fails ends in a sentence.

The hub is the one that HF_ENDPOINT names, else huggingface.co; a token is the one given, else that of `hf auth login`.
"""

import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, NamedTuple

from mmn.utils.errors import CheckpointError

HUB_TIMEOUT = 8.0  # seconds that the hub gets to answer at all
NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
FILE_ENDINGS = (".pth", ".pt", ".ckpt", ".bin", ".tar", ".safetensors")


class Snapshot(NamedTuple):
    """A model as it lies on this machine: its path, and the name by which it is found again."""

    path: str
    name: str


def is_hub_name(text: str) -> bool:
    """Tell whether a text is `user/model` or `user/model@revision`, and neither a file's path nor below a known folder.

    >>> [is_hub_name(text) for text in ("someone/mmn-tacos", "someone/mmn-tacos@v1", "outputs/best.pth", "a/b/c", "best")]
    [True, True, False, False, False]
    """
    is_path = os.path.exists(text) or text.endswith(FILE_ENDINGS) or os.path.isdir(text.partition("/")[0])
    return bool(NAME.fullmatch(text)) and not is_path and not text.startswith(".")


def download_model(
    name: str,
    files: Sequence[str],
    revision: str | None = None,
    cache_dir: str | os.PathLike | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    endpoint: str | None = None,
    force_download: bool = False,
) -> Snapshot:
    """The files of a repository, from the hub where it answers, else from the cache; its name gets the commit.

    Args:
        name: `user/model`, or `user/model@revision`.
        files: patterns of the files to fetch; no others are.
        revision: a branch, tag or commit, in the place of the name's; by default the main branch.
        local_files_only: ask the cache alone.
        cache_dir, token, endpoint, force_download: as huggingface_hub takes them.
    Raises CheckpointError, within seconds, where neither has it.
    """
    from huggingface_hub import snapshot_download

    match = NAME.fullmatch(name)
    if match is None:
        raise CheckpointError(
            f"{name!r} is no name of a model on the hub: it must be user/model, or user/model@revision"
        )
    if revision is not None and match["revision"] is not None and revision != match["revision"]:
        raise CheckpointError(f"{name} names a revision, and revision= names {revision}: give one of them")
    repo, revision = match["repo"], revision or match["revision"]
    only_cached = local_files_only or is_offline() or not hub_answers(endpoint)
    options: dict[str, Any] = {"cache_dir": cache_dir, "token": token, "endpoint": endpoint}
    options |= {"local_files_only": only_cached, "force_download": force_download and not only_cached}
    with _explained(repo, revision, "fetched"):
        folder = str(snapshot_download(repo, revision=revision, allow_patterns=list(files), **options))
    return Snapshot(folder, f"{repo}@{os.path.basename(folder)}")  # the cache names a snapshot's folder by its commit


def upload_model(
    folder: str,
    repo: str,
    files: Sequence[str],
    message: str,
    private: bool | None = None,
    token: str | bool | None = None,
    branch: str | None = None,
    create_pr: bool = False,
    endpoint: str | None = None,
) -> str:
    """Put a folder's files into a repository, which is made where it is not there -> the address of the commit.

    Args:
        files: patterns of the files to upload.
        repo: `user/model`, or `model` of the account that the token is of.
        message: the commit's first line.
        private: whether a new repository is; None as the account's default says.
        branch: made where it is not there; by default the main one.
    Raises CheckpointError where the hub refuses or does not answer, and where huggingface_hub is too old for `endpoint`.
    """
    from huggingface_hub import HfApi, constants

    if not re.fullmatch(r"([\w.-]+/)?[\w.-]+", repo):
        raise CheckpointError(f"{repo!r} is no name of a model on the hub: it must be user/model")
    if endpoint not in (None, constants.ENDPOINT) and not commits_anywhere():
        raise CheckpointError(
            f"this huggingface_hub cannot read the answer of {endpoint} to a commit: set HF_ENDPOINT={endpoint} and leave "
            "out endpoint, or `pip install --upgrade huggingface_hub`"
        )
    api = HfApi(endpoint=endpoint, token=token)
    with _explained(repo, branch, "written"):
        repo = repo if "/" in repo else f"{api.whoami()['name']}/{repo}"
        if not api.repo_exists(repo):
            api.create_repo(repo, private=private)
        if branch is not None:
            api.create_branch(repo, branch=branch, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            commit_message=message,
            revision=branch,
            create_pr=create_pr,
            allow_patterns=list(files),
        )
    return str(commit.pr_url or commit.commit_url)


def commits_anywhere() -> bool:
    """Tell whether huggingface_hub commits to other hubs than that of HF_ENDPOINT; up to 1.0 it commits, then fails."""
    from huggingface_hub import CommitInfo

    return "_endpoint" in {field.name for field in fields(CommitInfo)}


@contextmanager
def _explained(repo: str, revision: str | None, done: str) -> Iterator[None]:
    """Turn the client's errors into CheckpointError."""
    from huggingface_hub import errors

    name = repo if revision is None else f"{repo}@{revision}"
    try:
        yield
    except errors.LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"the model {name} is not on this machine and the Hugging Face hub does not give it: fetch it where there is "
            f"a network (`hf download {repo} --local-dir FOLDER`), then give that folder; if a path was meant, correct it"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"the hub has no revision {revision} of {repo}: correct it") from error
    except errors.GatedRepoError as error:  # a kind of the next
        raise CheckpointError(
            f"the hub gives {repo} only to those who accepted its terms: accept them on its page, then `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"the hub has no model {repo}, or none that you may see: correct the name, or `hf auth login`"
        ) from error
    except (errors.HTTPError, OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"the model {name} cannot be {done} ({reason}): mend this, then try again") from error


def is_offline() -> bool:
    """Tell whether HF_HUB_OFFLINE forbids asking the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")


def hub_answers(endpoint: str | None = None) -> bool:
    """Tell whether the hub answers anything within HUB_TIMEOUT. A thread, since name resolution knows no timeout."""
    from huggingface_hub import constants

    answers = []

    def ask() -> None:
        request = urllib.request.Request(endpoint or constants.ENDPOINT, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=HUB_TIMEOUT).close()
        except urllib.error.HTTPError as error:
            error.close()  # an answer, if not the page: what the hub says of the model itself decides
        except (OSError, ValueError):
            return
        answers.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT)
    return bool(answers)
