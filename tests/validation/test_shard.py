import json

import pytest

from tests.validation.test_fuzz import mutated
from tunepipe.errors import UsageError
from tunepipe.validation.merge import merge
from tunepipe.validation.shard import write_part
from tunepipe.validation.validate import validate


@pytest.fixture
def shards(tmp_path):
    paths = [tmp_path / f"{number}.jsonl" for number in range(8)]
    for number, path in enumerate(paths):
        path.write_bytes(b"\n".join(mutated("palm", seed) for seed in range(number, number + 6)))
    return paths


def test_parts_put_together_are_one_validation(tmp_path, shards):
    parts = []
    for number, shard in enumerate(shards):
        parts.append(tmp_path / f"{number}.part")
        write_part([shard], parts[-1], format="palm", max_problems=70)
    whole = validate(shards, format="palm", max_problems=70)
    assert merge(parts) == whole
    assert whole.stats["duplicate_rows"] > 0


def test_what_cannot_be_put_together_is_refused(tmp_path, shards):
    palm, other = tmp_path / "palm.part", tmp_path / "other.part"
    write_part(shards[:1], palm, format="palm")
    write_part(shards[:1], other, format="prompt-completion")
    with pytest.raises(UsageError, match="the part is of prompt-completion"):
        merge([palm, other])
    with pytest.raises(UsageError, match="not a part of a validation"):
        merge([shards[0]])
    with pytest.raises(UsageError, match="no part is given"):
        merge([])


def test_files_that_rows_of_several_shards_point_to_are_reported_once(tmp_path):
    def row(number, name):
        file = {"fileUri": f"gs://b/{name}.png", "mimeType": "image/png"}
        asked = [{"text": f"what is {number}?"}, {"fileData": file}]
        answer = {"role": "model", "parts": [{"text": "a cat"}]}
        return json.dumps({"contents": [{"role": "user", "parts": asked}, answer]}) + "\n"

    sizes = {"gs://b/small.png": 1000, "gs://b/large.png": 30 << 20}
    shards, parts = [], []
    for number, names in enumerate((["small", "gone"], ["gone", "large", "small"], ["large"])):
        shards.append(tmp_path / f"{number}.jsonl")
        shards[-1].write_text("".join(row(f"{number}-{name}", name) for name in names))
        parts.append(tmp_path / f"{number}.part")
        write_part([shards[-1]], parts[-1], format="gemini", size_of=sizes.get)
    report = merge(parts)
    assert report == validate(shards, format="gemini", size_of=sizes.get)
    found = [(x.path, x.line, x.code) for x in report.problems if x.level == "error"]
    assert found == [(str(shards[0]), 2, "missing-file"), (str(shards[1]), 2, "media-limit")]
    assert report.errors == 2
