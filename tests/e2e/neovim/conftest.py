"""A scripted model, and a Neovim whose server asks it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .editor import Editor
from .endpoint import CODE, ScriptedEndpoint, serve


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with serve(ScriptedEndpoint(CODE)) as endpoint:
        yield endpoint


@pytest.fixture
def editor(tmp_path: Path, endpoint: ScriptedEndpoint) -> Iterator[Editor]:
    with Editor(tmp_path / "home", settings={"endpoint": endpoint.url}) as editor:
        yield editor
