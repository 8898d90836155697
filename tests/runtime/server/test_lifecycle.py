"""`ftx serve` as a process: how it starts, ends, follows its file, and bears what happens to a process."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from ftx.manifest import Probe
from tests.runtime.conftest import WORDS, save_words

WAIT_SEC = 240.0  # only ends a hang
# How much each "good" adds to the logits, in one file and another.
WEAK, STRONG = 0.5, 1.5
# What makes the slow model take some hundredths of a second.
SLOWLY = " inf" * 4
Table = list[list[float]]
# `python -m ftx` that sees a changed file sooner.
LOOK_OFTEN = """
from ftx.__main__ import main
from ftx.runtime.server import run
run.LOOK_SEC = 0.05
main()
"""


def table(weight: float) -> Table:
    return [[0, 0], [-weight, weight], [weight, -weight], [0, 0], [0, 0]]


def probability(text: str, weight: float) -> float:
    """What the file of this weight must say of "positive"."""
    total = weight * (text.split().count("good") - text.split().count("bad"))
    return 1 / (1 + math.exp(-2 * total))


def probe(*logits: float) -> Probe:
    """A golden probe."""
    return Probe(text="good good", logits=logits, reference=logits)


def save(folder: Path, weight: float = WEAK, **manifest: Any) -> Path:
    """Put a model in a folder, whole at once, as one deploys it."""
    folder.mkdir(exist_ok=True)
    beside = folder / "beside.tmp"
    save_words(beside, **{"table": table(weight), "probes": (probe(-2 * weight, 2 * weight),), **manifest})
    return beside.replace(folder / "model.onnx")


def slow_nodes() -> list[Any]:
    """A graph that multiplies matrices for each word "inf", more than 2 GFLOP of it."""
    side, rows, times = 512, 200, 20

    def constant(name: str, value: Any) -> Any:
        return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value)))

    return [
        constant("slow_word", np.int64(WORDS.index("inf"))),
        constant("rows_of_one", np.int64([rows])),
        constant("side", np.int64([side])),
        constant("unit", np.eye(side, dtype=np.float32)),
        helper.make_node("Equal", ["input_ids", "slow_word"], ["are_slow"]),
        helper.make_node("Cast", ["are_slow"], ["ones"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["ones"], ["slow_words"], keepdims=0),
        helper.make_node("Mul", ["slow_words", "rows_of_one"], ["rows_of_all"]),
        helper.make_node("Concat", ["rows_of_all", "side"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["matrix0"]),
        *(helper.make_node("MatMul", [f"matrix{time}", "unit"], [f"matrix{time + 1}"]) for time in range(times)),
        helper.make_node("ReduceSum", [f"matrix{times}"], ["zero"], keepdims=0),
        helper.make_node("Add", ["sum", "zero"], ["logits"]),
    ]


class Served:
    """A process of `ftx serve`."""

    def __init__(self, onnx: Path, *options: str, stderr: Any = subprocess.PIPE, look_often: bool = False, **how: Any):
        start = ["-c", LOOK_OFTEN] if look_often else ["-m", "ftx"]
        command = [sys.executable, *start, "serve", "--onnx", str(onnx), *options]
        if not {"--port", "--uds"} & set(options):
            command += ["--port", "0"]
        if "--max-queue-sec" not in options:  # no request is refused because the machine is slow
            command += ["--max-queue-sec", "1e6"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, stdin=subprocess.DEVNULL, text=True, **how
        )
        self.lines: list[str] = []
        self._said = threading.Condition()
        if stderr is subprocess.PIPE:
            self._reader = threading.Thread(target=self._read)
            self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._said:
                self.lines.append(line.rstrip("\n"))
                self._said.notify_all()
        with self._said:
            self.lines.append("")
            self._said.notify_all()

    def said(self, words: str, after: int = 0) -> str:
        """Wait for a line of the log."""

        def found() -> str | None:
            return next((line for line in self.lines[after:] if words in line), None)

        with self._said:
            assert self._said.wait_for(lambda: found() is not None or "" in self.lines, WAIT_SEC), self.lines
            line = found()
            assert line is not None, self.lines
            return line

    @property
    def url(self) -> str:
        return self.said("serving ").split(" on ")[1]

    def client(self) -> httpx.Client:
        # Without TLS, whose certificates take longer to read than a request takes.
        return httpx.Client(base_url=self.url, timeout=WAIT_SEC, verify=False)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        status = self.process.wait(WAIT_SEC)
        if self.process.stderr is not None:
            self._reader.join(WAIT_SEC)
        return status


@contextmanager
def serving(onnx: Path, *options: str, **how: Any) -> Iterator[Served]:
    served = Served(onnx, *options, **how)
    try:
        yield served
    finally:
        served.process.kill()
        served.ended()
        for stream in (served.process.stdout, served.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    save(tmp_path / "slow", nodes=slow_nodes())
    return tmp_path / "slow"


def ask(client: httpx.Client, text: str = "good", **options: Any) -> float:
    """Give the probability that is answered for "positive"."""
    response = client.post("/predict", json={"texts": [text]}, **options)
    assert response.status_code == 200, response.text
    [answer] = response.json()
    assert answer["text"] == text
    return float(answer["scores"]["positive"])


def is_of(found: float, weight: float, text: str = "good") -> bool:
    return math.isclose(found, probability(text, weight), abs_tol=1e-6)


def until(what: Callable[[], Any]) -> Any:
    """Wait until something is so."""
    end = time.monotonic() + WAIT_SEC
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))


# Ends


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0(model: Path, number: int) -> None:
    with serving(model) as served, served.client() as client:
        assert is_of(ask(client), WEAK)
        served.signal(number)
        assert served.ended() == 0
        assert not any("Terminated" in line or "Interrupted" in line or "Traceback" in line for line in served.lines)


def test_what_was_accepted_is_finished(slow: Path) -> None:
    with serving(slow, "--drain-sec", "240") as served, served.client() as client, ThreadPoolExecutor() as pool:
        texts = ["good inf inf inf inf"] * 8
        asked = pool.submit(client.post, "/predict", json={"texts": texts})
        # One more whose body comes only after the signal.
        url = httpx.URL(served.url)
        body = b'{"texts": ["good"]}'
        with closing(socket.create_connection((url.host, url.port), WAIT_SEC)) as late, served.client() as other:
            late.sendall(
                b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body) + body[:5]
            )
            until(lambda: metric(other, "ftx_unfinished_requests"))
            served.signal(signal.SIGTERM)
            served.said("draining")
            late.sendall(body[5:])
            received = b""
            while data := late.recv(65536):
                received += data
        assert received.startswith(b"HTTP/1.1 200"), received
        assert is_of(json.loads(received.partition(b"\r\n\r\n")[2])[0]["scores"]["positive"], WEAK)
        answered = asked.result(WAIT_SEC)
        assert answered.status_code == 200 and len(answered.json()) == len(texts)
        assert all(is_of(one["scores"]["positive"], WEAK) for one in answered.json())
        assert served.ended() == 0
        assert not any("could not be finished" in line for line in served.lines)
        with pytest.raises(httpx.ConnectError):
            httpx.get(served.url)


def test_it_is_not_ready_at_once_and_accepts_until_load_balancers_know(model: Path) -> None:
    with serving(model, "--drain-grace-sec", "3600") as served, served.client() as client:
        assert client.get("/health/ready").status_code == 200
        served.signal(signal.SIGTERM)
        served.said("draining")
        for path in ("/health/ready", "/v2/health/ready", "/v2/models/model/ready"):
            assert client.get(path).status_code == 503
        assert client.get("/v2/health/live").status_code == 200
        with served.client() as new:
            assert is_of(ask(new), WEAK)
        served.signal(signal.SIGTERM)
        assert served.ended() == 1
        assert served.said("ending at once") == "WARNING: ending at once: 0 accepted requests are not finished"


def test_what_can_not_be_finished_in_time_is_counted(slow: Path) -> None:
    with serving(slow, "--drain-sec", "0") as served, ThreadPoolExecutor() as pool:
        with served.client() as client, served.client() as other:
            asked = pool.submit(client.post, "/predict", json={"texts": ["inf " * 15] * 400})
            until(lambda: metric(other, "ftx_unfinished_requests"))
            served.signal(signal.SIGTERM)
            assert asked.result(WAIT_SEC).status_code == 503
            assert served.ended() == 0
        served.said("1 accepted requests could not be finished")


def test_after_sigkill_another_one_takes_its_place(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    for _ in range(2):
        with serving(model, "--uds", str(path)) as served:
            served.said(f"serving model on {path}")
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://x") as client:
                assert is_of(ask(client, timeout=WAIT_SEC), WEAK)
            assert path.stat().st_mode & 0o777 == 0o660
            with serving(model, "--uds", str(path)) as second:  # which must not take it away
                assert second.ended() == 1
                assert [line for line in second.lines if line][-1].startswith(f"Error: {path} can't be listened on")
            served.signal(signal.SIGKILL)
            assert served.ended() == -signal.SIGKILL
        assert path.exists()
    with serving(model, "--uds", str(path)) as served:
        served.said("serving")
        served.signal(signal.SIGTERM)
        assert served.ended() == 0
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_under_load_loses_no_accepted_request_and_another_server_goes_on(model: Path, number: int) -> None:
    begun = threading.Barrier(9)

    def ask_until_it_ends(url: str) -> int:
        count = 0
        with httpx.Client(base_url=url, timeout=WAIT_SEC) as client:
            while True:
                text = " ".join(["good"] * (1 + count % 5))
                try:
                    found = ask(client, text)
                except httpx.TransportError as error:
                    # What was begun to be answered is answered whole; a request that came too late was not accepted.
                    assert (
                        number == signal.SIGKILL
                        or isinstance(error, httpx.NetworkError)
                        or ("without sending a response" in str(error))
                    ), error
                    return count
                assert is_of(found, WEAK, text)
                count += 1
                if count == 10:
                    begun.wait(WAIT_SEC)

    with ThreadPoolExecutor(8) as pool, serving(model) as served:
        url = httpx.URL(served.url)
        asked = [pool.submit(ask_until_it_ends, served.url) for _ in range(8)]
        begun.wait(WAIT_SEC)
        served.signal(number)
        assert served.ended() == (0 if number == signal.SIGTERM else -signal.SIGKILL)
        assert all(one.result(WAIT_SEC) >= 10 for one in asked)
        assert not any("could not be finished" in line or "Traceback" in line for line in served.lines)
        with serving(model, "--port", str(url.port)) as second, second.client() as client:
            assert is_of(ask(client), WEAK)


# Starts


def only_line(onnx: Path, *options: str) -> str:
    with serving(onnx, *options) as served:
        assert served.ended() == 1
        [line] = [line for line in served.lines if line]
        return line


def test_a_port_that_is_taken_is_one_line(model: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        line = only_line(model, "--port", str(port))
    assert line.startswith(f"Error: 127.0.0.1:{port} can't be listened on: Address already in use")
    assert only_line(model, "--host", "192.0.2.1").startswith("Error: 192.0.2.1:0 can't be listened on")
    assert only_line(model, "--uds", "/nowhere/socket").startswith("Error: /nowhere/socket can't be listened on")


def test_a_model_that_can_not_be_served_is_one_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert only_line(empty).startswith("Error: ")
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"no model" * 100)
    assert str(garbage) in only_line(garbage)
    wrong = save(tmp_path / "wrong", probes=(probe(5.0, -5.0),))
    assert "golden probes" in only_line(wrong)


def test_several_models_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    save(folder / "weak", WEAK)
    save(folder / "strong", STRONG)
    (folder / "notes").mkdir()
    with serving(folder) as served, served.client() as client:
        assert served.said("serving ").startswith("INFO: serving strong, weak on ")
        for name, weight in (("weak", WEAK), ("strong", STRONG)):
            response = client.post("/predict", json={"texts": ["good"], "model": name})
            assert is_of(response.json()[0]["scores"]["positive"], weight)
            assert client.get(f"/v2/models/{name}/ready").status_code == 200
        assert client.get("/v2/models/other").status_code == 404
        # One of them is replaced by what is none: only that one keeps its file.
        (folder / "weak" / "model.onnx").write_bytes(b"none")
        served.signal(signal.SIGHUP)
        served.said("weak: the new file is not served")
        served.said("strong: opened")
        assert client.get("/v2/models/weak").json()["parameters"]["reload_failed"] is True
        assert client.get("/v2/models/strong").json()["parameters"]["reload_failed"] is False
        assert client.get("/health/ready").status_code == 200


@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_token_is_asked_for(model: Path, by: str) -> None:
    options = ("--token", "secret") if by == "option" else ()
    environment = os.environ | ({"FTX_TOKEN": "secret"} if by == "environment" else {})
    with serving(model, *options, env=environment) as served, served.client() as client:
        assert client.post("/predict", json={"texts": ["good"]}).status_code == 401
        assert is_of(ask(client, headers={"authorization": "Bearer secret"}), WEAK)
        assert not any("secret" in line for line in served.lines)


def test_open_to_all_without_a_token_is_said(model: Path) -> None:
    with serving(model, "--host", "0.0.0.0") as served:
        served.said("without a token: whoever reaches this port")
    with serving(model, "--host", "0.0.0.0", "--token", "secret") as served:
        served.said("serving")
        assert not any("without a token" in line for line in served.lines)


def test_on_the_loopback_without_a_token_only_its_own_names_and_pages_are_served(model: Path) -> None:
    body = {"texts": ["good"]}
    with serving(model) as served, served.client() as client:
        for host in ("localhost", "LOCALHOST:1", "127.0.0.1:80", "127.9.9.9", "[::1]:8080", "a.localhost"):
            assert client.post("/predict", json=body, headers={"host": host}).status_code == 200, host
        for host in ("", "evil.example", "127.0.0.1.evil.example", "10.0.0.1", "0.0.0.0", "[::2]", "localhost.evil"):
            for path in ("/", "/metrics", "/info"):
                refused = client.get(path, headers={"host": host})
                assert refused.status_code == 400 and "--allowed-host" in refused.text, host
            assert client.get("/health/ready", headers={"host": host}).status_code == 200
        for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
            headers = {"sec-fetch-site": site, "content-type": "text/plain"}
            for path, asked in (("/predict", body), ("/", {"inputs": "good"})):
                assert client.post(path, json=asked, headers=headers).status_code == status, site
            assert client.get("/", headers=headers).status_code == 200  # a link to the page
    for options in (("--token", "secret"), ("--allowed-host", "*.example")):
        with serving(model, *options) as served, served.client() as client:
            headers = {"host": "any.example", "sec-fetch-site": "cross-site", "authorization": "Bearer secret"}
            assert client.post("/predict", json=body, headers=headers).status_code == 200


def test_a_socket_of_systemd_is_taken(model: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        number = listener.fileno()
        environment = os.environ | {"LISTEN_FDS": "1", "PYTHON": sys.executable, "MODEL": str(model)}
        script = f'exec 3<&{number}; LISTEN_PID=$$ exec "$PYTHON" -m ftx serve --onnx "$MODEL"'
        process = subprocess.Popen(["bash", "-c", script], env=environment, pass_fds=[number])
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=WAIT_SEC) as client:
                assert is_of(ask(client), WEAK)  # it waited for the server to start
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_SEC) == 0
        finally:
            process.kill()
            process.wait()


# Follows its file


def test_a_changed_file_answers_and_a_bad_one_does_not(model: Path) -> None:
    file = model / "model.onnx"
    with serving(model, look_often=True) as served, served.client() as client:
        assert is_of(ask(client), WEAK)
        before = client.get("/v2/models/model").json()["parameters"]["sha256"]
        save(model, STRONG)
        until(lambda: is_of(ask(client), STRONG))  # by its stamp
        after = client.get("/v2/models/model").json()["parameters"]
        assert after["sha256"] != before and after["reload_failed"] is False
        assert f'sha256="{after["sha256"]}"' in client.get("/metrics").text

        whole = file.read_bytes()
        other_labels = {"id2label": {0: "sad", 1: "happy"}}
        for number, bad in enumerate((b"none", whole[: len(whole) // 2], b"", "labels", "probes", None)):
            start = len(served.lines)
            if bad == "labels":
                save(model, WEAK, **other_labels)
            elif bad == "probes":
                save(model, WEAK, probes=(probe(5.0, -5.0),))
            elif bad is None:
                file.unlink()
            else:
                file.write_bytes(bad)
            if bad is None or number % 2:
                served.signal(signal.SIGHUP)  # else the change is seen
            said = served.said("the new file is not served, the one before is", start)
            assert "Traceback" not in "".join(served.lines[start:])
            if bad == "labels":
                assert "--allow-label-change" in said
            assert is_of(ask(client), STRONG)
            assert client.get("/v2/models/model").json()["parameters"] == {**after, "reload_failed": True}
            assert metric(client, "ftx_model_reload_failed") == 1
            assert client.get("/health/ready").status_code == 200
        save(model, WEAK)
        until(lambda: is_of(ask(client), WEAK))
        assert metric(client, "ftx_model_reload_failed") == 0

        # Taken away and brought back as it was: nothing is left to complain of.
        file.rename(model / "away")
        served.signal(signal.SIGHUP)
        until(lambda: metric(client, "ftx_model_reload_failed") == 1)
        (model / "away").rename(file)
        until(lambda: metric(client, "ftx_model_reload_failed") == 0)
        assert is_of(ask(client), WEAK)
        served.signal(signal.SIGTERM)
        assert served.ended() == 0


def test_other_labels_where_they_are_allowed(model: Path) -> None:
    with serving(model, "--allow-label-change") as served, served.client() as client:
        assert is_of(ask(client), WEAK)
        save(model, WEAK, id2label={0: "sad", 1: "happy"})
        served.signal(signal.SIGHUP)
        served.said("opened")
        [answer] = client.post("/predict", json={"texts": ["good"]}).json()
        assert answer["label"] == "happy"


def load(client: httpx.Client, stop: threading.Event, weights: tuple[float, ...]) -> int:
    """Ask until it stops; every answer must be that of one of the files."""
    count = 0
    while not stop.is_set():
        text = " ".join(["good"] * (1 + count % 5))
        found = ask(client, text)
        assert any(is_of(found, weight, text) for weight in weights), (text, found)
        count += 1
    return count


@pytest.mark.parametrize("times", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_reloads_under_load_lose_no_request(model: Path, times: int) -> None:
    stop = threading.Event()
    with ExitStack() as stack:
        served = stack.enter_context(serving(model))
        pool = stack.enter_context(ThreadPoolExecutor(8))
        stack.callback(stop.set)
        clients = [stack.enter_context(served.client()) for _ in range(8)]
        asked = [pool.submit(load, client, stop, (WEAK, STRONG)) for client in clients]
        for number in range(times):
            start = len(served.lines)
            save(model, (STRONG, WEAK)[number % 2])
            for _ in range(20):  # all at once
                served.signal(signal.SIGHUP)
            served.said("opened", start)
            with served.client() as client:
                until(lambda client=client, weight=(STRONG, WEAK)[number % 2]: is_of(ask(client), weight))
                assert client.get("/health/ready").status_code == 200
        stop.set()
        assert all(one.result(WAIT_SEC) > 0 for one in asked)
        served.signal(signal.SIGTERM)
        assert served.ended() == 0
        assert not any("Traceback" in line or "ERROR" in line for line in served.lines)


# Bears what happens to a process


def test_too_much_is_refused_and_what_is_accepted_is_right(slow: Path) -> None:
    options = ("--max-queue-sec", "0.05")
    with ExitStack() as stack:
        served = stack.enter_context(serving(slow, *options))
        pool = stack.enter_context(ThreadPoolExecutor(32))
        clients = [stack.enter_context(served.client()) for _ in range(32)]

        def burst(number: int) -> list[int]:
            statuses = []
            for turn in range(2):
                text = " ".join(["good"] * (1 + (number + turn) % 5)) + " inf"
                response = clients[number].post("/predict", json={"texts": [text] * 4})
                statuses.append(response.status_code)
                if response.status_code == 200:
                    assert all(is_of(one["scores"]["positive"], WEAK, text) for one in response.json())
                else:
                    assert response.status_code == 429 and int(response.headers["retry-after"]) >= 1, response.text
                    assert int(response.headers["retry-after-ms"]) >= 1
                    assert clients[number].get("/v2/health/live").status_code == 200
            return statuses

        found = [status for statuses in pool.map(burst, range(32)) for status in statuses]
        assert set(found) == {200, 429}
        client = clients[0]
        assert metric(client, "ftx_queued_tokens") == metric(client, "ftx_unfinished_requests") == 0
        assert metric(client, "ftx_predicted_wait_seconds") == 0
        assert metric(client, "ftx_shed_total") == found.count(429)
        assert is_of(ask(client), WEAK)


async def flood(url: httpx.URL, each: int, times: int, every_sec: float) -> list[tuple[str, httpx.Response]]:
    """Send requests, so many at once, whether or not the ones before were answered; give texts and responses."""
    descriptors = asyncio.Semaphore(256)

    async def one(text: str) -> tuple[str, httpx.Response]:
        body = json.dumps({"texts": [text]}).encode()
        head = f"POST /predict HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        async with descriptors:
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(head.encode() + body)
            received = await asyncio.wait_for(reader.read(), WAIT_SEC)
            writer.close()
        head, _, body = received.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = [tuple(line.split(": ", 1)) for line in lines]
        return text, httpx.Response(int(status.split()[1]), headers=headers, content=body)

    sent = []
    for _ in range(times):
        sent += [asyncio.create_task(one(" ".join(["good"] * (1 + turn % 5)) + SLOWLY)) for turn in range(each)]
        await asyncio.sleep(every_sec)
    return await asyncio.gather(*sent)


@pytest.mark.slow
def test_four_times_the_load_that_it_can_carry(slow: Path) -> None:
    peak_sec, every_sec, flood_sec = 2.0, 0.5, 20.0
    with serving(slow, "--max-queue-sec", "0.1") as served, served.client() as client, ThreadPoolExecutor(4) as pool:
        end = time.monotonic() + peak_sec

        def ask_on(_: int) -> int:
            count = 0
            while time.monotonic() < end:
                count += client.post("/predict", json={"texts": ["good" + SLOWLY]}).status_code == 200
            return count

        # So many at once that the queue is full, however fast the machine.
        each = max(20, round(4 * sum(pool.map(ask_on, range(4))) / peak_sec * every_sec))
        before = metric(client, "ftx_shed_total")
        found = asyncio.run(flood(httpx.URL(served.url), each, round(flood_sec / every_sec), every_sec))
        for text, response in found:
            if response.status_code == 200:
                [answer] = response.json()
                assert answer["text"] == text and is_of(answer["scores"]["positive"], WEAK, text)
            else:
                assert response.status_code == 429, response.text
                assert int(response.headers["retry-after"]) >= 1 and int(response.headers["retry-after-ms"]) >= 1
        statuses = [response.status_code for _, response in found]
        assert set(statuses) == {200, 429}
        assert metric(client, "ftx_shed_total") - before == statuses.count(429)
        assert metric(client, "ftx_queued_tokens") == metric(client, "ftx_unfinished_requests") == 0
        assert client.get("/health/ready").status_code == 200
        assert is_of(ask(client), WEAK)
        served.signal(signal.SIGTERM)
        assert served.ended() == 0
        assert not any("Traceback" in line or "ERROR" in line for line in served.lines)


@pytest.mark.slow
def test_memory_is_bounded(tiny_export: Path) -> None:
    chosen = random.Random(5)
    with serving(tiny_export) as served, ThreadPoolExecutor(4) as pool:

        def send(count: int) -> None:
            with served.client() as client:
                for _ in range(count):
                    assert client.post("/predict", json={"texts": ["word " * chosen.randint(1, 512)]}).is_success

        with served.client() as client:
            list(pool.map(send, [500] * 4))
            before = metric(client, "ftx_resident_memory_bytes")
            list(pool.map(send, [2500] * 4))
            grown = metric(client, "ftx_resident_memory_bytes") - before
        assert grown <= 32 * 2**20, f"{grown / 2**20:.1f} MiB"


def test_connections_that_send_nothing_hold_nobody_up(model: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1000
    if before[0] < 2 * wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (2 * wanted, max(before[1], 2 * wanted)))
        except (OSError, ValueError):
            wanted = before[0] // 2
    try:
        with ExitStack() as stack:
            served = stack.enter_context(serving(model))
            url = httpx.URL(served.url)
            for _ in range(wanted):
                stack.enter_context(closing(socket.create_connection((url.host, url.port), WAIT_SEC)))
            with served.client() as client:
                assert is_of(ask(client), WEAK)
                assert client.get("/health/ready").status_code == 200
            served.signal(signal.SIGTERM)  # and they do not hold up its end
            assert served.ended() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_few_descriptors(model: Path) -> None:
    few = 48

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))

    with ExitStack() as stack:
        served = stack.enter_context(serving(model, preexec_fn=limit))
        url = httpx.URL(served.url)
        with served.client() as client:
            assert is_of(ask(client), WEAK)
            # More than it can accept: whoever is connected is served, and so are others when these have gone.
            idle = [socket.create_connection((url.host, url.port), WAIT_SEC) for _ in range(2 * few)]
            assert is_of(ask(client), WEAK)
            for one in idle:
                one.close()

        def served_anew() -> bool:
            # Whoever comes before the server has seen that the others are gone may be disconnected.
            with suppress(httpx.TransportError), served.client() as another:
                return is_of(ask(another), WEAK)
            return False

        assert until(served_anew)
        served.signal(signal.SIGTERM)
        assert served.ended() == 0


def test_a_log_in_json_is_nothing_else(tmp_path: Path) -> None:
    broken = [  # for each "inf" it looks for another row, of which there are three
        helper.make_node("Constant", [], ["inf"], value=numpy_helper.from_array(np.array(WORDS.index("inf")))),
        helper.make_node("Constant", [], ["three"], value=numpy_helper.from_array(np.zeros(3, dtype=np.float32))),
        helper.make_node("Equal", ["input_ids", "inf"], ["are_inf"]),
        helper.make_node("Cast", ["are_inf"], ["ones"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["ones"], ["row"], keepdims=0),
        helper.make_node("Gather", ["three", "row"], ["zero"]),
        helper.make_node("Add", ["sum", "zero"], ["logits"]),
    ]
    model = save(tmp_path / "model", nodes=broken).parent
    with serving(model, "--log-format", "json") as served:
        with httpx.Client(base_url=json.loads(served.said("serving "))["message"].split(" on ")[1]) as client:
            failed = client.post("/predict", json={"texts": ["good", "inf " * 4]}, timeout=WAIT_SEC)
            assert failed.status_code == 500 and "Gather" not in failed.text
            (model / "model.onnx").write_bytes(b"none")
            served.signal(signal.SIGHUP)
            served.said("the new file is not served")
            served.signal(signal.SIGTERM)
            assert served.ended() == 0
        lines = [json.loads(line) for line in served.lines if line]
    assert [line["level"] for line in lines] == ["INFO", "ERROR", "ERROR", "INFO"]
    assert all(set(line) == {"time", "level", "message"} for line in lines)
    assert "text 1 of a request failed" in lines[1]["message"] and "Gather" in lines[1]["message"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("stderr", ["full", "closed", "reader gone", "never read"])
def test_it_serves_whatever_becomes_of_its_log(model: Path, stderr: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        path = tmp_path / "socket"
        options: dict[str, Any] = {"stderr": subprocess.DEVNULL}
        if stderr == "full":
            options["stderr"] = stack.enter_context(open("/dev/full", "w"))  # noqa: PTH123
        elif stderr == "closed":
            options["preexec_fn"] = lambda: os.close(2)
        else:
            reader, writer = os.pipe()
            options["stderr"] = writer
            stack.callback(os.close, writer)
            if stderr == "reader gone":
                os.close(reader)
            else:  # full before the first line
                stack.callback(os.close, reader)
                os.set_blocking(writer, False)
                with suppress(BlockingIOError):
                    while True:
                        os.write(writer, b"x" * 4096)
                with suppress(BlockingIOError):
                    while True:
                        os.write(writer, b"x")
                os.set_blocking(writer, True)
        served = stack.enter_context(serving(model, "--uds", str(path), **options))

        def listens() -> bool:
            assert served.process.poll() is None
            with closing(socket.socket(socket.AF_UNIX)) as tried:
                return tried.connect_ex(str(path)) == 0

        until(listens)
        transport = httpx.HTTPTransport(uds=str(path))
        client = stack.enter_context(httpx.Client(transport=transport, base_url="http://x", timeout=WAIT_SEC))
        assert is_of(ask(client), WEAK)
        (model / "model.onnx").write_bytes(b"none")
        served.signal(signal.SIGHUP)  # which it says in its log
        until(lambda: metric(client, "ftx_model_reload_failed"))
        assert is_of(ask(client), WEAK)
        if stderr in ("full", "reader gone"):
            until(lambda: metric(client, "ftx_log_lines_dropped_total") >= 2)
        served.signal(signal.SIGTERM)
        status = served.ended()
        assert status >= 0, "it was not killed"
        assert stderr == "full" or status == 0
