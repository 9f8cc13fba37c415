"""Python files on disk, read and written without changing anything but the text that is inserted."""

import io
import os
import tempfile
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sciwright.errors import SciwrightError, UsageError


@dataclass(frozen=True, slots=True)
class SourceFile:
    """The text of a Python file with its own line ends, and how it is encoded."""

    path: Path
    text: str
    encoding: str

    def rewrite(self, edit: Callable[[str], str]) -> None:
        """Replace the file by what `edit` makes of its text as it is now; readers see the old or the new.

        Line ends, encoding, byte order mark and file mode stay. A symbolic link stays a link.

        Raises:
            SciwrightError: The file cannot be written; it is then as it was.
        """
        target = self.path.resolve()
        now = read(self.path)
        text = edit(now.text)
        temporary: str | None = None
        try:
            if now.text.encode(now.encoding) != target.read_bytes():  # some have two forms of one character
                raise SciwrightError(
                    f"{self.path} cannot be written as it is in its encoding {now.encoding}",
                    "Save the file as UTF-8",
                )
            data = text.encode(now.encoding)
            mode = target.stat().st_mode
            with tempfile.NamedTemporaryFile(
                dir=target.parent, prefix=f".{target.name}.", delete=False
            ) as file:
                temporary = file.name
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(mode & 0o7777)
            Path(temporary).replace(target)
        except UnicodeEncodeError as error:
            character = error.object[error.start : error.end]
            raise SciwrightError(
                f"The generated code holds {character!r}, which {self.path} cannot hold in its encoding "
                f"{now.encoding}",
                "Save the file as UTF-8",
            ) from None
        except OSError as error:
            raise SciwrightError(f"{self.path} cannot be written ({error.strerror})") from None
        finally:
            if temporary:
                Path(temporary).unlink(missing_ok=True)


def read(path: Path) -> SourceFile:
    """Return the Python file at `path`, decoded as Python would decode it.

    Raises:
        UsageError: There is no such file, or it is not text.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder", "Name a Python file") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from None
    if b"\0" in data:
        raise UsageError(f"{path} is a binary file", "Name a Python file")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return SourceFile(path, data.decode(encoding), encoding)
    except (SyntaxError, LookupError, UnicodeError) as error:
        raise UsageError(f"{path} is not text that Python can read ({error})", "Save it as UTF-8") from None
