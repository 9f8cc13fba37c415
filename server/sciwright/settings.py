"""Every setting, once, typed.

Environment variables (`SCIWRIGHT_ENDPOINT=...`) are overridden by the user's file (`settings.toml` in the
user's configuration folder), which is overridden by what the editor sends or the command line says.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from sciwright.errors import UsageError

ENVIRONMENT_PREFIX = "SCIWRIGHT_"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user can choose. `describe` in a field's metadata is the reference documentation."""

    trigger: str = field(default="Task", metadata={"describe": "The word that starts a task comment."})
    model: str = field(
        default="",
        metadata={
            "describe": "Local engine: a name from `sciwright models` or the path of a GGUF file. "
            "Endpoint: the model's name there (default: the first that it lists)."
        },
    )
    endpoint: str = field(
        default="",
        metadata={
            "describe": "Base URL of an OpenAI-compatible server, with its /v1; empty: the local engine."
        },
    )
    api_key_env: str = field(
        default="SCIWRIGHT_API_KEY",
        metadata={"describe": "Name of the environment variable that holds the endpoint's key."},
    )
    api_key_command: tuple[str, ...] = field(
        default=(), metadata={"describe": "Command that prints the endpoint's key, as a list of words."}
    )
    candidates: int = field(
        default=1,
        metadata={
            "describe": "How many candidates to draw at most; the first good one is used.",
            "range": (1, 64),
        },
    )
    max_tokens: int = field(
        default=400, metadata={"describe": "The most tokens to draw for a candidate.", "range": (1, 32_768)}
    )
    context_tokens: int = field(
        default=1024,
        metadata={"describe": "How much of the buffer above the task the model sees.", "range": (0, 131_072)},
    )
    temperature: float = field(
        default=0.7,
        metadata={
            "describe": "Temperature of the second and later candidates; the first is greedy.",
            "range": (0.0, 2.0),
        },
    )
    seed: int = field(
        default=0, metadata={"describe": "Seed of the sampled candidates.", "range": (0, 2**31 - 1)}
    )
    connect_timeout: float = field(
        default=10.0, metadata={"describe": "Seconds to wait for a connection.", "range": (0.1, 600.0)}
    )
    read_timeout: float = field(
        default=60.0,
        metadata={"describe": "Seconds of silence after which a request fails.", "range": (0.1, 3600.0)},
    )
    threads: int = field(
        default=0,
        metadata={
            "describe": "Threads of the local engine; 0: one fewer than the cores.",
            "range": (0, 1024),
        },
    )

    def with_values(self, values: Mapping[str, Any], origin: str) -> tuple["Settings", list[str]]:
        """Return a copy with `values` applied, and one line for each value that was not usable.

        Args:
            values: Setting names to values; text is converted to the setting's type.
            origin: Where the values come from, for the complaint ("the environment", "the editor").
        """
        known = {f.name: f for f in fields(self)}
        hints = get_type_hints(type(self))
        accepted: dict[str, Any] = {}
        problems = []
        for name, value in values.items():
            if value is None:
                continue
            if name not in known:
                problems.append(f"unknown setting {name!r} from {origin} is ignored")
                continue
            try:
                accepted[name] = _convert(value, hints[name], known[name].metadata.get("range"))
            except ValueError as error:
                problems.append(f"setting {name!r} from {origin} is not usable ({error}) and is ignored")
        return replace(self, **accepted), problems


def load(environment: Mapping[str, str] = os.environ) -> tuple[Settings, list[str]]:
    """Return the settings from the environment and the user's file, with complaints about bad values.

    Raises:
        UsageError: The user's file is not TOML, or cannot be read.
    """
    names = {f.name for f in fields(Settings)}
    from_environment = {
        key.removeprefix(ENVIRONMENT_PREFIX).lower(): value
        for key, value in environment.items()
        if key.startswith(ENVIRONMENT_PREFIX) and key.removeprefix(ENVIRONMENT_PREFIX).lower() in names
    }
    settings, problems = Settings().with_values(from_environment, "the environment")
    path = user_file()
    try:
        from_file = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return settings, problems
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML ({error})", "Correct it or move it away") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from None
    settings, more = settings.with_values(from_file, str(path))
    return settings, problems + more


def user_file() -> Path:
    """Return where the user's own settings live (the file need not exist)."""
    import platformdirs

    return Path(platformdirs.user_config_dir("sciwright")) / "settings.toml"


def _convert(value: Any, hint: Any, bounds: tuple[float, float] | None) -> Any:
    """Return `value` as the type `hint`, or raise ValueError with what was expected."""
    if get_origin(hint) is tuple:
        words = value.split() if isinstance(value, str) else value
        if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
            raise ValueError("a list of words is expected")
        return tuple(words)
    if hint is str:
        if not isinstance(value, str):
            raise ValueError("text is expected")
        return value
    if isinstance(value, bool):
        raise ValueError("a number is expected")
    try:
        number = hint(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a number is expected") from None
    if hint is int and isinstance(value, float) and value != number:
        raise ValueError("a whole number is expected")
    if bounds and not bounds[0] <= number <= bounds[1]:
        raise ValueError(f"a number from {bounds[0]} to {bounds[1]} is expected")
    return number
