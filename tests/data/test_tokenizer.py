"""Token ids of sentences, and tokenizers that are refused."""

import contextlib
import logging
import shutil
import socket
import time

import pytest
from tiny import run_python
from transformers import AutoConfig, AutoTokenizer

from mmn.data.tokenizer import QueryTokenizer
from mmn.utils.errors import ConfigError


@pytest.fixture(scope="module")
def folder(dataset_root):
    return str(dataset_root / "synthetic" / "text_encoder")


@pytest.fixture(scope="module")
def tokenizer(folder):
    return QueryTokenizer(folder)


def test_ids_are_those_of_the_library_one_sentence_at_a_time(tokenizer, folder):
    sentences = ["A man lifts the box.", "The girl runs; then she stops!", "Éa UPPER 42"]
    library = AutoTokenizer.from_pretrained(folder)
    assert [ids.tolist() for ids in tokenizer(sentences)] == [library(text)["input_ids"] for text in sentences]


def test_equal_sentences_have_equal_ids_in_their_places(tokenizer):
    ids = [row.tolist() for row in tokenizer(["a man", "the box", "a man", "a man", "the box"])]
    assert ids[0] == ids[2] == ids[3] != ids[1] == ids[4]


def test_ids_begin_with_cls_and_end_with_sep(tokenizer):
    (ids,) = tokenizer(["a man"])
    assert tokenizer.tokenizer.convert_ids_to_tokens([ids[0], ids[-1]]) == ["[CLS]", "[SEP]"]


@pytest.fixture
def warnings(caplog):
    """The project's logger does not propagate once a run has set it up."""
    logger = logging.getLogger("mmn")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_long_sentences_are_cut_with_a_warning(tokenizer, warnings):
    long, short = tokenizer(["box " * 1000, "a box"])
    assert len(long) == tokenizer.max_length == 512
    assert tokenizer.tokenizer.convert_ids_to_tokens([int(long[-1])]) == ["[SEP]"]
    assert len(short) < 10
    assert "1 sentences" in warnings.text
    assert "512" in warnings.text


def test_a_tokenizer_much_smaller_than_its_encoder_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "encoder")
    config = AutoConfig.from_pretrained(folder)
    config.vocab_size = 30522
    config.save_pretrained(tmp_path / "encoder")
    with pytest.raises(ConfigError, match="30522.*TEXT_ENCODER.PRETRAINED"):
        QueryTokenizer(str(tmp_path / "encoder"))


def test_a_tokenizer_larger_than_its_encoder_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "encoder")
    config = AutoConfig.from_pretrained(folder)
    config.vocab_size -= 1
    config.save_pretrained(tmp_path / "encoder")
    with pytest.raises(ConfigError, match="do not\n? ?belong together"):
        QueryTokenizer(str(tmp_path / "encoder"))


@pytest.mark.parametrize("name", ["./no/such/folder", "/no/such/folder"])
def test_missing_folder_is_named(name):
    with pytest.raises(ConfigError, match=f"{name}, which does not exist"):
        QueryTokenizer(name)


def test_folder_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=str(tmp_path)):
        QueryTokenizer(str(tmp_path))


@pytest.fixture
def silent_hub():
    """The address of a server that accepts connections and never answers."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


CALL = """
import time
from mmn.data.tokenizer import QueryTokenizer
from mmn.utils.errors import ConfigError
start = time.perf_counter()
try:
    QueryTokenizer("distilbert-base-uncased")
except ConfigError as error:
    print(error)
print(time.perf_counter() - start)
"""


def test_a_hub_that_does_not_answer_is_given_up_on(silent_hub, tmp_path):
    start = time.perf_counter()
    done = run_python("-c", CALL, HF_ENDPOINT=silent_hub, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="0")
    assert time.perf_counter() - start < 60  # the imports too
    assert done.returncode == 0, done.stderr
    message, seconds = done.stdout.strip().splitlines()
    assert float(seconds) < 15
    assert "hf download distilbert-base-uncased" in message
    assert "MODEL.MMN.TEXT_ENCODER.PRETRAINED" in message


def test_offline_an_encoder_that_is_not_cached_is_refused_at_once(tmp_path):
    done = run_python("-c", CALL, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    message, seconds = done.stdout.strip().splitlines()
    assert float(seconds) < 5
    assert "MODEL.MMN.TEXT_ENCODER.PRETRAINED" in message
