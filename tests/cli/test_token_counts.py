"""Tokens of a sample, counted by a tokenizer or by Gemini's service."""

import gzip
import json
from pathlib import Path

import pytest

from tests.backends.managed.jobs import pairs
from tests.standin.process import StandIn
from tests.standin.session import PROJECT, REGION
from tunepipe.cli import token_counts
from tunepipe.errors import CloudError, DataError, UsageError


def write(path: Path, lines: list[str]) -> str:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(path)


def rows(count: int) -> list[str]:
    return [json.dumps(row) for row in pairs(count)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.json for which every word is a token."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    words.save(str(path))
    return path


def test_a_sample_is_the_same_each_time_and_never_all_of_many_rows(tmp_path: Path) -> None:
    files = [write(tmp_path / name, rows(600)) for name in "ab"]
    first = token_counts.sample(files, "auto")
    assert first == token_counts.sample(files, "palm")
    assert len(first) == token_counts.SAMPLE
    assert first != token_counts.sample(files[:1], "auto")
    assert len(token_counts.sample([write(tmp_path / "c", rows(30))], "auto")) == 30


def test_a_packed_file_is_sampled_as_what_it_holds(tmp_path: Path) -> None:
    plain = write(tmp_path / "rows.jsonl", rows(30))
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(Path(plain).read_bytes()))
    assert token_counts.sample([str(packed)], "auto") == token_counts.sample([plain], "auto")


def test_rows_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    broken = ["", "no json", '{"input_text": "\\ud800", "output_text": "x"}']
    path = write(tmp_path / "rows.jsonl", [*rows(3), *broken])
    assert len(token_counts.sample([path], "auto")) == 3
    with pytest.raises(DataError, match="no row can be read"):
        token_counts.sample([write(tmp_path / "bad.jsonl", broken)], "palm")


def test_a_tokenizer_counts_the_marks_of_its_template_too(tmp_path: Path, tokenizer: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    sample = token_counts.sample([write(tmp_path / "rows.jsonl", rows(10))], "auto")
    bare = token_counts.by_tokenizer(sample, str(tokenizer))
    # "question 0" and "answer 0": 10 + 8 characters, 4.5 tokens by characters; two words each.
    assert (bare.rows, bare.estimated, bare.counted) == (10, 45, 40)
    template = "{% for m in messages %}[ {{ m.content }} ] {% endfor %}"
    chat = PreTrainedTokenizerFast(
        tokenizer_file=str(tokenizer), chat_template=template, eos_token="]"
    )
    chat.save_pretrained(tmp_path / "chat")
    assert token_counts.by_tokenizer(sample, str(tmp_path / "chat")).counted == 80


@pytest.mark.parametrize("name", ["broken.json", "."])
def test_what_is_no_tokenizer_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path / "broken.json", ["{}"])
    sample = token_counts.sample([write(tmp_path / "rows.jsonl", rows(1))], "auto")
    with pytest.raises(UsageError) as caught:
        token_counts.by_tokenizer(sample, str(tmp_path / name))
    assert str(tmp_path / name) in caught.value.where


def test_geminis_service_counts_where_the_model_answers(cloud: StandIn, tmp_path: Path) -> None:
    cloud.fault("CountTokens", code=429)
    sample = token_counts.sample([write(tmp_path / "rows.jsonl", rows(60))], "auto")
    found = token_counts.by_service(sample, "gemini-3.5-flash", PROJECT, REGION, {})
    texts = [text for row in pairs(60) for text in row.values()]
    assert found.counted == sum(-(-len(text) // 3) for text in texts)  # the stand-in's count
    calls = cloud.calls("CountTokens")
    assert [call["code"] for call in calls] == [429, 200, 200, 200]
    assert {call["host"] for call in calls} == {"aiplatform.eu.rep.googleapis.com"}


def test_a_service_that_refuses_to_count_is_told(cloud: StandIn, tmp_path: Path) -> None:
    cloud.fault("CountTokens", code=403, message="Permission denied")
    sample = token_counts.sample([write(tmp_path / "rows.jsonl", rows(5))], "auto")
    with pytest.raises(CloudError, match="Permission denied"):
        token_counts.by_service(sample, "gemini-3.5-flash", PROJECT, REGION, {})
