"""Every `ftx` command line of README, docs/ and deploy/ parses: its command, options and choices exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import pytest

from ftx.cli import ftx
from tests.tree import HOUSE

PAGES = [HOUSE / "README.md", *sorted((HOUSE / "docs").rglob("*.md")), *sorted((HOUSE / "deploy").glob("*.md"))]
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"^(?: {4}.*\n?)+", re.MULTILINE)
OPERATORS = set("|&;<>()")
TYPED = (click.Choice, click.IntRange, click.FloatRange)


def blocks(markdown: str) -> Iterator[str]:
    """Give the lines of all blocks of code, with continued lines joined."""
    for block in [*FENCED.findall(markdown), *INDENTED.findall(FENCED.sub("", markdown))]:
        yield from block.replace("\\\n", " ").splitlines()


def words_of(line: str) -> list[str]:
    lexer = shlex.shlex(re.sub(r"^\s*(\$|- run:) ", "", line), posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:  # of another language, with a quotation that shells do not have
        return []


def command_lines(line: str) -> Iterator[list[str]]:
    """Give what follows `ftx`, or `-m ftx`, in each command of a line of shell."""
    commands: list[list[str]] = [[]]
    skip = False
    for word in words_of(line):
        if set(word) <= OPERATORS:
            skip = ">" in word or "<" in word
            if not skip:
                commands.append([])
        elif skip:
            skip = False
        else:
            commands[-1].append(word)
    for command in commands:
        while command and re.match(r"\w+=", command[0]):
            command = command[1:]
        place = 0 if command and re.fullmatch(r"(.*/)?ftx", command[0]) else after_module(command)
        if place is not None:
            yield [word for word in command[place + 1 :] if word != "..."]


def after_module(command: list[str]) -> int | None:
    """Find the place of `ftx` in `-m ftx`."""
    return next((place for place, pair in enumerate(pairwise(command), 1) if pair == ("-m", "ftx")), None)


def find(words: list[str]) -> tuple[click.Command, list[str]]:
    if not words or words[0].startswith("-"):
        return ftx, words
    assert words[0] in ftx.commands, f"ftx {words[0]}: no such command"
    return ftx.commands[words[0]], words[1:]


def check(words: list[str]) -> None:
    """Parse a command line and its numbers and choices, as click does before it looks at files."""
    command, rest = find(words)
    context = click.Context(command, info_name=command.name, help_option_names=["-h", "--help"])
    try:
        values, left, _ = command.make_parser(context).parse_args(list(rest))
        for parameter in command.params:
            if parameter.name in values and isinstance(parameter.type, TYPED):
                parameter.type_cast_value(context, values[parameter.name])
    except click.UsageError as error:
        pytest.fail(f"ftx {shlex.join(words)}: {error.format_message()}")
    assert not left, f"ftx {shlex.join(words)}: unexpected {left}"


def check_names(words: list[str]) -> None:
    """Check that command and options of a mention in running text exist; values may be left out there."""
    command, rest = find(words)
    context = click.Context(command, info_name=command.name, help_option_names=["-h", "--help"])
    known = {name for parameter in command.get_params(context) for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"ftx {shlex.join(words)}: no option {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_the_commands_of_a_page_parse(page: Path) -> None:
    markdown = page.read_text(encoding="utf-8")
    for line in blocks(markdown):
        for words in command_lines(line):
            check(words)
    for mention in re.findall(r"`((?:\S*/)?ftx\s[^`]+)`", INDENTED.sub("", FENCED.sub("", markdown))):
        words = [word for word in mention.split()[1:] if word != "..."]
        if words and not words[0].isupper():
            check_names(words)


def test_how_many_commands_are_found() -> None:
    lines = [line for page in PAGES for line in blocks(page.read_text(encoding="utf-8"))]
    assert sum(1 for line in lines for _ in command_lines(line)) > 60


@pytest.mark.parametrize(
    "line",
    [
        "ftx trian",
        "ftx train --no-such-option 3",
        "ftx predict --pooling median",
        "ftx predict --batch-size none",
        "zcat a.gz | .venv/bin/ftx predict --onnx",
        "torchrun --nnodes 2 -m ftx train --datasets a.csv",
        "FTX_TRACEBACK=1 ftx verify model.onnx > out",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    (words,) = command_lines(line)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(words)
