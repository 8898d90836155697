"""How every command ends: status 0, 1 with one line, 2 for wrong usage; see `ftx.process` for the others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from ftx.process import explain, logged, one_line

__all__ = ["ExplainingGroup"]


class ExplainingGroup(click.Group):
    """A group whose commands explain their failures in one line on stderr."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order of the workflow, not alphabetically."""
        return list(self.commands)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command; turn an exception into a line and a status."""
        try:
            result = super().main(*args, **{**extra, "standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:  # its message is the help
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            error.message = one_line(error.message)  # type: ignore[misc]  # click quotes values in full, however long
            error.show()
            sys.exit(error.exit_code)
        sys.exit(result if isinstance(result, int) else 0)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the command line; --help and --version print here."""
        with explained():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with explained(), logged():
            return super().invoke(ctx)


@contextmanager
def explained() -> Iterator[None]:
    """Explain an exception before click sees it: click takes a library's EOFError for Ctrl-C."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, SystemExit):
        raise
    except BaseException as error:
        raise click.exceptions.Exit(explain(error)) from None
