"""Settings that can't be meant are refused before anything is opened."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner
from starlette.datastructures import Headers

from ftx.cli import ftx
from ftx.runtime.server import ServeSettings
from ftx.runtime.server.hosts import host_allowed


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threads": 0}, "threads 0"), ({"max_texts": 0}, "max_texts 0"), ({"max_body_bytes": 1.5}, "max_body_bytes"),
        ({"max_queue_sec": -1}, "max_queue_sec -1"), ({"drain_sec": float("nan")}, "drain_sec nan"),
        ({"body_sec": "1"}, "body_sec '1'"), ({"long_text": "cut"}, "long_text 'cut'"), ({"invariant": 1}, "invariant"),
        ({"allowed_hosts": "example.com"}, "a tuple of hosts"),
        ({"allowed_hosts": ("10.0.0.0/33",)}, "10.0.0.0/33"), ({"allowed_hosts": ("10.0.0.1/8",)}, "host bits"),
        ({"allowed_hosts": ("example.com:80",)}, "without a port"), ({"allowed_hosts": ("",)}, "expected a name"),
        ({"allowed_hosts": (" a",)}, "expected a name"),
    ],
)  # fmt: skip
def test_what_can_not_be_meant(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ServeSettings(**values)


def test_of_the_command_line_it_is_a_wrong_usage() -> None:
    done = CliRunner().invoke(ftx, ["serve", "--onnx", "x.onnx", "--allowed-host", "10.0.0.0/33"])
    assert done.exit_code == 2 and "10.0.0.0/33" in done.stderr


@pytest.mark.parametrize("allowed", ["::1", "[::1]", "::/64"])
def test_an_address_of_ipv6_is_allowed_in_brackets_or_without(allowed: str) -> None:
    ServeSettings(allowed_hosts=(allowed,))
    assert host_allowed(Headers({"host": "[::1]:8080"}), (allowed,))
    assert not host_allowed(Headers({"host": "[fe80::1]:8080"}), (allowed,))
