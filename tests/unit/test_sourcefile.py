import subprocess
import sys

import pytest

from sciwright.errors import SciwrightError, UsageError
from sciwright.sourcefile import read


@pytest.mark.parametrize(
    "data",
    [
        "x = 'é'\n".encode(),
        "\ufeffx = 'é'".encode(),
        "# coding: latin-1\r\nx = 'é'\r\n".encode("latin-1"),
        "# coding: cp1252\nx = '€'".encode("cp1252"),
        b"",
        b"x = 1\x0c\n",
    ],
)
def test_what_is_not_edited_stays_as_it_is(data, tmp_path):
    path = tmp_path / "a.py"
    path.write_bytes(data)
    path.chmod(0o750)
    read(path).rewrite(lambda text: text)
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o750
    read(path).rewrite(lambda text: text + "y")
    assert path.read_bytes() == data + b"y"
    assert [p.name for p in tmp_path.iterdir()] == ["a.py"]


def test_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "target.py", tmp_path / "link.py"
    target.write_text("x")
    link.symlink_to(target)
    read(link).rewrite(str.upper)
    assert link.is_symlink()
    assert target.read_text() == "X"


def test_text_that_the_encoding_cannot_hold(tmp_path):
    path = tmp_path / "a.py"
    path.write_bytes(b"# coding: latin-1\n")
    with pytest.raises(SciwrightError, match="UTF-8"):
        read(path).rewrite(lambda text: text + "Ω")
    assert path.read_bytes() == b"# coding: latin-1\n"


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("x = 1\n")
    code = (
        "import resource, signal, sys, pathlib\n"
        "from sciwright.sourcefile import read\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "read(pathlib.Path(sys.argv[1])).rewrite(lambda text: text * 1000)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert "cannot be written" in result.stderr
    assert path.read_text() == "x = 1\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a.py"]


@pytest.mark.parametrize(
    ("data", "words"), [(b"\x7fELF\0", "binary"), (b"x = '\xff'", "not text"), (b"# coding: x\n", "not text")]
)
def test_what_is_no_python_text(data, words, tmp_path):
    path = tmp_path / "a.py"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=words):
        read(path)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        read(tmp_path / "none.py")
    with pytest.raises(UsageError, match="folder"):
        read(tmp_path)
