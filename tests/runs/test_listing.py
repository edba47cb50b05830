"""Which run a name means."""

import json
import re

import pytest

from tunepipe.errors import UsageError
from tunepipe.runs import local
from tunepipe.runs.listing import Places

IDS = ("20261125-090000-aaaaaa", "20261126-090000-bbbbbb", "20261126-100000-cccccc")


@pytest.fixture
def folder(tmp_path):
    for name in IDS:
        record = {"id": name, "key": name[-6:], "folder": str(tmp_path / name),
                  "state": "succeeded", "verdict": "better"}  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(record))
    (tmp_path / "work").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("reference", "number"),
    [
        ("latest", 2),
        ("20261125", 0),
        ("20261126-09", 1),
        *((name, n) for n, name in enumerate(IDS)),
    ],
)
def test_a_name_means_one_run(folder, reference, number):
    assert Places(folder).find(reference).id == IDS[number]


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("20261126", "2 runs begin with this"),
        ("work", "no run of this name"),
        ("2027", "no run of this name"),
    ],
)
def test_a_name_of_none_or_of_several_is_refused(folder, reference, found):
    with pytest.raises(UsageError, match=found):
        Places(folder).find(reference)


@pytest.mark.parametrize(("count", "dots"), [(5, ""), (6, ", …")])
def test_of_many_runs_the_newest_five_are_named(tmp_path, count, dots):
    names = [f"20261126-09000{number}-aaaaaa" for number in range(count)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(
            json.dumps({"id": name, "key": "k", "folder": ""})
        )
    with pytest.raises(UsageError) as caught:
        Places(tmp_path).find("2026")
    newest = ", ".join(names[::-1][:5])
    assert caught.value.found == f"{count} runs begin with this: {newest}{dots}"


def test_no_run_is_the_latest_of_none(tmp_path):
    assert Places(tmp_path).runs() == []
    with pytest.raises(UsageError):
        Places(tmp_path).find("latest")


def test_a_resource_name_needs_no_list(tmp_path):
    name = "projects/p/locations/r/pipelineJobs/tune-1"
    assert Places(tmp_path).find(name).name == name


def test_the_command_lists_and_resolves(folder, said):
    code, listed, _ = said("runs", "--runs", folder, "--limit", "2", "--json")
    assert (code, [run["id"] for run in listed["runs"]]) == (0, [IDS[2], IDS[1]])
    assert listed["runs"][0]["created"] == "2026-11-26T10:00:00+00:00"
    code, status, _ = said("status", "latest", "--runs", folder, "--json")
    assert (code, status["id"]) == (0, IDS[2])
    steps = {
        "tune-local": "INFO - Executing task 'tune-local'\nstep 1\n"
        "INFO - Task 'tune-local' finished with status SUCCESS\n",
        "evaluate-model": "INFO - Executing task 'evaluate-model'\nasked of tunepipe\n",
    }
    whole = "INFO - Running pipeline: 'tunepipe-local'\n" + "".join(steps.values())
    coloured = whole.replace("'tune-local'", "\x1b[96m'tune-local'\x1b[0m")
    (folder / IDS[0] / "log.txt").write_text(coloured)
    asked = ("logs", "20261125", "--runs", folder, "--json")
    assert said(*asked)[1]["logs"] == {"log.txt": coloured}
    for part, names in {"tune": ["tune-local"], "ev": ["evaluate-model"], "l": [*steps]}.items():
        code, logs, _ = said(*asked, "--step", part)
        assert (code, logs["logs"]) == (0, {name: steps[name] for name in names})
    code, refused, _ = said(*asked, "--step", "split")
    assert (code, refused["error"]["fix"]) == (2, "tune-local, evaluate-model")
    assert said("cancel", "latest", "--runs", folder, "--json")[0] == 2
    _, _, text = said("runs", "--runs", folder)
    assert IDS[0] in text
    assert "better" in text


BROKEN = {
    "empty": (b"", "truncated"),
    "cut": (b'{"id": "20261126-110000-dd', "truncated"),
    "binary": (b"\xff\xfe\x00", "malformed"),
    "deep": (b"[" * 50_000, "Expected `object`, got `array`"),
    "foreign": (b'{"name": "train", "version": 3}', "missing required field `id`"),
    "other types": (b'{"id": 1, "key": "k", "folder": "f"}', r"Expected `str`.*\.id"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_record_is_named_and_hides_no_other_run(folder, said, content, reason):
    broken = folder / "20261126-110000-dddddd"
    broken.mkdir()
    (broken / "run.json").write_bytes(content)
    (broken / "log.txt").write_text("as far as it came\n")
    code, listed, _ = said("runs", "--runs", folder, "--json")
    assert (code, [run["id"] for run in listed["runs"]]) == (0, [broken.name, *IDS[::-1]])
    assert [run["problem"] for run in listed["runs"][1:]] == ["", "", ""]
    shown = listed["runs"][0]
    assert shown["state"] == "unreadable"
    assert re.search(reason, shown["problem"])
    assert f"{broken / 'run.json'}: the record of the run is broken" in shown["problem"]
    assert f"remove {broken}" in shown["problem"]
    assert shown["problem"] in " ".join(said("runs", "--runs", folder)[2].split())
    # Others are found by a prefix and by their work, and only this one's status is an error.
    assert said("status", "20261125", "--runs", folder, "--json")[1]["id"] == IDS[0]
    assert local.succeeded(folder, "bbbbbb").id == IDS[1]
    for name in (broken.name, "20261126-11", "latest"):
        code, refused, _ = said("status", name, "--runs", folder, "--json")
        assert (code, refused["error"]["where"]) == (2, str(broken / "run.json"))
        assert f"remove {broken}" in refused["error"]["fix"]
    logs = said("logs", broken.name, "--runs", folder, "--json")[1]["logs"]
    assert logs == {"log.txt": "as far as it came\n"}


def test_runs_on_vertex_ai_are_listed_and_an_unlisted_id_is_asked_for(cloud, said, tmp_path):
    place = ("--runs", tmp_path, "--project", "demo-project", "--region", "us-central1", "--json")
    code, listed, _ = said("runs", *place)
    assert (code, listed) == (0, {"runs": []})
    code, refused, _ = said("status", "tune-older", *place)
    assert code == 4
    assert refused["error"]["where"].endswith("us-central1/pipelineJobs/tune-older")
