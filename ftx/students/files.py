"""The files of a search's report, which replace those of an earlier search, and none of the user's."""

from __future__ import annotations

from pathlib import Path

from ftx.output import Kind, explained
from ftx.output.publishing import in_the_way, refuse_foreign
from ftx.output.record import digest_of, record_of, replace_text

__all__ = ["PAGE_FILE", "REPORT_FILE", "check_free", "write_files"]

REPORT_FILE, PAGE_FILE = "students.json", "students.html"
KIND = Kind(what="search", owned=frozenset({REPORT_FILE, PAGE_FILE}), mark=REPORT_FILE)


def check_free(folder: Path) -> None:
    """Check that what a report would replace is an earlier one's, as it was written.

    Raises:
        OutputError: It is not.
    """
    with explained(folder):
        refuse_foreign(folder, in_the_way(folder, KIND), "move it away, or choose another --output")


def write_files(folder: Path, texts: dict[str, str]) -> None:
    """Write a report's files, by their names, and list them in SHA256SUMS.

    Killed at any point, it leaves nothing that `check_free` would take for the user's: the list is there before the
    files.

    Raises:
        OutputError: See `check_free`; or they can't be written.
    """
    check_free(folder)
    with explained(folder):
        digests = {}
        for name, text in texts.items():
            (folder / name).unlink(missing_ok=True)
            replace_text(folder / f".{name}.partial", text)
            digests[name] = digest_of(folder / f".{name}.partial")
        replace_text(folder / KIND.record, record_of(digests))
        for name in texts:
            (folder / f".{name}.partial").replace(folder / name)
