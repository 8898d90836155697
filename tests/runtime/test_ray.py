from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ftx.cli import ftx as ftx_command
from ftx.errors import DataError, FtxError, OnnxFileError, OutputError
from ftx.output import staging_of
from ftx.quantization import Quantization
from ftx.runtime import Predictor, PredictSettings
from ftx.runtime.ray import RayReport, predict_with_ray
from ftx.runtime.ray.cluster import cluster
from ftx.runtime.stream import Job
from tests.runtime.conftest import save_words

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'ftx-toolkit[ray]'")
pq = pytest.importorskip("pyarrow.parquet")

from ftx.export.graph.convert import export_graph  # noqa: E402
from ftx.export.parity.reference import Reference  # noqa: E402

# Ray's own modules, and the processes and sockets that it leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:ray",
    "ignore:The minimum number of concurrent actors:UserWarning",
    "ignore::ResourceWarning",
)

WORDS = ["great", "awful", "lovely", "dull", "fine", "the", "movie", "plot"]
HEADS = ["single_label_classification", "multi_label_classification", "regression"]


def texts_of(count: int) -> list[str]:
    """Texts of many lengths, some longer than the model reads, each another one."""
    return [
        f"{number} " + " ".join(WORDS[(number + step) % 8] for step in range(number % 40)) for number in range(count)
    ]


def write_shards(folder: Path, texts: list[str], shards: int, row_group_size: int = 100) -> Path:
    import pyarrow

    folder.mkdir()
    each = -(-len(texts) // shards)
    for shard in range(shards):
        rows = range(shard * each, min(len(texts), (shard + 1) * each))
        table = pyarrow.table({"id": list(rows), "text": [texts[row] for row in rows]})
        pq.write_table(table, folder / f"shard-{shard:02d}.parquet", row_group_size=row_group_size)
    return folder


def read_rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def predict(onnx: Path, source: Path, target: Path, **options: Any) -> RayReport:
    """Predict with Ray; the options are those of the job, and of Ray."""
    own = {name: options.pop(name) for name in ("settings", "address", "workers", "rows_per_shard") if name in options}
    return predict_with_ray(onnx, Job(input=source, output=target, **options), **own)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> Callable[[str], Path]:
    """A tiny fp32 graph by head."""
    made: dict[str, Path] = {}

    def make(problem_type: str) -> Path:
        if problem_type not in made:
            reference = Reference(tiny_model(problem_type))
            made[problem_type] = export_graph(reference, tmp_path_factory.mktemp("graph"))
        return made[problem_type]

    return make


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """One Ray for the tests that do not look at how it is started."""
    with cluster(None, 2):
        yield


def test_a_ray_of_its_own_answers_shards_in_order(
    graph: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, texts = graph("single_label_classification"), texts_of(3000)
    source = write_shards(tmp_path / "in", texts, shards=3)
    here, environment = Path.cwd(), dict(os.environ)
    moves: list[object] = []
    monkeypatch.setattr(os, "chdir", moves.append)  # another thread would be moved, too
    report = predict(path, source, tmp_path / "out", workers=2)
    assert not ray.is_initialized()
    assert Path.cwd() == here and not moves
    assert dict(os.environ) == environment
    assert (report.rows, report.workers) == (3000, 2)
    rows = read_rows(tmp_path / "out")
    assert [row["id"] for row in rows] == list(range(3000))
    assert [row["text"] for row in rows] == texts
    for row, expected in zip(rows, Predictor(path)(texts), strict=True):
        assert row["predicted_score"] == pytest.approx(expected.score, abs=1e-6)
        for label, score in expected.scores.items():
            assert row[f"predicted_score_{label}"] == pytest.approx(score, abs=1e-6)
        assert row["predicted_label"] == expected.label or abs(row["predicted_score"] - 0.5) < 1e-5
        assert row["predicted_truncated"] == expected.truncated
    assert {row["predicted_truncated"] for row in rows} == {True, False}
    shards = [f"part-{number:05d}.parquet" for number in range(report.shards)]
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["_SHA256SUMS", *shards]
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "out"}


def test_a_ray_that_can_not_be_started_leaves_the_environment_as_it_was(
    graph: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    source = write_shards(tmp_path / "in", texts_of(10), shards=1)
    here, environment = Path.cwd(), dict(os.environ)
    with pytest.raises(FtxError, match="can't be reached or started"):
        predict(graph("single_label_classification"), source, tmp_path / "out", address="no such address", workers=1)
    assert dict(os.environ) == environment
    assert Path.cwd() == here
    assert not ray.is_initialized()


@pytest.mark.usefixtures("local_ray")
class TestOnOneRay:
    @pytest.mark.parametrize("problem_type", HEADS)
    def test_each_head_has_the_columns_of_the_stream(
        self, graph: Callable[[str], Path], tmp_path: Path, problem_type: str
    ) -> None:
        from ftx.runtime.stream.columns import predicted_columns

        path, texts = graph(problem_type), texts_of(500)
        predict(path, write_shards(tmp_path / "in", texts, shards=1), tmp_path / "out", prefix="p_", workers=1)
        rows = read_rows(tmp_path / "out")
        predictor = Predictor(path)
        expected = predicted_columns(predictor(texts), predictor.manifest, prefix="p_")
        assert list(rows[0]) == ["id", "text", *expected]
        for name, values in expected.items():
            found = [row[name] for row in rows]
            same = found == pytest.approx(values, abs=1e-5) if isinstance(values[0], float) else found == values
            assert same, name

    @pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
    def test_other_formats_keep_what_they_hold(self, graph: Callable[[str], Path], tmp_path: Path, suffix: str) -> None:
        path, texts = graph("single_label_classification"), texts_of(300)
        texts[7] = 'with "quotes", commas' if suffix == ".tsv" else 'two\nlines, "quotes"'
        rows = [{"code": f"00{number}", "review": text} for number, text in enumerate(texts)]
        source = tmp_path / f"rows{suffix}"
        if suffix == ".jsonl":
            source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            import csv

            tab = suffix == ".tsv"
            with source.open("w", newline="") as file:
                if tab:
                    file.write("code\treview\n" + "".join("\t".join(row.values()) + "\n" for row in rows))
                else:
                    writer = csv.DictWriter(file, ["code", "review"])
                    writer.writeheader()
                    writer.writerows(rows)
        predict(path, source, tmp_path / "out", text_column="review", workers=1)
        found = read_rows(tmp_path / "out")
        assert [{name: row[name] for name in ("code", "review")} for row in found] == rows
        expected = [prediction.score for prediction in Predictor(path)(texts)]
        assert [row["predicted_score"] for row in found] == pytest.approx(expected, abs=1e-6)

    def test_long_texts_are_read_in_windows(self, graph: Callable[[str], Path], tmp_path: Path) -> None:
        path, texts = graph("single_label_classification"), texts_of(300)
        source = write_shards(tmp_path / "in", texts, shards=1)
        cut = predict(path, source, tmp_path / "cut", workers=1)
        whole = predict(
            path, source, tmp_path / "whole", workers=1, settings=PredictSettings(long_text="window", pooling="max")
        )
        expected = Predictor(path, long_text="window", pooling="max")(texts)
        assert [row["predicted_windows"] for row in read_rows(tmp_path / "whole")] == [one.windows for one in expected]
        long = sum(one.windows > 1 for one in expected)
        assert (cut.truncated, cut.windowed, whole.truncated, whole.windowed) == (long, 0, 0, long)
        assert 0 < long < 300

    def test_texts_near_the_boundary_are_answered_by_the_fallback(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reduced = Quantization(kind="static", scheme="static int8")
        save_words(tmp_path / "int8.onnx", quantization=reduced, parity={"margin_error": 0.5})
        # It likes every word a little more, so that its answers can be told apart.
        fp32 = save_words(tmp_path / "fp32.onnx", table=[[0, 0], [-1, 1.1], [1, -0.9]])
        texts = ["good bad", "good", "bad good"] * 100
        (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in texts))
        monkeypatch.chdir(tmp_path)  # workers run in another folder
        files = ["--input", "texts.txt", "--output", "out", "--engine", "ray", "--threads", "1"]
        command = ["predict", "--onnx", "int8.onnx", "--fallback", "fp32.onnx", *files]
        result = CliRunner().invoke(ftx_command, command)
        assert result.exit_code == 0, result.stderr
        rows = read_rows(tmp_path / "out")
        expected = Predictor("int8.onnx", fallback=fp32)(texts)
        assert [row["predicted_label"] for row in rows] == [one.label for one in expected]
        assert [row["predicted_score"] for row in rows] == pytest.approx([one.score for one in expected], abs=1e-6)
        assert [row["predicted_near_boundary"] for row in rows] == [True, False, True] * 100
        assert expected[0].score != pytest.approx(Predictor("int8.onnx")(texts[:1])[0].score, abs=1e-3)
        wrong = CliRunner().invoke(ftx_command, [*command, "--overwrite", "--fallback", "int8.onnx"])
        assert (wrong.exit_code, "expected fp32" in wrong.stderr) == (1, True)

    def test_pairs_of_texts(self, graph: Callable[[str], Path], tmp_path: Path) -> None:
        folder = tmp_path / "model"
        shutil.copytree(graph("single_label_classification").parent, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "text_pair": True}))
        pairs = [(text, f"was it {text.split()[0]}") for text in texts_of(200)]
        source = tmp_path / "pairs.jsonl"
        source.write_text("".join(json.dumps({"text": one, "question": two}) + "\n" for one, two in pairs))
        predict(folder, source, tmp_path / "out", text_pair_column="question", workers=1)
        rows = read_rows(tmp_path / "out")
        assert [(row["text"], row["question"]) for row in rows] == pairs
        expected = [one.score for one in Predictor(folder)(pairs)]
        assert [row["predicted_score"] for row in rows] == pytest.approx(expected, abs=1e-6)

    def test_the_command_line_says_what_was_done(self, graph: Callable[[str], Path], tmp_path: Path) -> None:
        source = write_shards(tmp_path / "in", texts_of(300), shards=2)
        files = ["--input", str(source), "--output", str(tmp_path / "out"), "--engine", "ray", "--threads", "1"]
        command = ["predict", "--onnx", str(graph("single_label_classification")), *files]
        result = CliRunner().invoke(ftx_command, command)
        assert (result.exit_code, result.stdout) == (0, "")
        long = sum(row["predicted_truncated"] for row in read_rows(tmp_path / "out"))
        cut = f"{long} texts ({long / 300:.1%}) too long for the model and truncated"
        assert result.stderr.startswith("300 rows in ")
        assert result.stderr.endswith(f"/s) by 1 workers, {cut}, 2 files in {tmp_path}/out\n")
        result = CliRunner().invoke(ftx_command, [*command, "--overwrite", "--long-text", "window", "--stride", "99"])
        assert result.exit_code == 2
        assert "stride 99, expected from 0 to" in result.stderr

    @pytest.mark.slow
    def test_a_killed_worker_loses_and_doubles_no_row(self, graph: Callable[[str], Path], tmp_path: Path) -> None:
        path, texts = graph("single_label_classification"), texts_of(40_000)
        source = write_shards(tmp_path / "in", texts, shards=4, row_group_size=1000)
        killed: list[tuple[int, bool]] = []
        done = threading.Event()

        def kill_one() -> None:
            while not done.wait(0.02):
                # Once a chunk is written the job is under way; the folder in its place would mean that it is over.
                if list((staging_of(tmp_path / "out") / "chunks").glob("*.parquet")) and (found := workers_alive()):
                    os.kill(found[0], signal.SIGKILL)
                    killed.append((found[0], (tmp_path / "out").exists()))
                    return

        killer = threading.Thread(target=kill_one)
        killer.start()
        try:
            report = predict(path, source, tmp_path / "out", workers=2, rows_per_shard=2000)
        finally:
            done.set()
            killer.join()
        assert killed and not killed[0][1], "no worker was killed while the job ran"
        assert report.rows == 40_000
        rows = read_rows(tmp_path / "out")
        assert [row["id"] for row in rows] == list(range(40_000))
        expected = Predictor(path).predict_proba(texts).max(axis=1)
        assert [row["predicted_score"] for row in rows] == pytest.approx(list(expected), abs=1e-6)

    def test_a_row_without_text_ends_the_job_and_leaves_nothing(
        self, graph: Callable[[str], Path], tmp_path: Path
    ) -> None:
        source = tmp_path / "rows.jsonl"
        source.write_text('{"text": "fine"}\n{"text": null}\n')
        with pytest.raises(DataError, match=r"rows.jsonl:2: the text is missing; expected a value"):
            predict(graph("single_label_classification"), source, tmp_path / "out", workers=1)
        assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]

    def test_what_a_worker_meets_late_ends_the_job_as_it_is(self, graph: Callable[[str], Path], tmp_path: Path) -> None:
        source = tmp_path / "rows.jsonl"
        source.write_text('{"text": "fine"}\n' * 5000 + '{"text": ["a list"]}\n' + '{"text": "fine"}\n' * 5000)
        with pytest.raises(DataError, match=r"^\S+rows.jsonl:5001: .* list; expected .*; correct or remove") as caught:
            predict(graph("single_label_classification"), source, tmp_path / "out", workers=1)
        assert caught.value.__cause__ is None
        assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]

    def test_an_output_that_is_there_is_kept_unless_told(self, graph: Callable[[str], Path], tmp_path: Path) -> None:
        path, source = graph("single_label_classification"), write_shards(tmp_path / "in", texts_of(10), shards=1)
        before = write_shards(tmp_path / "before", texts_of(10), shards=2)
        predict(path, before, tmp_path / "out", workers=1)
        assert len(list((tmp_path / "out").glob("part-*.parquet"))) == 2
        assert pq.read_table(tmp_path / "out").num_rows == 10  # readers pass over the list of digests
        (tmp_path / "out" / "notes.txt").write_text("a user's own")
        with pytest.raises(OutputError, match="is not empty"):
            predict(path, source, tmp_path / "out", workers=1)
        predict(path, source, tmp_path / "out", workers=1, overwrite=True)
        names = {path.name for path in (tmp_path / "out").iterdir()}
        assert names == {"part-00000.parquet", "notes.txt", "_SHA256SUMS"}
        assert (tmp_path / "out" / "notes.txt").read_text() == "a user's own"
        assert [row["id"] for row in read_rows(tmp_path / "out")] == list(range(10))

    def test_a_shard_that_is_a_users_own_is_refused_and_named(
        self, graph: Callable[[str], Path], tmp_path: Path
    ) -> None:
        path, source = graph("single_label_classification"), write_shards(tmp_path / "in", texts_of(10), shards=1)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "part-00007.parquet").write_text("a user's own")
        with pytest.raises(OutputError, match=r"holds part-00007\.parquet, which is not ftx's"):
            predict(path, source, tmp_path / "out", workers=1, overwrite=True)
        assert (tmp_path / "out" / "part-00007.parquet").read_text() == "a user's own"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "id,review\n1,good\n", "there is no column 'text'"),
        ("rows.csv", "text,predicted_label\ngood,x\n", "'predicted_label' already"),
        ("rows.csv", "", "expected a header line"),
        ("rows.jsonl", "[1]\n", "a list, expected one JSON object a line"),
        ("rows.xls", "", "is a spreadsheet: save it as CSV"),
    ],
)
def test_what_can_not_be_read_is_said_before_ray_starts(
    graph: Callable[[str], Path], tmp_path: Path, name: str, content: str, message: str, monkeypatch: Any
) -> None:
    def started(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ftx.runtime.ray.engine.cluster", started)
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=re.escape(message)):
        predict(graph("single_label_classification"), tmp_path / name, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_that_is_gone_is_no_hindrance(
    graph: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, source = graph("single_label_classification"), write_shards(tmp_path / "in", texts_of(10), shards=1)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert predict(path, source, tmp_path / "out", workers=1).rows == 10


def test_a_clone_in_the_working_directory_does_not_hide_the_installed_ftx(
    graph: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, source = graph("single_label_classification"), write_shards(tmp_path / "in", texts_of(10), shards=1)
    (tmp_path / "ftx").mkdir()
    (tmp_path / "ftx/__init__.py").write_text("raise ImportError('this is not the installed one')")
    monkeypatch.chdir(tmp_path)
    assert predict(path, source, tmp_path / "out", workers=1).rows == 10


def test_a_file_that_is_replaced_in_the_middle_of_the_job_is_refused(
    graph: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(graph("single_label_classification").parent, tmp_path / "model")
    source = write_shards(tmp_path / "in", texts_of(10), shards=1)

    @contextmanager
    def late(*arguments: Any) -> Iterator[Any]:
        with cluster(*arguments) as started:
            config = json.loads((folder / "config.json").read_text())
            config["id2label"] = {"0": "positive", "1": "negative"}
            (folder / "config.json").write_text(json.dumps(config))
            yield started

    monkeypatch.setattr("ftx.runtime.ray.engine.cluster", late)
    with pytest.raises(OnnxFileError, match="is another file than expected"):
        predict(folder / "model.onnx", source, tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def workers_alive() -> list[int]:
    """The processes in which Ray runs a Predictor, by the names that it gives them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            title = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith((b"ray::MapWorker", b"ray::_MapWorker")) or b"ChunkWorker" in title.partition(b"\0")[0]:
            found.append(int(process.name))
    return found
