"""`ftx serve`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import click

from ftx.cli import options
from ftx.cli.parameters import AT_LEAST_ONE, PATH, TEXT, Finite

__all__ = ["serve"]

SECONDS = Finite(0, 1e6)
choice = options.choice


@click.command(epilog="Example: ftx serve --onnx model.onnx --port 8080")
@options.onnx(help="The .onnx file, a folder with one, or a folder of several such.")
@choice("--host", type=TEXT, default="127.0.0.1", help="Address to listen on.")
@choice("--port", type=click.IntRange(0, 65535), default=8080, help="Port; 0: any free one.")
@click.option("--uds", type=PATH, help="Listen on this Unix socket instead.")
@options.threads(help="Cores for each model's batches.  [default: those of this process]")
@choice("--max-queue-sec", type=SECONDS, default=1.0, help="Refuse requests (429) whose predicted wait is longer.")
@choice("--max-body", type=AT_LEAST_ONE, default=2**22, help="Bytes of a request.")
@choice("--max-text-chars", type=AT_LEAST_ONE, default=100_000, help="Characters of a text.")
@choice("--max-texts", type=AT_LEAST_ONE, default=1024, help="Texts of a request.")
@choice(
    "--drain-grace-sec",
    type=SECONDS,
    default=0.0,
    help="After SIGTERM, accept for so long while not ready, until load balancers know.",
)
@choice("--drain-sec", type=SECONDS, default=30.0, help="Then finish within so long what was accepted.")
@click.option("--token", type=TEXT, help="Require Authorization: Bearer TOKEN.  [default: FTX_TOKEN, if set]")
@click.option(
    "--allowed-host",
    type=TEXT,
    multiple=True,
    help="Serve only this Host header: a name, *.NAME, an address or a network; repeatable."
    "  [default: any; on the loopback without a token, its own names]",
)
@options.SETTINGS["long_text"]
@options.SETTINGS["invariant"]
@options.SETTINGS["fallback"]
@click.option("--allow-label-change", is_flag=True, help="Let a file with other labels replace the one that is served.")
@choice("--log-format", type=click.Choice(["text", "json"]), default="text", help="Of the log, on stderr.")
@click.option("--log-texts", is_flag=True, help="Log texts that fail.")
def serve(
    onnx: Path,
    host: str,
    port: int,
    uds: Path | None,
    threads: int | None,
    max_queue_sec: float,
    max_body: int,
    max_text_chars: int,
    max_texts: int,
    drain_grace_sec: float,
    drain_sec: float,
    token: str | None,
    allowed_host: tuple[str, ...],
    long_text: str,
    invariant: bool,
    fallback: Path | None,
    allow_label_change: bool,
    log_format: str,
    log_texts: bool,
) -> None:  # fmt: skip
    """Serve a model over HTTP until SIGTERM; SIGHUP, or a changed file, loads it anew.

    It speaks the dialects of text-embeddings-inference, huggingface_hub, vLLM, KServe and Triton; /docs lists them.
    """
    from ftx import api
    from ftx.runtime.server.hosts import HostError

    try:
        unfinished = api.serve(
            onnx,
            host=host,
            port=port,
            uds=uds,
            threads=threads,
            max_queue_sec=max_queue_sec,
            max_body=max_body,
            max_text_chars=max_text_chars,
            max_texts=max_texts,
            drain_grace_sec=drain_grace_sec,
            drain_sec=drain_sec,
            token=token,
            allowed_host=allowed_host,
            long_text=long_text,
            invariant=invariant,
            fallback=fallback,
            allow_label_change=allow_label_change,
            log_format=log_format,
            log_texts=log_texts,
        )
    except HostError as error:  # the other values are checked as they are read
        raise click.UsageError(str(error)) from error
    if unfinished:
        # Of a batch that still runs, whose end the end of the interpreter would wait for.
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(0)
