"""Settings come from the environment, the user's file and the editor, the later over the earlier."""

from dataclasses import fields
from pathlib import Path

import pytest

from sciwright import settings
from sciwright.errors import UsageError
from sciwright.settings import Settings


@pytest.fixture
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the user's file, in a folder of the test's own."""
    for variable in ("XDG_CONFIG_HOME", "HOME", "APPDATA", "LOCALAPPDATA", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    path = settings.user_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_without_anything_the_defaults_hold(user_file: Path) -> None:
    assert not user_file.exists()
    assert settings.load({}) == (Settings(), [])


def test_each_setting_is_described() -> None:
    assert all(field.metadata["describe"].endswith(".") for field in fields(Settings))


def test_every_default_is_a_value_that_could_be_set() -> None:
    values = {field.name: field.default for field in fields(Settings)}
    assert Settings().with_values(values, "the test") == (Settings(), [])


def test_the_later_source_wins(user_file: Path) -> None:
    user_file.write_text('endpoint = "http://file/v1"\nseed = 2\n', encoding="utf-8")
    environment = {
        "SCIWRIGHT_ENDPOINT": "http://environment/v1",
        "SCIWRIGHT_SEED": "1",
        "SCIWRIGHT_MODEL": "small",
    }
    loaded, problems = settings.load(environment)
    final, more = loaded.with_values({"seed": 3, "trigger": None}, "the editor")
    assert (final.model, final.endpoint, final.seed, final.trigger) == ("small", "http://file/v1", 3, "Task")
    assert problems + more == []


def test_other_variables_with_the_prefix_are_not_settings(user_file: Path) -> None:
    environment = {
        "SCIWRIGHT_CACHE": "/somewhere",
        "SCIWRIGHT_API_KEY": "secret",
        "SCIWRIGHT_": "x",
        "sciwright_seed": "7",
        "SEED": "7",
        "MY_SCIWRIGHT_SEED": "7",
    }
    assert settings.load(environment) == (Settings(), [])


@pytest.mark.parametrize(
    ("name", "value", "converted"),
    [
        ("seed", "12", 12),
        ("seed", " 12 ", 12),
        ("seed", 12.0, 12),
        ("candidates", 64, 64),
        ("candidates", 1, 1),
        ("temperature", "0.5", 0.5),
        ("temperature", 2, 2.0),
        ("connect_timeout", "0.1", 0.1),
        ("model", "", ""),
        ("api_key_command", ["pass", "show", "my key"], ("pass", "show", "my key")),
        ("api_key_command", "pass show key", ("pass", "show", "key")),
        ("api_key_command", [], ()),
    ],
)
def test_values_are_converted(name: str, value: object, converted: object) -> None:
    result, problems = Settings().with_values({name: value}, "the editor")
    assert problems == []
    assert getattr(result, name) == converted
    assert type(getattr(result, name)) is type(converted)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("candidates", "many", "a number is expected"),
        ("candidates", "", "a number is expected"),
        ("candidates", True, "a number is expected"),
        ("candidates", [3], "a number is expected"),
        ("candidates", {}, "a number is expected"),
        ("candidates", float("inf"), "a number is expected"),
        ("candidates", float("nan"), "a number is expected"),
        ("candidates", "9" * 5000, "a number is expected"),
        ("candidates", 2.5, "a whole number is expected"),
        ("candidates", 0, "a number from 1 to 64 is expected"),
        ("candidates", "65", "a number from 1 to 64 is expected"),
        ("seed", -1, "a number from 0 to 2147483647 is expected"),
        ("seed", 2**31, "a number from 0 to 2147483647 is expected"),
        ("temperature", 2.01, "a number from 0.0 to 2.0 is expected"),
        ("temperature", "nan", "a number from 0.0 to 2.0 is expected"),
        ("temperature", 10**400, "a number is expected"),
        ("connect_timeout", 0, "a number from 0.1 to 600.0 is expected"),
        ("model", 7, "text is expected"),
        ("trigger", ["Task"], "text is expected"),
        ("api_key_command", 7, "a list of words is expected"),
        ("api_key_command", ["pass", 7], "a list of words is expected"),
        ("api_key_command", {"pass": "show"}, "a list of words is expected"),
    ],
)
def test_a_bad_value_is_named_once_and_left_out(name: str, value: object, expected: str) -> None:
    before = Settings(candidates=3, seed=5)
    result, problems = before.with_values({name: value, "max_tokens": 100}, "the editor")
    assert problems == [f"setting {name!r} from the editor is not usable ({expected}) and is ignored"]
    assert getattr(result, name) == getattr(before, name)
    assert (result.candidates, result.seed, result.max_tokens) == (3, 5, 100)


@pytest.mark.parametrize("name", ["colour", "max-tokens", "Seed", "with_values", ""])
def test_an_unknown_setting_is_named(name: str) -> None:
    assert Settings().with_values({name: "x"}, "the editor") == (
        Settings(),
        [f"unknown setting {name!r} from the editor is ignored"],
    )


def test_complaints_name_their_origin_and_never_the_value(user_file: Path) -> None:
    user_file.write_text("candidates = 'sk-secret'\n[server]\nport = 1\n", encoding="utf-8")
    loaded, problems = settings.load({"SCIWRIGHT_SEED": "sk-secret", "SCIWRIGHT_CANDIDATES": "4"})
    assert loaded == Settings(candidates=4)
    assert len(problems) == 3
    assert "'seed' from the environment" in problems[0]
    assert f"'candidates' from {user_file}" in problems[1]
    assert f"'server' from {user_file}" in problems[2]
    assert "sk-secret" not in "".join(problems)


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xef\xbb\xbfseed = 0\r\n"])
def test_a_file_may_be_empty_and_come_from_windows(user_file: Path, content: bytes) -> None:
    user_file.write_bytes(content)
    assert settings.load({}) == (Settings(), [])


@pytest.mark.parametrize(
    "content", [b"seed = ", b"seed: 1", b"seed = 1\nseed = 2", b"trigger = '\xff'", b"\0"]
)
def test_a_broken_file_is_named(user_file: Path, content: bytes) -> None:
    user_file.write_bytes(content)
    with pytest.raises(UsageError, match="is not valid TOML") as caught:
        settings.load({})
    assert str(user_file) in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(user_file: Path) -> None:
    user_file.mkdir()
    with pytest.raises(UsageError, match="cannot be read") as caught:
        settings.load({})
    assert str(user_file) in str(caught.value)
