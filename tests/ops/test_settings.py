import pytest

from tunepipe.core.errors import UsageError
from tunepipe.ops import settings

VERBS = {
    "plan": {"region", "model", "max_cost_usd"},
    "run": {"region", "bucket", "label"},
    "schedule": {"apply": {"region", "cron"}, "list": {"region"}},
}


def test_shared_settings_go_to_the_verbs_that_take_them():
    found = settings.defaults({"region": "europe-west4", "bucket": "gs://b"}, VERBS)
    assert found == {
        "plan": {"region": "europe-west4"},
        "run": {"region": "europe-west4", "bucket": "gs://b"},
        "schedule": {"apply": {"region": "europe-west4"}, "list": {"region": "europe-west4"}},
    }


def test_a_verbs_own_settings_win():
    given = {
        "region": "europe-west4",
        "plan": {"region": "us-central1", "max-cost-usd": 5},
        "schedule": {"apply": {"cron": "0 3 * * 1"}},
        "tables": {"prices": {}},
    }
    found = settings.defaults(given, VERBS)
    assert found["plan"] == {"region": "us-central1", "max_cost_usd": 5}
    assert found["run"] == {"region": "europe-west4"}
    assert found["schedule"]["apply"] == {"region": "europe-west4", "cron": "0 3 * * 1"}


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
        settings.defaults(given, VERBS)
    assert words in caught.value.fix
    assert settings.FILE in caught.value.where


def test_the_tables_file_wins_over_the_settings(tmp_path):
    file = tmp_path / "tables.toml"
    file.write_text("[prices.tokens]\nper_ascii_character = 0.5\n")
    given = {"tables": {"prices": {"tokens": {"per_ascii_character": 1, "per_other_character": 2}}}}
    assert settings.overrides(given, str(file)) == {
        "prices": {"tokens": {"per_ascii_character": 0.5, "per_other_character": 2}}
    }
    assert settings.overrides({}, "") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [("[price]\n", "price is no setting"), ("a = \n", "is not TOML"), (None, "cannot be read")],
)
def test_a_tables_file_that_cannot_be_is_refused(tmp_path, text, words):
    file = tmp_path / "tables.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match=words):
        settings.overrides({}, str(file))


def test_the_file_is_found_in_the_working_directory_or_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settings.read() == {}
    (tmp_path / "tunepipe.toml").write_text('region = "here"\n')
    assert settings.read() == {"region": "here"}
    monkeypatch.setenv("TUNEPIPE_CONFIG", str(tmp_path / "other.toml"))
    with pytest.raises(UsageError, match="cannot be read"):
        settings.read()
    (tmp_path / "other.toml").write_text('region = "there"\n')
    assert settings.read() == {"region": "there"}


@pytest.mark.parametrize(
    ("option", "variable"),
    [("max_cost_usd", "TUNEPIPE_MAX_COST_USD"), ("region", "TUNEPIPE_REGION")],
)
def test_each_option_has_its_variable(option, variable):
    assert settings.variable(option) == variable
