import json
from datetime import date
from typing import Any

import pytest
import typer

from tunepipe.cli import config, main
from tunepipe.cli.main import command_app
from tunepipe.errors import UsageError

VERBS: Any = typer.main.get_command(command_app())


def test_shared_settings_go_to_the_verbs_that_take_them():
    found = config.defaults({"region": "europe-west4", "bucket": "gs://b"}, VERBS)
    assert found["plan"] == {"region": "europe-west4"}
    assert found["run"] == {"region": "europe-west4", "bucket": "gs://b"}
    assert found["convert"] == {}
    assert found["schedule"]["list"] == {"region": "europe-west4"}
    assert found["schedule"]["apply"] == {"region": "europe-west4", "bucket": "gs://b"}


def test_a_verbs_own_settings_win():
    given = {
        "region": "europe-west4",
        "plan": {"region": "us-central1", "max-cost-usd": 5},
        "schedule": {"apply": {"cron": "0 3 * * 1"}},
        "tables": {"prices": {}},
    }
    found = config.defaults(given, VERBS)
    assert found["plan"] == {"region": "us-central1", "max_cost_usd": "5"}
    assert found["run"] == {"region": "europe-west4"}
    assert found["schedule"]["apply"] == {"region": "europe-west4", "cron": "0 3 * * 1"}


@pytest.mark.parametrize("source", ["file", "environment", "flag"])
def test_a_region_for_all_commands_does_not_refuse_a_plan_for_here(
    tmp_path, monkeypatch, capsys, source
):
    monkeypatch.chdir(tmp_path)
    if source == "file":
        (tmp_path / config.FILE).write_text('region = "us-central1"\n')
    if source == "environment":
        monkeypatch.setenv("TUNEPIPE_REGION", "us-central1")
    flags = ["--region", "us-central1"] if source == "flag" else []
    code = main.run(["plan", "--rows", "100", "--backend", "local", "--json", *flags])
    said = json.loads(capsys.readouterr().out)
    if source == "flag":
        assert (code, said["error"]["found"]) == (3, "tiny is not tuned there")
    else:
        assert (code, said["region"]) == (0, "local")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"regoin": "x"}, "did you mean region?"),
        ({"plan": {"modell": "x"}}, "did you mean model?"),
        ({"plna": {}}, "did you mean plan?"),
        ({"schedule": {"aply": {}}}, "did you mean apply?"),
    ],
)
def test_a_name_that_nobody_knows_is_refused(given, words):
    with pytest.raises(UsageError) as caught:
        config.defaults(given, VERBS)
    assert words in caught.value.fix
    assert config.FILE in caught.value.where


def test_the_tables_file_wins_over_the_settings(tmp_path):
    file = tmp_path / "tables.toml"
    file.write_text("[prices.judge]\ntokens_a_reply = 50\n")
    given = {"tables": {"prices": {"judge": {"tokens_a_reply": 1, "source": "ours"}}}}
    assert config.overrides(given, str(file)) == {
        "prices": {"judge": {"tokens_a_reply": 50, "source": "ours"}}
    }
    assert config.overrides({}, "") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [("[price]\n", "did you mean prices?"), ("a = \n", "is not TOML"), (None, "cannot be read")],
)
def test_a_tables_file_that_cannot_be_is_refused(tmp_path, text, words):
    file = tmp_path / "tables.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match=words):
        config.overrides({}, str(file))


def test_the_file_is_found_in_the_working_directory_or_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config.read() == {}
    (tmp_path / "tunepipe.toml").write_text('region = "here"\n')
    assert config.read() == {"region": "here"}
    monkeypatch.setenv("TUNEPIPE_CONFIG", str(tmp_path / "other.toml"))
    with pytest.raises(UsageError, match="cannot be read") as caught:
        config.read()
    assert caught.value.where == f"TUNEPIPE_CONFIG {tmp_path / 'other.toml'}"
    assert "check the path" in caught.value.fix
    (tmp_path / "other.toml").write_text('region = "there"\n')
    assert config.read() == {"region": "there"}


def test_days_of_the_tables_become_texts_for_a_pipelines_parameter():
    given = {"tables": {"models": {"families": {"palm": {"tunable_until": date(2027, 1, 1)}}}}}
    found = config.overrides(given, "")
    assert found["models"]["families"]["palm"]["tunable_until"] == "2027-01-01"


@pytest.mark.parametrize("given", [{"schedule": {"apply": 3}}, {"schedule": {"apply": ["x"]}}])
def test_a_verb_is_no_setting(given):
    with pytest.raises(UsageError, match=r"'schedule\.apply' is a command") as caught:
        config.defaults(given, VERBS)
    assert caught.value.fix == "[schedule.apply]"


def test_tables_that_are_none_are_refused():
    with pytest.raises(UsageError, match="'tables' must be a TOML table") as caught:
        config.overrides({"tables": "prices.toml"}, "")
    assert caught.value.fix == "--tables prices.toml"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("TUNEPIPE_MAXCOSTUSD", "did you mean TUNEPIPE_MAX_COST_USD?"),
        ("TUNEPIPE_REGOIN", "did you mean TUNEPIPE_REGION?"),
        ("TUNEPIPE_XYZ", "--help"),
    ],
)
def test_a_variable_that_sets_nothing_is_refused(monkeypatch, name, words):
    monkeypatch.setenv(name, "1")
    assert name in config.variables()
    with pytest.raises(UsageError) as caught:
        config.check_variables(config.option_names(VERBS))
    assert caught.value.where == name
    assert words in caught.value.fix


@pytest.mark.parametrize("name", ["TUNEPIPE_REGION", "TUNEPIPE_CRON", "TUNEPIPE_CONFIG"])
def test_our_own_variables_pass(monkeypatch, name):
    monkeypatch.setenv(name, "x")
    config.check_variables(config.option_names(VERBS))


@pytest.mark.parametrize(
    ("given", "variable", "arguments", "wanted"),
    [
        ({}, "", ["plan"], False),
        ({}, "", ["plan", "--json"], True),
        ({}, "1", ["plan"], True),
        ({}, "yes", [], True),
        ({"json": True}, "0", ["plan"], False),
        ({"json": True}, "", ["plan"], True),
        ({"json": True, "plan": {"json": False}}, "", ["plan"], False),
        ({"plan": {"json": True}}, "", ["plan"], True),
        ({"plan": {"json": True}}, "0", ["plan"], False),
        ({"plan": {"json": True}}, "", ["run"], False),
        ({"schedule": {"list": {"json": True}}}, "", ["schedule", "list"], True),
        ({"plan": 3}, "", ["plan"], False),
    ],
)
def test_json_is_asked_for_by_flag_then_variable_then_file(
    monkeypatch, given, variable, arguments, wanted
):
    if variable:
        monkeypatch.setenv("TUNEPIPE_JSON", variable)
    assert config.asks_json(given, arguments) is wanted


@pytest.mark.parametrize(
    ("option", "variable"),
    [("max_cost_usd", "TUNEPIPE_MAX_COST_USD"), ("region", "TUNEPIPE_REGION")],
)
def test_each_option_has_its_variable(option, variable):
    assert config.variable(option) == variable


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("wait = 1", ""),
        ("again = false", ""),
        ("runs = 3", ""),
        ("epochs = 2", ""),
        ('param = "eval_max=20"', ""),
        ('param = ["eval_max=20"]', ""),
        ("epochs = [1]", "epochs takes one value"),
        ("wait = 2.5", "'2.5' is not a valid boolean"),
        ('epochs = { x = 1 }', "epochs takes one value"),
    ],
)  # fmt: skip
def test_a_value_of_any_kind_is_read_as_the_command_line_would(said, tmp_path, setting, words):
    rows = "".join(f'{{"input_text": "q {n}", "output_text": "a {n}"}}\n' for n in range(100))
    (tmp_path / "rows.jsonl").write_text(rows)
    (tmp_path / "tunepipe.toml").write_text(f'[run]\nbackend = "local"\n{setting}\n')
    code, _, err = said("run", "--dataset", "rows.jsonl", "--dry-run")
    assert code == (2 if words else 0)
    assert words in err
