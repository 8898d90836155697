"""Every form of a report says the same numbers."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from dataclasses import replace
from html import unescape
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ftx.bench import BenchReport
from ftx.bench.engines.choosing import PEERS, choose_engines
from ftx.bench.engines.kind import Sources
from ftx.bench.pages.figures import INK
from ftx.bench.table import COLUMNS, MIB
from ftx.errors import FtxError
from ftx.runtime import Predictor
from ftx.text import Text
from tests.conftest import review_rows
from tests.schemas import FOLDER

# Where each figure of CSV stands in JSON, for those that are not called the same.
IN_JSON = {
    "texts_per_sec_batch_1": lambda e, r: e["texts_per_sec"]["batch_1"],
    "texts_per_sec": lambda e, r: e["texts_per_sec"]["batch_32"],
    "tokens_per_sec": lambda e, r: e["tokens_per_sec"]["batch_32"],
    "speedup_batch_1": lambda e, r: r["speedup_over_pytorch"][e["name"]]["batch_1"],
    "speedup": lambda e, r: r["speedup_over_pytorch"][e["name"]]["batch_32"],
    "speedup_over_teacher_file": lambda e, r: None,
    "speedup_over_teacher": lambda e, r: None,
    "load_sec": lambda e, r: e["load_ms"] / 1000,
    "first_start_sec": lambda e, r: e["cold_start"] and e["cold_start"]["first_sec"],
    "first_start_cpu_sec": lambda e, r: e["cold_start"] and e["cold_start"]["first_cpu_sec"],
    "later_start_sec": lambda e, r: e["cold_start"] and e["cold_start"]["later_sec"],
    "later_start_cpu_sec": lambda e, r: e["cold_start"] and e["cold_start"]["later_cpu_sec"],
    "peak_rss_mib": lambda e, r: e["peak_rss_bytes"] / MIB,
    "rss_mib": lambda e, r: e["rss_bytes"] and e["rss_bytes"] / MIB,
    "file_mib": lambda e, r: e["size_bytes"] and e["size_bytes"] / MIB,
}
# Its report takes half a minute.
pytestmark = pytest.mark.slow

PERCENTILE = re.compile(r"(p[\d.]+)_ms")


def test_markdown_html_csv_and_json_say_the_same_numbers(tiny_report: BenchReport) -> None:
    as_json = json.loads(json.dumps(tiny_report.to_dict()))
    rows = list(csv.DictReader(io.StringIO(tiny_report.to_csv())))
    markdown = rows_of_markdown(tiny_report.to_markdown())
    html = [
        [unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", row)]
        for row in re.findall(r"<tr(?: class=first)?>(<td>.*?)</tr>", tiny_report.to_html())
    ]
    assert len(as_json["engines"]) == 3
    engines, servers = rows[:3], rows[3:]
    compared = 0
    for row, engine in zip(engines, as_json["engines"], strict=True):
        assert row["engine"] == engine["name"]
        for columns in COLUMNS.values():
            said = [engine["name"]]
            for column in columns:
                if match := PERCENTILE.fullmatch(column.name):
                    given = engine["latency_interval_ms"][match[1]] and engine["latency_ms"][match[1]]
                elif column.name == "max_ms":
                    given = engine["latency_ms"]["max"]
                else:
                    given = IN_JSON[column.name](engine, as_json) if column.name in IN_JSON else engine[column.name]
                assert row[column.name] == ("" if given is None else str(given)), column.name
                if not any(other[column.name] for other in engines):
                    continue  # of none: the tables leave it out
                cell = "-" if given is None else format(given, column.form)
                if column.interval and given is not None:
                    low, high = (float(row[f"{column.name}_{bound}"]) for bound in ("low", "high"))
                    assert low <= given <= high, column.name
                    cell += f" ({low:{column.form}} to {high:{column.form}})"
                said.append(cell)
                compared += 1
            assert said in markdown
            assert said in html
    assert compared > 40
    for row, server in zip(servers, as_json["server"]["servers"], strict=True):
        assert row["engine"] == server["name"]
        assert row["server_one_client_p90_ms"] == str(server["one_client_ms"]["p90"])
        assert row["server_clients_texts_per_sec"] == str(server["clients_texts_per_sec"])
        assert row["server_over_offline_high"] == str(server["over_offline_interval"][1])
        for point in server["load"]:
            rates = [server["name"], f"{point['sent_per_sec']:.0f}", f"{point['answered_per_sec']:.0f}"]
            for said in (markdown, html):
                [found] = [cells for cells in said if cells[:3] == rates]
                assert found[3] == f"{point['latency_ms']['p50']:.1f}"
                assert found[-1] == ("knee" if point["sent_per_sec"] == server["knee_per_sec"] else "")


def rows_of_markdown(text: str) -> list[list[str]]:
    rows = [re.split(r" (?<!\\)\| ", line[2:-2]) for line in text.splitlines() if line.startswith("| ")]
    # No cell breaks a table: each row has as many as its heading.
    wide = [len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines()]
    for line, following in pairwise(wide):
        assert not line or not following or line == following
    return rows


def test_json_follows_its_schema(tiny_report: BenchReport) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((FOLDER / "bench.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(json.loads(json.dumps(tiny_report.to_dict())))


def test_the_page_needs_nothing_else_and_takes_the_reader_s_colours(tiny_report: BenchReport) -> None:
    page = tiny_report.to_html()
    assert not re.search(r"""(?:src|href)=["'](?!#)""", page)
    assert "@import" not in page
    assert "url(http" not in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert INK not in page
    assert "currentColor" in page
    assert tiny_report.verdict in page
    # Agreement, latencies, lengths of the texts, latency by length, throughput by batch, load, operators; no threads.
    assert page.count("<svg") == 7
    hostile = replace(tiny_report, held_out="<script>alert(1)</script>")
    assert "<script>" not in hostile.to_html()


def test_an_engine_that_can_not_run_is_a_row_with_its_reason(tiny_report: BenchReport) -> None:
    assert [engine.name for engine in tiny_report.engines] == ["ftx int8", "own", "PyTorch eager"]
    assert tiny_report.left_out["broken"] == "broken failed: it has | no wheels"
    assert "no_such_module" in tiny_report.left_out["away"]
    assert "it has | no wheels" in tiny_report.to_html()
    own, pytorch = tiny_report.engines[1:]
    assert own.label_agreement == 1
    assert own.max_abs_prob_diff == pytorch.max_abs_prob_diff == 0
    assert own.size_bytes is None


def test_workloads_have_a_figure_for_each_engine_and_size(tiny_report: BenchReport) -> None:
    for engine in tiny_report.engines:
        assert list(engine.latency_by_length_ms) == ["8", "16", "32"]  # it reads 32 tokens
        assert list(engine.texts_per_sec_by_batch) == ["1", "2", "4", "8", "16", "32", "64", "128"]
        assert [one.threads for one in engine.by_threads] == [1]
        assert engine.rss_bytes is None or 0 < engine.rss_bytes <= engine.peak_rss_bytes
    ftx, own, _ = tiny_report.engines
    assert ftx.cold_start and len(ftx.cold_start.samples_sec) == 1
    assert ftx.cold_start.first_cpu_sec > 0
    assert own.cold_start is None
    assert tiny_report.file_job and tiny_report.file_job.rows == 2000
    assert tiny_report.server
    [served, *_] = tiny_report.server.servers
    assert served.name == "ftx serve"
    rates = [point.sent_per_sec for point in served.load]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(2 * served.clients_texts_per_sec)
    assert all(point.answered for point in served.load)
    assert {"LitServe", "MLServer"} <= tiny_report.left_out.keys() | {one.name for one in tiny_report.server.servers}
    assert sum(tiny_report.token_counts.values()) == tiny_report.timed_texts == 24
    assert tiny_report.ceiling and tiny_report.ceiling.int8_gmac_per_sec > 0


def test_a_profile_shares_the_time_among_operators_and_layers(tiny_report: BenchReport) -> None:
    found = tiny_report.profile
    assert found
    for groups in (found.operators, found.layers):
        assert sum(one.share for one in groups) == pytest.approx(1)
    assert [one.name for one in found.layers] == ["layer 0", "layer 1", "other"]
    assert [one.ms for one in found.operators] == sorted((one.ms for one in found.operators), reverse=True)
    # Every product with a weight is counted, those with packed weights, too.
    [int8] = [one for one in found.operators if one.name == "MatMulIntegerToFloat"]
    assert int8.gmac_per_sec and int8.gmac_per_sec > 0


def test_engines_by_name(tiny_export: Path) -> None:
    onnx = tiny_export / "model_quantized.onnx"
    assert [kind.title for kind in choose_engines([], onnx)] == ["ftx int8", "ftx fp32 (model.onnx)", "PyTorch eager"]
    assert len(choose_engines(["all"], onnx)) == 3 + len(PEERS)
    assert [kind.title for kind in choose_engines(["pytorch", "ftx", "ftx"], onnx)] == ["ftx int8", "PyTorch eager"]
    with pytest.raises(FtxError, match="'warp' is not known, expected one of ftx, ftx-fp32, ftx-fallback, pytorch"):
        choose_engines(["warp"], onnx)
    with pytest.raises(FtxError, match="Two engines are named 'PyTorch eager'"):
        choose_engines(["PyTorch eager=a:b"], onnx)
    with pytest.raises(FtxError, match="Engine teacher goes with a student of ftx distill"):
        choose_engines(["teacher"], onnx)


def test_a_fallback_is_measured_with_its_file(
    tiny_export: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    onnx = tiny_export / "model_quantized.onnx"
    plain, both, _ = choose_engines(["ftx", "ftx-fallback"], onnx)
    assert both.title == "ftx int8 with fallback"
    sources = Sources(onnx=onnx, checkpoint=tiny_export, work=tmp_path, threads=1, calibration=[])
    spec = both.spec(sources)
    assert spec.options == [*plain.spec(sources).options, "--fallback", str(onnx.with_name("model.onnx"))]
    texts: list[Text] = [text for text, _ in review_rows()] + ["movie", "film plot", "the", ""]
    predictor = Predictor(onnx, fallback=onnx.with_name("model.onnx"), intra_op_num_threads=1)
    np.testing.assert_array_equal(both.load(spec)(texts, 32), predictor.logits(texts, batch_size=32))
    alone = shutil.copy(onnx, tmp_path)
    with caplog.at_level("INFO"):
        assert [kind.title for kind in choose_engines(["ftx", "ftx-fallback"], Path(alone))][1:] == ["PyTorch eager"]
    assert "ftx-fallback is left out: there is no model.onnx beside" in caplog.text
