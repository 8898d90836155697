"""How every command ends: 0, 1 with one line, 2 for wrong usage, 130 when interrupted."""

from __future__ import annotations

import errno
import sys
from typing import Any

import click

from ftx.errors import FtxError

__all__ = ["ExplainingGroup"]


class ExplainingGroup(click.Group):
    """A group whose commands explain their failures in one line on stderr."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order of the work, not of the alphabet."""
        return list(self.commands)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command; turn what it raises into a line and a status."""
        try:
            result = super().main(*args, **{**extra, "standalone_mode": False})
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            click.echo("Interrupted", err=True)
            sys.exit(130)
        except FtxError as error:
            fail(str(error))
        except MemoryError:
            fail("Out of memory: use a smaller batch, shorter texts, or a larger machine")
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT):
                raise
            fail(f"{error.filename or 'output'}: {error.strerror}: make room, or choose another place")
        sys.exit(result if isinstance(result, int) else 0)


def fail(message: str) -> None:
    """Print one line and exit with status 1."""
    click.echo("Error: " + " ".join(message.split()), err=True)
    sys.exit(1)
