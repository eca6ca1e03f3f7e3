"""The parser of the command line, and the types of option values."""

from __future__ import annotations

import argparse
import difflib
import math
import re
import sys
from typing import TYPE_CHECKING, NoReturn, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Messages of argparse on an unknown option, and on a wrong choice.
_UNKNOWN = re.compile(r"unrecognized arguments: (.*)")
_CHOICE = re.compile(r"invalid choice: '(.*?)' \(choose from (.*)\)")
#: Other messages of argparse, and plainer words.
_WORDS = (
    (re.compile(r"the following arguments are required: ([^,]*)$"), r"\1 is missing"),
    (re.compile(r"the following arguments are required: "), "these are missing: "),
    (re.compile(r"expected one argument"), "its value is missing"),
    (re.compile(r"expected at least one argument"), "its value is missing"),
    (re.compile(r"expected (\d+) arguments"), r"it takes \1 values"),
    (re.compile(r"ignored explicit argument '(.*)'$"), r"it takes no value, not '\1'"),
    (re.compile(r"not allowed with argument "), "it does not go together with "),
)
#: Options that `add_cell` declares.
CELL_OPTIONS = {"electrode": "--electrode", "first": "--first", "mass": "--mass"}


def printable(text: str) -> str:
    """Return one line of text, without signs that a terminal would carry out."""
    return "".join(c if c.isprintable() else "?" for c in text)


def say(text: str, stream: TextIO | None = None) -> None:
    """Print text that may quote files and stores of any origin.

    Parameters
    ----------
    text
        Lines to print.
    stream
        Where to print; None: the standard output.
    """
    stream = stream or sys.stdout
    coding = getattr(stream, "encoding", None) or "utf-8"
    shown = "\n".join(map(printable, text.split("\n")))
    print(shown.encode(coding, "replace").decode(coding), file=stream, flush=True)


class Parser(argparse.ArgumentParser):
    """Parse without abbreviations, and suggest the likely meaning of a typo."""

    def __init__(self, **options: object) -> None:
        super().__init__(**{"allow_abbrev": False, **options})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Print in one sentence what is wrong, and exit with status 2."""
        asked = self._deepest()
        text = message
        if word := self._unknown(message, asked):
            text = f"{word} is no option of this command{_meant(word, asked.options)}"
        elif found := _UNKNOWN.search(message):
            text = f"{found[1].split()[0]} is one word too many"
        elif found := _CHOICE.search(message):
            choices = re.findall(r"[\w.-]+", found[2])
            before = message[: found.start()].removeprefix("argument ")
            where = "" if before.startswith("COMMAND") else before
            text = (
                f"{where}'{found[1]}' is not known{_meant(found[1], choices)} "
                f"It takes {', '.join(choices)}."
            )
        text = text.removeprefix("argument ")
        for pattern, words in _WORDS:
            text = pattern.sub(words, text)
        end = "" if text.endswith((".", "?")) else "."
        say(f"{asked.prog}: {text}{end}\nSee {asked.prog} --help.", sys.stderr)
        raise SystemExit(2)

    @property
    def options(self) -> list[str]:
        """Return the declared options."""
        return [word for action in self._actions for word in action.option_strings]

    @property
    def given(self) -> list[str]:
        """Return the words of the command line."""
        return sys.argv[1:] if self._given is None else self._given

    def _unknown(self, message: str, asked: Parser) -> str:
        """Return the first option that is none; it may be why another is missing."""
        found = _UNKNOWN.search(message)
        if not found and "are required" not in message:
            return ""
        words = found[1].split() if found else self.given
        known = [*asked.options, *self.options]
        odd = [w for w in words if w[:1] == "-" and w.split("=")[0] not in known]
        return next((w for w in odd if not re.fullmatch(r"-[\d.].*|--?", w)), "")

    def _deepest(self) -> Parser:
        """Return the parser of the command in use, or this one."""
        known = self._commands
        return next((known[word] for word in self.given if word in known), self)

    @property
    def _commands(self) -> dict[str, Parser]:
        """Return the parsers of commands."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return dict(action.choices)
        return {}

    _given: list[str] | None = None

    def parse(self, given: list[str]) -> argparse.Namespace:
        """Return the values given on the command line."""
        for parser in (self, *self._commands.values()):
            parser._given = given
        return self.parse_args(given)


def _meant(word: str, known: Iterable[str]) -> str:
    bare = {name.lstrip("-"): name for name in known}
    asked = word.split("=")[0].lstrip("-")
    close = difflib.get_close_matches(asked, bare, n=1, cutoff=0.6)
    return f"; did you mean {bare[close[0]]}?" if close else "."


def show_examples(parser: argparse.ArgumentParser, examples: str) -> None:
    """Show examples, line by line, at the end of a command's help."""
    parser.epilog = examples
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def add_cell(parser: argparse.ArgumentParser) -> None:
    """Declare the facts on a cell that only the user knows: its type, and its mass.

    `CELL_OPTIONS` gives the option for each argument.
    """
    add = parser.add_argument
    add("--electrode", choices=("cathode", "anode", "full"),
        help="which electrode the cell studies; needed for efficiencies")  # fmt: skip
    add("--first", choices=("charge", "discharge"),
        help="what a cycle begins with; needed for efficiencies")  # fmt: skip
    add("--mass", type=positive, metavar="MG", help="active mass; gives mA h g-1")


def add_columns(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Declare what columns mean, for files whose labels do not tell."""
    parser.add_argument(
        "--columns", action="append", metavar="LABEL=MEANING",
        help="what a column of the cycler's files is, such as 'I=current (mA)'; may be "
        f"given several times{more}")  # fmt: skip


def number(text: str) -> float:
    """Read a number."""
    try:
        value = float(text)
    except ValueError:
        hint = " (a decimal point, not a comma)" if "," in text else ""
        raise argparse.ArgumentTypeError(f"'{text}' is no number{hint}") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"'{text}' is no finite number")
    return value


def positive(text: str) -> float:
    """Read a number above zero."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not above zero")
    return value


def not_negative(text: str) -> float:
    """Read a number, zero or above."""
    value = number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"'{text}' is below zero")
    return value


def meanings(given: list[str] | None) -> dict[str, str] | None:
    """Read what columns mean, each as LABEL=MEANING.

    Raises
    ------
    ArgumentError
        If one has no sign of equality, or no words on one of its sides.
    """
    from batteryxr.core.errors import ArgumentError

    pairs = [text.rpartition("=") for text in given or ()]
    for text, (label, _, meaning) in zip(given or (), pairs, strict=True):
        if not (label.strip() and meaning.strip()):
            form = "LABEL=MEANING, such as 'I=current (mA)'"
            raise ArgumentError("columns", text, form)
    return {label: meaning for label, _, meaning in pairs} or None


def whole(text: str) -> int:
    """Read a whole number, zero or above."""
    if not re.fullmatch(r"\d{1,12}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number, 0 or above")
    return int(text)


def count(text: str) -> int:
    """Read a whole number above zero."""
    if whole(text) == 0:
        raise argparse.ArgumentTypeError("0 is too few: 1 or more")
    return int(text)


def zone(text: str) -> str:
    """Read the name of a time zone."""
    import zoneinfo

    if re.fullmatch(r"(UTC)?[+-]\d{2}:?\d{2}", text):
        return text
    try:
        zoneinfo.ZoneInfo(text)
    except Exception:
        known = zoneinfo.available_timezones()
        cities = {name.rpartition("/")[2].lower(): name for name in sorted(known)}
        close = difflib.get_close_matches(text, known, n=1, cutoff=0.6)
        near = difflib.get_close_matches(text.replace(" ", "_").lower(), cities, n=1)
        city = cities[near[0]] if near else ""
        meant = city or (close[0] if close else "")
        hint = f"; did you mean {meant}?" if meant else ", such as Europe/Paris"
        raise argparse.ArgumentTypeError(f"'{text}' is no time zone{hint}") from None
    return text
