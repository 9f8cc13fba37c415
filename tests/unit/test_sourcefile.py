"""Files on disk keep everything but the text that is inserted, or all of it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sciwright import sourcefile
from sciwright.errors import SciwrightError, UsageError

on_posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes, links and limits")


def append(text: str) -> str:
    return f"{text}x = 1"


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("# é 😀\n".encode(), "utf-8"),
        ("# é 😀\n".encode("utf-8-sig"), "utf-8-sig"),
        ("# coding: utf-8\n# é\n".encode("utf-8-sig"), "utf-8-sig"),
        ("# -*- coding: latin-1 -*-\n# é\n".encode("latin-1"), "iso-8859-1"),
        ("#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n# €\n".encode("cp1252"), "cp1252"),
        ("# coding: shift_jis\n# 名前\n".encode("shift_jis"), "shift_jis"),
        (b"a\r\nb\r\n", "utf-8"),
        (b"a\rb\r", "utf-8"),
        (b"a\nb\r\nc\rd", "utf-8"),
        ("a\u2028b\x0b\x0c\x85".encode(), "utf-8"),
        (b"no final newline", "utf-8"),
        (b"", "utf-8"),
        (b"x = '" + b"a" * 5_000_000 + b"'\n", "utf-8"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value[:24]),
)
def test_a_rewritten_file_differs_only_in_what_was_added(
    tmp_path: Path, content: bytes, encoding: str
) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(content)
    file = sourcefile.read(path)
    assert file.encoding == encoding
    assert not file.text.startswith("\ufeff")
    file.rewrite(append)
    assert path.read_bytes() == content + b"x = 1"
    assert [p.name for p in tmp_path.iterdir()] == ["a.py"]


def test_the_edit_is_made_to_the_text_as_it_is_now(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"a\n")
    file = sourcefile.read(path)
    path.write_bytes("b é\n".encode("utf-8-sig"))
    file.rewrite(append)
    assert path.read_bytes() == "b é\nx = 1".encode("utf-8-sig")


@on_posix
@pytest.mark.parametrize("mode", [0o644, 0o600, 0o755, 0o664, 0o640])
def test_the_mode_stays(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"a\n")
    path.chmod(mode)
    sourcefile.read(path).rewrite(append)
    assert path.stat().st_mode & 0o7777 == mode


@on_posix
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder" / "target.py"
    target.write_bytes(b"a\n")
    link = tmp_path / "link.py"
    link.symlink_to("folder/target.py")
    sourcefile.read(link).rewrite(append)
    assert link.is_symlink()
    assert target.read_bytes() == b"a\nx = 1"
    assert [p.name for p in target.parent.iterdir()] == ["target.py"]


def test_an_edit_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"a\n")

    def refuse(text: str) -> str:
        raise SciwrightError("The task comment was changed")

    with pytest.raises(SciwrightError, match="was changed"):
        sourcefile.read(path).rewrite(refuse)
    assert [p.name for p in tmp_path.iterdir()] == ["a.py"]
    assert path.read_bytes() == b"a\n"


def fails_to_rewrite(path: Path, match: str) -> None:
    """Check that rewriting fails with a message that names the file, which stays as it was, alone."""
    before, beside = path.read_bytes(), sorted(path.parent.iterdir())
    file = sourcefile.read(path)
    with pytest.raises(SciwrightError, match=match) as caught:
        file.rewrite(lambda text: f"{text}x = '€'\n" + "# filler\n" * 10_000)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert sorted(path.parent.iterdir()) == beside


def test_a_character_that_the_encoding_lacks(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"# coding: latin-1\n# \xe9\n")
    fails_to_rewrite(path, "'€', which .* cannot hold in its encoding iso-8859-1")


def test_a_file_that_its_encoding_would_change(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"# coding: cp932\n# \xfa\x54\n")  # written back, this character becomes \x81\xca
    fails_to_rewrite(path, "cannot be written as it is in its encoding cp932")


@on_posix
def test_a_full_disk(tmp_path: Path) -> None:
    """A limit on file sizes stands in for it: the write fails in the middle, too."""
    import resource

    path = tmp_path / "a.py"
    path.write_bytes(b"a\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        fails_to_rewrite(path, "cannot be written \\(File too large\\)")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """A folder with a.py in it that this process cannot change, even as root."""
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    (folder / "a.py").write_bytes(b"a\n")
    folder.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(user)
    folder.chmod(0o755)
    shutil.rmtree(folder)


@on_posix
def test_a_read_only_folder(read_only_folder: Path) -> None:
    fails_to_rewrite(read_only_folder / "a.py", "cannot be written \\(Permission denied\\)")


@on_posix
def test_a_file_that_may_not_be_read(read_only_folder: Path) -> None:
    user = os.geteuid()
    os.seteuid(os.getuid())
    (read_only_folder / "a.py").chmod(0)
    os.seteuid(user)
    with pytest.raises(UsageError, match="cannot be read \\(Permission denied\\)"):
        sourcefile.read(read_only_folder / "a.py")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"\x7fELF\0\1", "is a binary file"),
        ("a = 1\n".encode("utf-16"), "is a binary file"),
        (b"# \xe9\n", "is not text that Python can read"),
        (b"a\n" * 1000 + b"# \xff\n", "is not text that Python can read"),
        (b"# coding: klingon\n", "unknown encoding"),
        (b"# coding: rot13\n", "is not text that Python can read"),
        (b"# coding: undefined\n", "is not text that Python can read"),
        (b"\xef\xbb\xbf# coding: latin-1\n", "is not text that Python can read"),
    ],
)
def test_what_is_no_python_text(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=match) as caught:
        sourcefile.read(path)
    assert str(path) in str(caught.value)
    assert caught.value.mend


@on_posix
@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("missing.py", "There is no file"),
        ("folder", "is a folder"),
        ("loop.py", "cannot be read"),
        ("a.py/b.py", "cannot be read"),
        ("x" * 300, "cannot be read"),
    ],
)
def test_what_is_no_file(tmp_path: Path, name: str, match: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.py").write_bytes(b"")
    (tmp_path / "loop.py").symlink_to("loop.py")
    with pytest.raises(UsageError, match=match):
        sourcefile.read(tmp_path / name)
