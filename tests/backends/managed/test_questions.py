"""What a Gemini or an open model is asked, and what is read of its answer; nothing is sent."""

import gzip
import hashlib
import json
from types import SimpleNamespace

import pytest
from google.genai import types

from tests.backends.managed.test_gemini import PICTURE, TOOLS
from tunepipe.backends.base import Answer, Prompt
from tunepipe.backends.managed import gemini_prediction, open_model_prediction, rows
from tunepipe.backends.managed.jobs import TUNING_JOBS
from tunepipe.backends.managed.open_model import OpenModelTuner
from tunepipe.data.parts import Call, write_answer

TURNS = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "yes?"},
    {"role": "user", "content": "why"},
)
PROMPT = Prompt("1", TURNS)
PLAIN = {"temperature": 0.0, "max_output_tokens": 256}
BASE = "projects/p/locations/eu/publishers/google/models/gemini-2.5-pro"
ENDPOINT = "projects/p/locations/eu/endpoints/1"
# How little a model may think: its own family's word first, then the newest.
PRO = [
    {"thinking_budget": 128},
    {"thinking_level": "MINIMAL"},
    {"thinking_level": "LOW"},
    {"thinking_budget": 0},
]
ANY = [
    {"thinking_level": "MINIMAL"},
    {"thinking_level": "LOW"},
    {"thinking_budget": 0},
    {"thinking_budget": 128},
]


def asked(config, thinking):
    return [*(config | {"thinking_config": each} for each in thinking), config]


@pytest.mark.parametrize(
    ("model", "settings", "configs"),
    [
        (BASE, {}, asked(PLAIN, PRO)),
        (ENDPOINT, {}, asked(PLAIN, ANY)),
        (ENDPOINT, {"base_model": "gemini-2.5-pro"}, asked(PLAIN, PRO)),
        (
            BASE,
            {"temperature": 1, "max_output_tokens": 8.0, "seed": 3.0, "top_p": 1},
            asked({"temperature": 1.0, "max_output_tokens": 8, "seed": 3, "top_p": 1.0}, PRO),
        ),
        (
            BASE,
            {"thinking_budget": 7.0, "seed": 1},
            [{**PLAIN, "seed": 1, "thinking_config": {"thinking_budget": 7}}],
        ),
    ],
)
def test_how_gemini_is_asked(model, settings, configs):
    assert gemini_prediction._configs(model, settings) == configs


def test_what_gemini_is_asked():
    turns = [("user", "hello"), ("model", "yes?"), ("user", "why")]
    contents = [types.Content(role=role, parts=[types.Part(text=text)]) for role, text in turns]
    alone = {"automatic_function_calling": {"disable": True}}
    system = {"system_instruction": types.Content(parts=[types.Part(text="Be brief.")])}
    assert gemini_prediction._request(PROMPT) == (contents, {**alone, **system})
    assert gemini_prediction._request(Prompt("1", TURNS[1:])) == (contents, alone)
    row = {
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}, {"role": "model"}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "tools": TOOLS,
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
    }
    assert gemini_prediction._request(Prompt("1", (), row, "gemini")) == (
        contents[:1],
        {
            **alone,
            **system,
            "tools": [types.Tool.model_validate(TOOLS[0])],
            "tool_config": types.ToolConfig.model_validate(row["toolConfig"]),
        },
    )


def candidate(*parts, reason="STOP"):
    return {"content": {"role": "model", "parts": list(parts)}, "finishReason": reason}


CALL = {"functionCall": {"name": "order", "args": {"n": 1}}}
READ = [
    ({"promptFeedback": {"blockReason": "SAFETY"}}, None, "blocked: SAFETY", {}),
    ({"promptFeedback": {}}, None, "no candidate came", {}),
    ({}, None, "no candidate came", {}),
    ({"candidates": [{"finishReason": "SAFETY"}]}, None, "SAFETY", {}),
    ({"candidates": [candidate(reason="MAX_TOKENS")]}, None, "MAX_TOKENS", {}),
    ({"candidates": [candidate({"text": "hm", "thought": True})]}, None, "STOP", {}),
    ({"candidates": [{}]}, None, "None", {}),
    (
        {"candidates": [candidate({"text": "a"}, {"text": "b"}), candidate({"text": "c"})]},
        "ab", "", {},
    ),
    (
        {"candidates": [candidate({"text": "hm", "thought": True}, {"text": "Well"}, CALL)]},
        write_answer("Well", [Call("order", {"n": 1})]),
        "",
        {},
    ),
    (
        {"candidates": [candidate({"functionCall": {"name": "order"}})]},
        write_answer("", [Call("order", {})]),
        "",
        {},
    ),
    (
        {
            "candidates": [candidate({"text": "a"})],
            "usageMetadata": {
                "promptTokenCount": 7, "candidatesTokenCount": 2, "thoughtsTokenCount": 3,
            },
        },
        "a",
        "",
        {"input_tokens": 7, "output_tokens": 5},
    ),
    (
        {"candidates": [candidate({"text": "a"})], "usageMetadata": {"promptTokenCount": 7}},
        "a",
        "",
        {"input_tokens": 7},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("response", "text", "error", "tokens"), READ)
def test_what_is_read_of_geminis_answer(response, text, error, tokens):
    found = gemini_prediction._answer("1", types.GenerateContentResponse.model_validate(response))
    if text is None and "candidates" in response:
        error = f"no text came, and the model stopped for {error}"
    assert found == Answer("1", text, error, **tokens)


class Service:
    """Google's client that refuses with each of some messages in turn, and then answers."""

    def __init__(self, *messages):
        self.messages, self.configs = list(messages), []
        self.models = self

    def generate_content(self, model, contents, config):
        from google.api_core import exceptions as api

        rest = {"automatic_function_calling", "system_instruction"}
        self.configs.append({name: config[name] for name in config.keys() - rest})
        if self.messages:
            raise api.BadRequest(self.messages.pop(0))
        return types.GenerateContentResponse.model_validate(
            {"candidates": [candidate({"text": "a"})]}
        )


LOW = {"thinking_config": {"thinking_level": "LOW"}}
THINKS = [{**PLAIN, **LOW}, PLAIN]
TOKENS = {"max_output_tokens": 256}


@pytest.mark.parametrize(
    ("messages", "configs", "answer"),
    [
        ([], THINKS[:1], Answer("1", "a")),
        (["Thinking level: no"], THINKS, Answer("1", "a")),
        (["thinking", "thinking"], THINKS, Answer("1", None, "refused: thinking")),
        (["TopP: no"], [THINKS[0], {**TOKENS, **LOW}], Answer("1", "a")),
        (["thinking", "seed"], [*THINKS, TOKENS], Answer("1", "a")),
        (["thinking", "seed", "seed"], [*THINKS, TOKENS], Answer("1", None, "refused: seed")),
        (["too long"], THINKS[:1], Answer("1", None, "refused: too long")),
    ],
)  # fmt: skip
def test_gemini_is_asked_again_only_for_what_it_refuses(messages, configs, answer):
    service = Service(*messages)
    assert gemini_prediction._ask(service, ENDPOINT, PROMPT, THINKS) == answer
    assert service.configs == configs


def test_a_row_that_cannot_be_written_is_refused_in_one_line():
    fields = {"contents": [{"role": "user", "parts": [{"picture": 1}, PICTURE]}, {}]}
    found = gemini_prediction._ask(Service(), ENDPOINT, Prompt("1", (), fields, "gemini"), THINKS)
    assert found.error.startswith("refused: 1 validation error for Content")
    assert "\n" not in found.error


LIMITS = {"max_tokens": 256, "temperature": 0.0}
MESSAGES = {"@requestFormat": "chatCompletions", "messages": list(TURNS)}


@pytest.mark.parametrize(
    ("settings", "body"),
    [
        ({}, {**MESSAGES, **LIMITS}),
        (
            {"max_output_tokens": 8.0, "temperature": 1},
            {**MESSAGES, "max_tokens": 8, "temperature": 1.0},
        ),
        ({"request_format": "prompt"}, {"prompt": "Be brief.\n\nhello\n\nyes?\n\nwhy", **LIMITS}),
    ],
)  # fmt: skip
def test_what_an_open_model_is_asked(settings, body):
    assert open_model_prediction._write(PROMPT, settings) == body


@pytest.mark.parametrize(
    ("format", "row", "is_so"),
    [
        ("gemini", {"contents": []}, False),
        ("preference", {"contents": [], "completions": []}, False),
        ("preference", {"input": {}, "preferred_output": []}, True),
        ("prompt-completion", {"prompt": [{"role": "user"}]}, True),
        ("prompt-completion", {"prompt": "text"}, False),
    ],
)
def test_what_a_service_cannot_read_as_it_is(tmp_path, format, row, is_so):
    text = f"\n \n{json.dumps({'prompt': 'text'})}\n{json.dumps(row)}\n".encode()
    (tmp_path / "rows").write_bytes(text)
    (tmp_path / "rows.gz").write_bytes(gzip.compress(text))
    assert rows._is_shaped_otherwise(str(tmp_path / "rows"), format) is is_so
    assert rows._is_shaped_otherwise(str(tmp_path / "rows.gz"), format) is True


def test_what_is_sent_is_counted_as_it_is_written(tmp_path):
    data = b'{"a": 1}\n\n{"a": 2}'
    (tmp_path / "rows").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    copy = str(tmp_path / "copy.jsonl")
    for uri, sent in (("gs://b/rows.jsonl", "gs://b/rows.jsonl"), ("gs://b/rows", copy)):
        found = rows._write(str(tmp_path / "rows"), uri, "gemini", {"x": 1}, copy)
        assert found == rows.Sent(sent, 2, 18, digest, "gemini", {"x": 1})
    assert (tmp_path / "copy.jsonl").read_bytes() == data


@pytest.mark.parametrize(
    ("files", "is_there"),
    [((), False), (("config.json",), False), (("config.json", "model.safetensors"), True)],
)
def test_weights_are_there_with_every_file(tmp_path, files, is_there):
    folder = tmp_path / "postprocess/node-0/checkpoints/final"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).write_text("x")
    job = SimpleNamespace(output_uri=f"{tmp_path}/")
    assert OpenModelTuner().result_exists(job) is is_there
    assert OpenModelTuner().result(job, {}) == (str(folder), "")
    assert OpenModelTuner().result(SimpleNamespace(output_uri=None), {"endpoint": "e"}) == ("", "e")


@pytest.mark.parametrize(
    ("state", "epochs", "detail"),
    [("RUNNING", None, ""), ("RUNNING", 1, "1 epoch done"), ("PAUSED", 2, "paused, 2 epochs done")],
)
def test_what_is_said_of_a_job_that_runs(state, epochs, detail):
    metadata = types.TuningJobMetadata(completed_epoch_count=epochs) if epochs else None
    job = types.TuningJob(state=f"JOB_STATE_{state}", tuning_job_metadata=metadata)
    assert TUNING_JOBS.detail(job) == detail


@pytest.mark.parametrize(
    ("tuned", "words"),
    [
        (None, "no"),
        ({"model": "m"}, "no; its model is m"),
        ({"model": "m", "endpoint": "e"}, "no; its model is e"),
    ],
)
def test_a_job_that_failed_names_the_model_it_has_made(tuned, words):
    job = types.TuningJob(error={"message": "no"}, state="JOB_STATE_FAILED", tuned_model=tuned)
    assert TUNING_JOBS.failure(job) == words
