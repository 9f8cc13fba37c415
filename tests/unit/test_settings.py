import pytest

from sciwright import settings as module
from sciwright.errors import UsageError
from sciwright.settings import Settings, load


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "settings.toml"
    monkeypatch.setattr(module, "user_file", lambda: path)
    return path


def test_the_file_overrides_the_environment(file):
    file.write_text("candidates = 3\n")
    settings, problems = load({"SCIWRIGHT_CANDIDATES": "2", "SCIWRIGHT_SEED": "7", "SCIWRIGHT_CACHE": "/x"})
    assert (settings.candidates, settings.seed, problems) == (3, 7, [])


def test_no_file_gives_defaults(file):
    assert load({}) == (Settings(), [])


def test_broken_file(file):
    file.write_text("candidates = [")
    with pytest.raises(UsageError, match="not valid TOML"):
        load({})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("candidates", "4", 4),
        ("candidates", 4.0, 4),
        ("temperature", "0.5", 0.5),
        ("temperature", 1, 1.0),
        ("api_key_command", "pass show lab", ("pass", "show", "lab")),
        ("api_key_command", ["pass", "show"], ("pass", "show")),
        ("endpoint", None, ""),
    ],
)
def test_values_are_converted(name, value, expected):
    settings, problems = Settings().with_values({name: value}, "the editor")
    assert (getattr(settings, name), problems) == (expected, [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("candidates", "many"),
        ("candidates", 0),
        ("candidates", 1.5),
        ("candidates", True),
        ("temperature", "nan"),
        ("temperature", 3),
        ("model", 5),
        ("api_key_command", [1]),
        ("colour", "blue"),
    ],
)
def test_unusable_values_are_named_and_their_defaults_used(name, value):
    settings, (problem,) = Settings().with_values({name: value}, "the editor")
    assert settings == Settings()
    assert repr(name) in problem
    assert "the editor" in problem
