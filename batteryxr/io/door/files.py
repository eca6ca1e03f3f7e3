"""Open regular files of a size that can be read, and check their content."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from batteryxr.core.errors import (
    BatteryxrError,
    FileFormatError,
    MissingDependencyError,
    warn_quality,
)
from batteryxr.io.door.limits import (
    RATIO,
    SUSPICIOUS,
    WHOLE,
    most,
    refuse_bomb,
    refuse_larger,
)
from batteryxr.io.door.signatures import ENDINGS, kind_of, kind_of_text
from batteryxr.io.door.words import ALLOW, refuse_items, refuse_signs, told, xml_signs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Number of first bytes that identify a file's kind and enter its stamp.
_HEAD = 4096
_PIECE = 1 << 24
#: Most bytes of one line of text.
_LINE = 2_000_000
#: Most lines where they hold fewer bytes than a row of numbers with its end does.
_LINES, _ROW = 2_000_000, 4
#: Most parts of a gzip file.
_PARTS = 1000
_SPECIAL = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO): reading it would wait for ever",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_ENDLESS = (
    "holds NUL bytes from here to its end, which was never written. Copy it again."
)
_NUL = "holds NUL bytes: it is binary, of no kind that is known here, or damaged."


@dataclass(frozen=True)
class Stamp:
    """Describe the identity of a file, to check later that it is unchanged.

    Parameters
    ----------
    path
        The file.
    size, mtime
        Size in bytes, and time of the last change in nanoseconds.
    digest
        Digest of its first bytes.
    growing
        Whether it was being written then, so that size and time may change.
    """

    path: Path
    size: int
    mtime: int
    digest: str
    growing: bool = False

    def check(self) -> None:
        """Raise if the file has changed since.

        Raises
        ------
        FileFormatError
            If it is gone, or its size, time or first bytes have changed.
        """
        self._compare(stamp(self.path))

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open the file for reading bytes if it is unchanged.

        Raises
        ------
        FileFormatError
            As in `check`.
        """
        with opened(self.path) as file:
            self._compare(_stamp_of(self.path, file.fileno()))
            file.seek(0)
            yield file

    def _compare(self, now: Stamp) -> None:
        if self.growing and now.size >= self.size:
            return
        if (now.size, now.mtime, now.digest) != (self.size, self.mtime, self.digest):
            raise FileFormatError(
                self.path,
                "the file was replaced or written to after it was opened: what was "
                "read of it no longer holds. Open it again.",
            )


def stamp(path: Path, *, growing: bool = False) -> Stamp:
    """Return the stamp of a file, to recognise it later."""
    handle = _handle(path)
    try:
        return _stamp_of(path, handle, growing=growing)
    finally:
        os.close(handle)


def _stamp_of(path: Path, handle: int, *, growing: bool = False) -> Stamp:
    about, start = os.fstat(handle), os.read(handle, _HEAD)
    digest = hashlib.blake2b(start, digest_size=16).hexdigest()
    return Stamp(path, about.st_size, about.st_mtime_ns, digest, growing)


@contextlib.contextmanager
def named(path: Path, what: str = "cannot be read") -> Iterator[None]:
    """Turn any error of a library on a file into a `FileFormatError`.

    An error on the content alone learns here which file it is.

    Raises
    ------
    FileFormatError
        Naming the file, what is wrong and why; the library's error is its cause.
    """
    try:
        yield
    except FileFormatError as error:
        if error.path is not None:
            raise
        told_of = type(error)(path, error.problem, error.line)
        raise told_of from error.__cause__
    except (BatteryxrError, MissingDependencyError, Warning):
        raise
    except Exception as error:
        raise FileFormatError(
            path, f"{what}: {told(error)}. Copy or export it again."
        ) from error


def regular(path: Path) -> int:
    """Return the size of a file; raise if it is not a regular file.

    Symbolic links are followed. The file is not opened.

    Raises
    ------
    FileFormatError
        If it does not exist, is a folder, pipe, socket or device, or is a link that
        leads nowhere or in a circle.
    """
    try:
        about = os.stat(path)
    except (OSError, ValueError) as error:
        raise FileFormatError(path, _why(path, error)) from error
    kind = _SPECIAL.get(stat.S_IFMT(about.st_mode))
    if kind is not None:
        raise FileFormatError(path, f"is no file but {kind}.")
    return about.st_size


def _why(path: Path, error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code == errno.ELOOP:
        return "is a symbolic link that leads in a circle."
    if code in (errno.ENOENT, errno.ENOTDIR):
        with contextlib.suppress(OSError):
            return f"is a symbolic link to {os.readlink(path)}, which is not there."
        return "is not there."
    if code == errno.EACCES:
        return "cannot be read: permission denied."
    return f"cannot be read: {getattr(error, 'strerror', None) or error}."


@contextlib.contextmanager
def opened(
    path: Path, *, at_once: bool = False, growing: bool = False
) -> Iterator[BinaryIO]:
    """Open a regular file for reading bytes, without waiting for it.

    Parameters
    ----------
    path
        The file.
    at_once
        Whether it is read in few large pieces, for which a buffer is slower.
    growing
        Whether it is known that it is being written.

    Raises
    ------
    FileFormatError
        If it is no regular file or may not be read.

    Warns
    -----
    DataQualityWarning
        If it was written to while it was open.
    """
    handle = _handle(path)
    file: Any = os.fdopen(handle, "rb", buffering=0 if at_once else -1)
    with file:
        before = _state(handle)
        yield file
        if not growing and _state(handle) != before:
            warn_quality(
                f"{path.name} was written to while it was read: what was read may end "
                "early or mix old with new. Read it again when it is finished."
            )


def _state(handle: int) -> tuple[int, int]:
    """Return size and time of the last change of an open file."""
    about = os.fstat(handle)
    return about.st_size, about.st_mtime_ns


def _handle(path: Path) -> int:
    """Return the file descriptor of a regular file opened for reading."""
    regular(path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except OSError as error:
        raise FileFormatError(path, _why(path, error)) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise FileFormatError(path, "is no regular file.")
    return handle


def head(path: Path, n: int = _HEAD) -> bytes:
    """Return the first bytes of a file.

    Raises
    ------
    FileFormatError
        If it is no regular file, or empty.
    """
    with opened(path) as file:
        start = file.read(n)
    if not start:
        raise FileFormatError(path, "the file is empty (0 bytes). Copy it again.")
    return start


def refuse_other(path: Path, start: bytes, *takes: str) -> None:
    """Raise if a file is of a kind that the reader does not take.

    Parameters
    ----------
    path
        The file.
    start
        Its first bytes.
    takes
        Kinds of `batteryxr.io.door.signatures` that the reader takes.

    Raises
    ------
    FileFormatError
        Naming its kind, and how to get the data.
    """
    ended = ENDINGS.get(path.suffix.lower()) if b"\0" in start else None
    kind = ended or kind_of(start)
    if kind is not None and kind.name not in takes:
        words = f"is {kind.words}, which this reader does not take"
        raise FileFormatError(path, f"{words}. {kind.mend}".rstrip())


def refuse_words(path: Path, start: bytes) -> None:
    """Raise if a file, in which a reader found nothing, is text of another kind.

    Raises
    ------
    FileFormatError
        Naming its kind, and how to get the data.
    """
    kind = kind_of_text(start[:_HEAD], path.suffix)
    if kind is not None:
        words = f"is {kind.words}, in which this reader finds nothing"
        raise FileFormatError(path, f"{words}. {kind.mend}".rstrip())


def whole(path: Path) -> bytes:
    """Return all bytes of a file.

    Raises
    ------
    FileFormatError
        If it is no regular file, larger than allowed, or large and never written.
    """
    refuse_larger(path, regular(path), WHOLE)
    with opened(path) as file, named(path):
        about = os.fstat(file.fileno())
        stored = 512 * getattr(about, "st_blocks", about.st_size)
        if about.st_size > max(SUSPICIOUS, RATIO * stored):
            told = f"stores {stored:,} of its {about.st_size:,} bytes: "
            raise FileFormatError(None, f"{told}it was never written. Copy it again.")
        return file.read(most(WHOLE))


def unpacked(path: Path) -> bytes:
    """Return all bytes of a file, unpacked if it is gzipped.

    Raises
    ------
    FileFormatError
        As in `whole`; or if it is cut, or unpacks to more than a measurement would.
    """
    raw = whole(path)
    if not raw:
        raise FileFormatError(path, "the file is empty (0 bytes). Copy it again.")
    return _gunzipped(path, raw) if raw.startswith(b"\x1f\x8b") else raw


def text(path: Path, *takes: str) -> bytes:
    """Return a text file as bytes: UTF-8 or one byte a letter, unpacked, no NUL.

    Parameters
    ----------
    path
        Path of the file. Gzipped text is unpacked if `takes` has ``"gzip"``.
    takes
        Kinds that `refuse_other` accepts.

    Raises
    ------
    FileFormatError
        If it is no text, empty, too large, or of another known kind.
    """
    with opened(path, at_once=True) as file, named(path):
        size = os.fstat(file.fileno()).st_size
        raw = file.read(min(size + 1, _PIECE))
        refuse_other(path, raw[:_HEAD], *takes)
        refuse_larger(path, size, WHOLE)
        plain = not raw.startswith((b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b"))
        if in_pieces := len(raw) < size:
            raw = _pieces(file, raw, plain=plain)
        grown = os.fstat(file.fileno()).st_size > size
        if grown and plain:
            raw = raw[: raw[:size].rfind(b"\n") + 1] or raw  # its last line is cut
    if raw.startswith(b"\x1f\x8b"):
        raw = _gunzipped(path, raw)
        refuse_other(path, raw[:_HEAD], *(t for t in takes if t != "gzip"))
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            raw = raw.decode("utf-16").encode()
        except UnicodeError as error:
            raise FileFormatError(
                path,
                "is not whole UTF-16 text: its end is missing, or it is damaged. "
                "Copy it again.",
            ) from error
    if not raw or raw.isspace():
        raise FileFormatError(path, "the file is empty. Copy it again, or remove it.")
    with named(path):
        _refuse_nul(raw)
        if not (plain and in_pieces):
            _refuse_long_line(raw)
            if raw.startswith(b"{"):
                refuse_items(raw)
    return raw.removeprefix(b"\xef\xbb\xbf")


def _pieces(file: BinaryIO, first: bytes, *, plain: bool) -> bytes:
    """Read the rest of a large file; stop early if it is no text, or a trap."""
    whole, piece, limit = io.BytesIO(), first, most(WHOLE)
    begins = first.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] if plain else b""
    lines = signs = 0
    quoted = False
    while piece and whole.tell() <= limit:
        if plain:
            _refuse_nul(piece, lines)
            _refuse_long_line(piece, lines)
            quoted = _quoted(piece, lines, quoted)
        if begins == b"{":
            refuse_items(piece, lines)
        if begins == b"<":
            signs += xml_signs(piece)
            refuse_signs(signs)
        lines += piece.count(b"\n")
        whole.write(piece)
        piece = file.read(_PIECE)
    return whole.getvalue()


def _refuse_nul(raw: bytes, before: int = 0) -> None:
    place = raw.find(b"\0")
    if place >= 0:
        words = _NUL if raw[place:].strip(b"\0") else _ENDLESS
        raise FileFormatError(None, words, before + raw.count(b"\n", 0, place) + 1)


def _quoted(piece: bytes, before: int, already: bool) -> bool:
    """Tell whether a cell in quotes is still open at the end of a large piece.

    Raises
    ------
    FileFormatError
        If it was open before, and does not close in this piece.
    """
    bare = piece.replace(b'""', b"") if b'"' in piece else b""
    if already and len(piece) > most(_LINE) and b'"' not in bare:
        raise FileFormatError(
            None,
            "lies within a cell in quotes from far above this line to far below it: a "
            "quote is not closed. Export it again.",
            before + 1,
        )
    last = bare.rfind(b'"')
    if last < 0:
        return already
    odd = bool(bare.count(b'"') % 2)
    return odd != already and (already or bare[max(last - 1, 0) : last] in b",;\t\n")


def _refuse_long_line(raw: bytes, before: int = 0) -> None:
    """Raise if a line is longer than any row of a table, or most are empty."""
    start, longest = 0, most(_LINE)
    lines = max(raw.count(b"\n"), raw.count(b"\r"))
    if lines > most(_LINES) and len(raw) < _ROW * lines:
        raise FileFormatError(
            None,
            f"has {lines:,} lines of {len(raw) / lines:.2g} bytes on average, as no "
            f"table does. Is it text? {ALLOW}",
        )
    while len(raw) - start > longest:
        end = start + longest
        last = max(raw.rfind(b"\n", start, end), raw.rfind(b"\r", end - 4096, end))
        if last < start and (last := raw.rfind(b"\r", start, end)) < start:
            raise FileFormatError(
                None,
                f"has a line of more than {longest:,} bytes, as no table does. Is it "
                "text?",
                before + raw.count(b"\n", 0, start) + 1,
            )
        start = last + 1


def _gunzipped(path: Path, packed: bytes) -> bytes:
    """Return the content of a gzip file, no more of it than is allowed.

    Raises
    ------
    FileFormatError
        If it is cut or damaged, or unpacks to more than a measurement would.
    """
    import zlib

    view, pieces, size, parts, place = memoryview(packed), [], 0, 0, 0
    unpacker: Any = None
    with named(path, "is not a whole gzip file"):
        while place < len(view) or unpacker is not None:
            if unpacker is None:
                if not bytes(view[place : place + 64]).strip(b"\0"):
                    break  # padding at the end
                parts += 1
                unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
            feed = unpacker.unconsumed_tail or view[place : place + _HEAD * 16]
            fresh = not unpacker.unconsumed_tail
            piece = unpacker.decompress(feed, _PIECE)
            place += len(feed) if fresh else 0
            pieces.append(piece)
            size += len(piece)
            refuse_bomb(path, place, size)
            if unpacker.eof:
                place -= len(unpacker.unused_data)
                unpacker = None
            elif place >= len(view) and not unpacker.unconsumed_tail and not piece:
                raise EOFError("it is cut")
            if parts > _PARTS:
                raise FileFormatError(path, f"has more than {_PARTS} parts: a trap.")
    return b"".join(pieces)
