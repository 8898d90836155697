"""Flipped bytes, cut and patched files: of a sealed model, of an unfinished run, of an unfinished job."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ftx import Predictor
from ftx.errors import OnnxFileError
from tests.faults.commands import Fault, check_ending
from tests.faults.jobs import Job, break_job, check_result, end_job
from tests.faults.ledger import Ledger, LostError

FLIPS, CUTS, PATCHES = 1000, 100, 200
TEXTS = ["The movie was great!", "The plot was awful", "電影", ""]
# Of a checkpoint to resume from. Weights carry no checksum: what is flipped there can't be told from what was learnt.
CHECKPOINT_FILES = [
    "model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json", "rng_state.pth", "config.json",
    "training_args.bin", "tokenizer.json", "complete",
]  # fmt: skip


@pytest.fixture(scope="module", params=["model.onnx", "model_quantized.onnx"])
def sealed(request: pytest.FixtureRequest, tiny_export: Path) -> bytes:
    """A sealed model."""
    return (tiny_export / request.param).read_bytes()


@pytest.fixture
def beside(tiny_export: Path, tmp_path: Path) -> Path:
    """A place for a model beside the files of an export: what a damaged one might fall back on."""
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_export / name, tmp_path / name)
    return tmp_path / "model.onnx"


def check_refused(data: bytes, path: Path) -> None:
    """Check that a model is not opened."""
    path.write_bytes(data)
    try:
        with Predictor(path) as predictor:
            answered = [one.label for one in predictor(TEXTS)]
    except OnnxFileError as error:
        assert "\n" not in str(error), str(error)
        return
    raise LostError(f"it was opened, and answered {answered}")


def regions(data: bytes) -> list[tuple[int, int]]:
    """Divide a model into its head, its graph, what was appended, the seal, and its last bytes."""
    carried, seal = data.rindex(b"ftx.tokenizer"), data.rindex(b"ftx.sha256")
    return [(0, 64), (0, carried), (carried - 8, seal), (seal - 8, len(data)), (len(data) - 16, len(data))]


def test_flipped_bits(sealed: bytes, beside: Path, ledger: Ledger) -> None:
    chance = ledger.chance(f"flips in {len(sealed)} bytes")
    places = itertools.cycle(regions(sealed))

    def attempt(flip: tuple[int, int]) -> None:
        place, mask = flip
        data = bytearray(sealed)
        data[place] ^= mask
        check_refused(bytes(data), beside)

    flips = [
        (
            chance.randrange(*next(places)),
            1 << chance.randrange(8) if chance.random() < 0.7 else chance.randrange(1, 256),
        )
        for _ in range(ledger.count(FLIPS) // 2)
    ]
    ledger.try_each(flips, attempt, workers=1)


def test_cut_files(sealed: bytes, tmp_path: Path, ledger: Ledger) -> None:
    chance = ledger.chance(f"cuts of {len(sealed)} bytes")
    carried = sealed.rindex(b"ftx.tokenizer")
    # Field by field towards the end, where a file that is cut is a whole message of protobuf.
    sizes = [0, 1, len(sealed) - 1, *range(carried - 8, carried + 1), sealed.rindex(b"ftx.sha256") - 4]
    sizes += [chance.randrange(len(sealed)) for _ in range(max(0, ledger.count(CUTS) // 2 - len(sizes)))]
    ledger.try_each(sizes, lambda size: check_refused(sealed[:size], tmp_path / "model.onnx"), workers=1)


def patched(data: bytes, chance: random.Random) -> bytes:
    """Damage a model as disks, copies and editors do."""
    start = chance.randrange(len(data))
    end = min(len(data), start + chance.choice([1, 2, 16, 512, 4096]))
    kind = chance.choice(["zeros", "insert", "delete", "double", "swap", "append", "prepend", "text"])
    piece = data[start:end]
    if kind == "zeros":
        return data[:start] + bytes(len(piece)) + data[end:] if any(piece) else data + b"\0"
    if kind == "insert":
        return data[:start] + chance.randbytes(len(piece)) + data[start:]
    if kind == "delete":
        return data[:start] + data[end:]
    if kind == "double":
        return data[:end] + piece + data[end:]
    if kind == "swap":
        other = data[:start] + data[end : end + len(piece)] + piece + data[end + len(piece) :]
        return other if other != data else data[:-1]
    if kind == "append":
        return data + chance.choice([b"\0", b"\n", data, piece, b"r\x02\n\0"])
    if kind == "prepend":
        return piece + data
    return data.replace(b"\n", b"\r\n")


def test_patched_files(sealed: bytes, beside: Path, ledger: Ledger) -> None:
    name = f"patches of {len(sealed)} bytes"
    ledger.try_each(
        range(ledger.count(PATCHES) // 2),
        lambda number: check_refused(patched(sealed, ledger.chance(f"{name} {number}")), beside),
        workers=1,
    )


def test_files_that_change_while_they_are_open(tiny_export: Path, tmp_path: Path, ledger: Ledger) -> None:
    """Large calls and forks open a second graph: of the model that was opened, or not at all."""
    quantized, plain = (tiny_export / name for name in ("model_quantized.onnx", "model.onnx"))
    many = TEXTS * 200
    chance = ledger.chance("changes")

    def replaced(path: Path) -> None:
        shutil.copy(plain, path.with_name("other"))
        path.with_name("other").replace(path)

    def overwritten(path: Path) -> None:
        path.write_bytes(plain.read_bytes())

    def flipped(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[chance.randrange(len(data))] ^= 1
        path.with_name("other").write_bytes(data)
        path.with_name("other").replace(path)

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])

    def removed(path: Path) -> None:
        path.unlink()

    with Predictor(quantized) as predictor:
        expected = [(one.label, round(one.score or 0, 3)) for one in predictor(many)]

    def attempt(change: Callable[[Path], None]) -> None:
        path = tmp_path / "model.onnx"
        shutil.copy(quantized, path)
        with Predictor(path, intra_op_num_threads=2) as predictor:
            predictor(TEXTS[:1])
            change(path)
            for texts in (TEXTS[:1], many, TEXTS):
                try:
                    found = [(one.label, round(one.score or 0, 3)) for one in predictor(texts)]
                except OnnxFileError:
                    continue
                if found != expected[: len(texts)]:
                    raise LostError(f"after it was {change.__name__}: other answers")

    ledger.try_each([replaced, overwritten, removed, *[flipped, cut] * ledger.count(2)], attempt, workers=1)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Cut or empty a file, or put something else in its place."""
    return chance.choice(
        [b"", data[: len(data) // 2], data[:-1], bytes(len(data)), b"\xff" * 100, b"[" * 100_000, b"null", b"{}"]
    )


def test_checkpoints_to_resume_from(
    job: Callable[[str], Job], new_folder: Callable[[], Path], base: Path, ledger: Ledger
) -> None:
    """Of two checkpoints the newest is damaged: the run goes on from the one before."""
    train = job("train")
    chance = ledger.chance("checkpoints")
    broken = new_folder()
    # Near the end, so that there are two.
    break_job(train, broken, Fault(kind="signal", value=9, step=round(train.steps * 0.8)), base)
    trainer = next(path.parent for path in broken.rglob("checkpoint-*"))
    numbers = sorted(int(path.name.rpartition("-")[2]) for path in trainer.glob("checkpoint-*"))
    assert len(numbers) == 2, numbers

    def attempt(name: str) -> None:
        folder = new_folder()
        shutil.copytree(broken, folder, symlinks=True, dirs_exist_ok=True)
        newest = folder / trainer.relative_to(broken) / f"checkpoint-{numbers[-1]}"
        file = newest / name
        if chance.random() < 0.2 or not file.is_file():
            file.unlink(missing_ok=True)
        else:
            file.write_bytes(damaged(file.read_bytes(), chance))
        end_job(train, folder, base)
        assert check_result(train, folder), "the older checkpoint was not used"

    ledger.try_each(CHECKPOINT_FILES * max(1, ledger.count(9) // 9), attempt)


# What becomes of the file in the place of what it holds, or of a part of it.
CHANGES = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "no text": lambda data: b"\xff" * 10,
    "deep": lambda data: b"[" * 100_000,
    "null": lambda data: b"null",
    "negative chunks": lambda data: data.replace(b'"chunks": ', b'"chunks": -'),
    "broken chunks": lambda data: data.replace(b'"chunks": ', b'"chunks": 1.5, "x": '),
    "very many rows": lambda data: data.replace(b'"rows": ', b'"rows": 1' + b"0" * 5000),
    "more than there is": lambda data: data.replace(b'"output_committed": ', b'"output_committed": 9'),
    "unknown state": lambda data: data.replace(b'"state": "running"', b'"state": "gone"'),
    "more": lambda data: data + b"more",
}


def test_journals_to_resume_from(
    job: Callable[[str], Job], new_folder: Callable[[], Path], base: Path, ledger: Ledger
) -> None:
    """A damaged journal, or an output that is not what it says: an error, or the same output in the end."""
    predict = job("csv")
    chance = ledger.chance("journals")

    def attempt(change: tuple[str, str]) -> None:
        suffix, name = change
        folder = new_folder()
        step = chance.randint(predict.steps // 2, predict.steps)
        break_job(predict, folder, Fault(kind="signal", value=9, step=step), base)
        path = folder / f"{predict.result}{suffix}"
        if path.exists():
            path.write_bytes(CHANGES[name](path.read_bytes()))
        for again in (predict.go_on(folder), [*predict.begin(folder), "--overwrite"]):
            outcome = predict.commands.run(*again, under=base)
            check_ending(outcome, usual=predict.usual)
            if not check_result(predict, folder) and outcome.status == 0:
                raise LostError("success, and no result")

    ledger.try_each([(suffix, name) for suffix in (".part.json", ".part") for name in CHANGES], attempt)
