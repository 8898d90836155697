"""A table of bad and odd input: each gives exactly its rows, or one line with file and row."""

from __future__ import annotations

import csv
import gzip
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ftx.errors import DataError
from ftx.runtime.stream import predict_file

BIG = "x" * 10_000_000
DEEP = '{"text": "b", "n": ' + "[" * 100_000 + "]" * 100_000 + "}\n"


@dataclass(frozen=True, kw_only=True)
class Case:
    """`texts`: the rows that come out. `line` and `words`: the error. `skipped`: the rows without the bad ones."""

    name: str
    file: str
    data: bytes
    texts: list[str] | None = None
    line: int = 0
    words: str = ""
    bad: int = 0
    options: dict[str, Any] = field(default_factory=dict)


def ok(name: str, file: str, data: str | bytes, texts: list[str], **options: Any) -> Case:
    return Case(name=name, file=file, data=raw(data), texts=texts, options=options)


def broken(name: str, file: str, data: str | bytes, line: int, words: str, **options: Any) -> Case:
    """The whole file is refused, whatever may be skipped."""
    return Case(name=name, file=file, data=raw(data), line=line, words=words, options=options)


def spoilt(name: str, file: str, data: str | bytes, line: int, words: str, texts: list[str], **options: Any) -> Case:
    """One row is refused; the others come out if it may be skipped."""
    return Case(name=name, file=file, data=raw(data), texts=texts, line=line, words=words, bad=1, options=options)


def raw(data: str | bytes) -> bytes:
    return data if isinstance(data, bytes) else data.encode()


def rows_of(*objects: Any) -> str:
    return "".join(json.dumps(one) + "\n" for one in objects)


CASES = [
    # Delimited text
    ok("plain", "a.csv", "text\na\nb\n", ["a", "b"]),
    ok("no-last-newline", "a.csv", "id,text\n1,a\n2,b", ["a", "b"]),
    ok("crlf", "a.csv", "id,text\r\n1,a\r\n2,b\r\n", ["a", "b"]),
    ok("mixed-line-ends", "a.csv", "id,text\n1,a\r\n2,b\n", ["a", "b"]),
    ok("bom", "a.csv", b"\xef\xbb\xbftext,id\na,1\n", ["a"]),
    ok("bom-quoted-header", "a.csv", b'\xef\xbb\xbf"text",id\na,1\n', ["a"]),
    ok("semicolons", "a.csv", "id;text\n1;a,b\n", ["a,b"]),
    ok("tabs-in-csv", "a.csv", "id\ttext\n1\ta,b\n", ["a,b"]),
    ok("pipes", "a.csv", "id|text\n1|a,b\n", ["a,b"]),
    ok("quoted-header-semicolon", "a.csv", '"a,b";"text"\n1;x\n', ["x"]),
    ok("header-only", "a.csv", "id,text\n", []),
    ok("header-only-no-newline", "a.csv", "id,text", []),
    ok("only-column", "a.csv", "review\na\n", ["a"]),
    ok("named-column", "a.csv", "text,review\nx,a\n", ["a"], text_column="review"),
    ok("empty-text", "a.csv", "id,text\n1,\n2,b\n", ["", "b"]),
    ok("empty-lines-left-out", "a.csv", "id,text\n\n1,a\n\n\n2,b\n\n", ["a", "b"]),
    ok("quoted-empty-single", "a.csv", 'text\n""\na\n', ["", "a"]),
    ok("quoted-newline", "a.csv", 'id,text\n1,"a\nb"\n', ["a\nb"]),
    ok("quoted-crlf", "a.csv", 'id,text\r\n1,"a\r\nb"\r\n', ["a\r\nb"]),
    ok("quoted-cr", "a.csv", 'id,text\n1,"a\rb"\n', ["a\rb"]),
    ok("quoted-blank-lines", "a.csv", 'id,text\n1,"\n\n\n"\n2,b\n', ["\n\n\n", "b"]),
    ok("doubled-quotes", "a.csv", 'id,text\n1,"a ""b"" c"\n', ['a "b" c']),
    ok("quote-inside-unquoted", "a.csv", 'id,text\n1,5" disk\n', ['5" disk']),
    ok("quoted-delimiter", "a.csv", 'id,text\n1,"a,b"\n', ["a,b"]),
    ok("spaces-kept", "a.csv", "id,text\n1,  a  \n", ["  a  "]),
    ok("nul", "a.csv", b"id,text\n1,a\0b\n", ["a\0b"]),
    ok("unicode", "a.csv", "id,text\n1,é 電影 😀\n", ["é 電影 😀"]),
    ok("line-separators", "a.csv", "id,text\n1,a\u2028b\x85c\x0bd\x0ce\x1cf\n", ["a\u2028b\x85c\x0bd\x0ce\x1cf"]),
    ok("unicode-column", "a.csv", "id,文\n1,a\n", ["a"], text_column="文"),
    ok("unnamed-column", "a.csv", ",text\n1,a\n", ["a"]),
    ok("multiline-header", "a.csv", '"a\nb",text\n1,x\n', ["x"]),
    ok("ten-megabytes", "a.csv", f"id,text\n1,{BIG}\n2,b\n", [BIG, "b"]),
    ok("ten-megabytes-quoted", "a.csv", f'id,text\n1,"{BIG}\n{BIG}"\n2,b\n', [f"{BIG}\n{BIG}", "b"]),
    ok("wide", "a.csv", "text," + ",".join(map(str, range(2000))) + "\na" + ",1" * 2000 + "\n", ["a"]),
    ok("upper-case-suffix", "A.CSV", "text\na\n", ["a"]),
    ok("numbers", "a.csv", "text\n1\n2.50\n", ["1", "2.50"]),
    spoilt("too-few-cells", "a.csv", "id,text\n1,a\n2\n3,c\n", 3, "1 cells separated by ',', expected 2", ["a", "c"]),
    spoilt("too-many-cells", "a.csv", "id,text\n1,a\n2,b,c\n3,c\n", 3, "3 cells separated", ["a", "c"]),
    spoilt("ragged-after-quoted", "a.csv", 'id,text\n1,"a\n\nb"\n2\n3,c\n', 5, "1 cells", ["a\n\nb", "c"]),
    spoilt("ragged-last", "a.csv", "id,text\n1,a\n2", 3, "1 cells", ["a"]),
    spoilt("ragged-crlf", "a.csv", "id,text\r\n1,a\r\n2\r\n", 3, "1 cells", ["a"]),
    spoilt("ragged-after-blank", "a.csv", "id,text\n\n\n1\n2,b\n", 4, "1 cells", ["b"]),
    spoilt("spread", "a.csv", 'id,text\n1,a\n2,"b\nc",d\n3,e\n', 3, "lines 3 to 4", ["a", "e"]),
    spoilt("text-after-quote", "a.csv", 'id,text\n1,a\n2,"b"c\n3,d\n', 3, "expected after", ["a", "d"]),
    spoilt("not-utf8", "a.csv", b"id,text\n1,a\n2,\xe9t\xe9\n3,c\n", 3, "not UTF-8", ["a", "c"]),
    spoilt("not-utf8-in-quotes", "a.csv", b'id,text\n1,a\n2,"b\n\xff"\n3,c\n', 3, "not UTF-8", ["a", "c"]),
    spoilt("not-utf8-other-column", "a.csv", b"id,text\n\xff,a\n3,c\n", 2, "not UTF-8", ["c"]),
    spoilt("mixed-encodings", "a.csv", "id,text\n1,é\n".encode() + "2,é\n".encode("latin-1"), 3, "not UTF-8", ["é"]),
    spoilt("utf8-surrogate", "a.csv", b"id,text\n1,\xed\xa0\x80\n2,b\n", 2, "not UTF-8", ["b"]),
    spoilt("spaces-line", "a.csv", "id,text\n   \n1,a\n", 2, "1 cells", ["a"]),
    spoilt("cr-in-cell", "a.csv", "id,text\n1,a\rb\n2,c\n", 2, "new-line character", ["c"]),
    broken("empty", "a.csv", "", 0, "is empty"),
    broken("bom-only", "a.csv", b"\xef\xbb\xbf", 0, "empty"),
    broken("newline-only", "a.csv", "\n", 1, "empty line"),
    broken("unterminated", "a.csv", 'id,text\n1,a\n2,"b\n3,c\n4,d\n', 3, "is not closed"),
    broken("unterminated-last", "a.csv", 'id,text\n1,a\n2,"b', 3, "is not closed"),
    broken("unterminated-after-quoted", "a.csv", 'id,text\n1,"a\nb"\n2,"c\n', 4, "is not closed"),
    broken("unterminated-header", "a.csv", 'id,"text\n1,a\n', 1, "unexpected end"),
    broken("old-mac", "a.csv", "id,text\r1,a\r2,b\r", 0, "CR alone"),
    broken("no-text-column", "a.csv", "id,review\n1,a\n", 1, "the columns are id, review"),
    broken("no-named-column", "a.csv", "id,text\n1,a\n", 1, "no column 'review'", text_column="review"),
    broken("case-of-column", "a.csv", "id,Text\n1,a\n", 1, "no column 'text'"),
    broken("twice-a-column", "a.csv", "text,id,id\na,1,2\n", 1, "'id' stands twice"),
    broken("twice-unnamed", "a.csv", "text,,\na,1,2\n", 1, "'' stands twice"),
    broken("collision", "a.csv", "text,predicted_score\na,1\n", 1, "--prefix"),
    broken("collision-own-prefix", "a.csv", "text,p_label\na,1\n", 1, "--prefix", prefix="p_"),
    broken("collision-empty-prefix", "a.csv", "text,label\na,1\n", 1, "--prefix", prefix=""),
    broken("header-not-utf8", "a.csv", b"text,\xe9\na,1\n", 1, "header is not UTF-8"),
    broken("utf16", "a.csv", "id,text\n1,a\n".encode("utf-16"), 0, "UTF-16"),
    broken("gzip-unnamed", "b.csv", gzip.compress(b"text\na\n"), 0, "name it .gz"),
    broken("parquet-unnamed", "a.csv", b"PAR1\x15\x04\nxx", 0, "Parquet"),
    broken("excel", "a.csv", b"PK\x03\x04xx\n", 0, "zip"),
    broken("pair-of-one", "a.csv", "text,b\na,b\n", 0, "for both texts", text_pair_column="text"),
    # Between tabs
    ok("tsv", "a.tsv", "id\ttext\n1\ta\n2\tb\n", ["a", "b"]),
    ok("tsv-quotes", "a.tsv", 'id\ttext\n1\t"a\n2\tb"c\n3\t""\n', ['"a', 'b"c', '""']),
    ok("tsv-crlf", "a.tsv", "id\ttext\r\n1\ta\r\n", ["a"]),
    ok("tsv-bom", "a.tsv", b"\xef\xbb\xbfid\ttext\n1\ta\n", ["a"]),
    ok("tsv-commas", "a.tsv", "id,x\ttext\n1,2\ta,b\n", ["a,b"]),
    ok("tsv-single-empty-lines", "a.tsv", "text\na\n\nb\n", ["a", "", "b"]),
    ok("tsv-empty-lines", "a.tsv", "id\ttext\n\n1\ta\n\n", ["a"]),
    ok("tsv-empty-cells", "a.tsv", "id\ttext\n\t\n", [""]),
    ok("tsv-cr-inside", "a.tsv", "id\ttext\n1\ta\rb\n", ["a\rb"]),
    ok("tsv-nul", "a.tsv", b"id\ttext\n1\ta\0\n", ["a\0"]),
    ok("tsv-header-only", "a.tsv", "id\ttext\n", []),
    ok("tsv-ten-megabytes", "a.tsv", f"id\ttext\n1\t{BIG}\n", [BIG]),
    spoilt("tsv-too-few", "a.tsv", "id\ttext\n1\ta\n2\n3\tc\n", 3, "1 cells", ["a", "c"]),
    spoilt("tsv-too-many", "a.tsv", "id\ttext\n1\ta\n2\tb\tc\n", 3, "3 cells", ["a"]),
    spoilt("tsv-not-utf8", "a.tsv", b"id\ttext\n1\t\xff\n2\tb\n", 2, "not UTF-8", ["b"]),
    broken("tsv-empty", "a.tsv", "", 0, "is empty"),
    broken("tsv-twice", "a.tsv", "text\ttext\na\tb\n", 1, "stands twice"),
    broken("tsv-no-column", "a.tsv", "id\tx\n1\ta\n", 1, "the columns are id, x"),
    broken("tsv-collision", "a.tsv", "text\tpredicted_label\na\tb\n", 1, "--prefix"),
    # One text a line
    ok("txt", "a.txt", "a\nb, c\n", ["a", "b, c"]),
    ok("txt-empty", "a.txt", "", []),
    ok("txt-empty-lines", "a.txt", "\na\n\n", ["", "a", ""]),
    ok("txt-crlf", "a.txt", "a\r\nb\r\n", ["a", "b"]),
    ok("txt-bom", "a.txt", b"\xef\xbb\xbfa\nb", ["a", "b"]),
    ok("txt-bom-only", "a.txt", b"\xef\xbb\xbf", [""]),
    ok("txt-nul", "a.txt", b"\0\n\0\0\n", ["\0", "\0\0"]),
    ok("txt-quotes", "a.txt", '"a\nb"\n', ['"a', 'b"']),
    ok("txt-tabs", "a.txt", "a\tb\n", ["a\tb"]),
    ok("txt-ten-megabytes", "a.txt", f"{BIG}\n{BIG}\nc\n", [BIG, BIG, "c"]),
    ok("txt-json", "a.txt", '{"text": "a"}\n', ['{"text": "a"}']),
    ok("txt-table", "a.txt", "id;text\n1;a, b\n2;c\n", ["a, b", "c"]),
    ok("txt-table-tabs", "a.txt", 'id\ttext\n1\t"a\n', ['"a']),
    ok("txt-named-column", "a.txt", "id|review\n1|a, b\n", ["a, b"], text_column="review"),
    ok("txt-one-column", "a.txt", "text\na\n", ["text", "a"]),
    ok("txt-no-header", "a.txt", "a text, and more\nb\n", ["a text, and more", "b"]),
    broken("txt-no-named-column", "a.txt", "id|text\n1|a\n", 1, "no column 'review'", text_column="review"),
    spoilt("txt-table-too-few", "a.txt", "id,text\n1\n2,b\n", 2, "1 cells separated by ','", ["b"]),
    spoilt("txt-not-utf8", "a.txt", b"a\n\xe9\nc\n", 2, "not UTF-8", ["a", "c"]),
    broken("txt-utf16", "a.txt", "a\nb".encode("utf-16-be", "strict").join([b"\xfe\xff", b""]), 0, "UTF-16"),
    # JSON lines
    ok("jsonl", "a.jsonl", rows_of({"id": 1, "text": "a"}, {"id": 2, "text": "b"}), ["a", "b"]),
    ok("json-suffix", "a.json", rows_of({"text": "a"}), ["a"]),
    ok("jsonl-empty", "a.jsonl", "", []),
    ok("jsonl-blank-lines", "a.jsonl", '\n  \n{"text": "a"}\n\r\n', ["a"]),
    ok("jsonl-no-last-newline", "a.jsonl", '{"text": "a"}', ["a"]),
    ok("jsonl-spaces", "a.jsonl", '  { "text" : "a" }  \n', ["a"]),
    ok("jsonl-crlf", "a.jsonl", '{"text": "a"}\r\n{"text": "b"}\r\n', ["a", "b"]),
    ok("jsonl-bom", "a.jsonl", b'\xef\xbb\xbf{"text": "a"}\n', ["a"]),
    ok("jsonl-only-key", "a.jsonl", '{"review": "a"}\n', ["a"]),
    ok("jsonl-named", "a.jsonl", '{"x": "b", "review": "a"}\n', ["a"], text_column="review"),
    ok("jsonl-number", "a.jsonl", '{"text": 1.50}\n{"text": 12}\n', ["1.50", "12"]),
    ok("jsonl-huge-number", "a.jsonl", '{"text": "a", "n": ' + "9" * 6000 + "}\n", ["a"]),
    ok("jsonl-surrogate", "a.jsonl", '{"text": "\\ud800"}\n', ["\ud800"]),
    ok("jsonl-surrogate-pair", "a.jsonl", '{"text": "\\ud83d\\ude00"}\n', ["😀"]),
    ok("jsonl-surrogate-key", "a.jsonl", '{"text": "a", "\\udfff": 1}\n', ["a"]),
    ok("jsonl-nul", "a.jsonl", '{"text": "a\\u0000b"}\n', ["a\0b"]),
    ok("jsonl-separators", "a.jsonl", '{"text": "a\u2028\x85b"}\n', ["a\u2028\x85b"]),
    spoilt("jsonl-nan-text", "a.jsonl", '{"text": NaN}\n{"text": "b"}\n', 1, "the text is missing", ["b"]),
    ok("jsonl-nan", "a.jsonl", '{"text": "a", "n": NaN}\n', ["a"]),
    ok("jsonl-nested", "a.jsonl", rows_of({"text": "a", "n": {"m": [1, 2, {"o": None}]}}), ["a"]),
    ok("jsonl-ten-megabytes", "a.jsonl", rows_of({"text": BIG}, {"text": "b"}), [BIG, "b"]),
    ok("jsonl-empty-text", "a.jsonl", '{"text": ""}\n', [""]),
    ok("jsonl-fewer-keys", "a.jsonl", rows_of({"text": "a", "id": 1}, {"text": "b"}), ["a", "b"]),
    spoilt("jsonl-no-json", "a.jsonl", '{"text": "a"}\nnope\n{"text": "c"}\n', 2, "one JSON object a line", ["a", "c"]),
    spoilt("jsonl-cut", "a.jsonl", '{"text": "a"}\n{"text": "b\n', 2, "Unterminated string", ["a"]),
    spoilt("jsonl-two-a-line", "a.jsonl", '{"text": "a"}{"text": "b"}\n{"text": "c"}\n', 1, "Extra data", ["c"]),
    spoilt("jsonl-list", "a.jsonl", '{"text": "a"}\n["b"]\n', 2, "a list, expected one JSON object", ["a"]),
    spoilt("jsonl-string", "a.jsonl", '"a"\n{"text": "b"}\n', 1, "a str, expected", ["b"]),
    spoilt("jsonl-lone-number", "a.jsonl", '1\n{"text": "b"}\n', 1, "a number, expected", ["b"]),
    spoilt("jsonl-lone-null", "a.jsonl", 'null\n{"text": "b"}\n', 1, "NoneType", ["b"]),
    spoilt("jsonl-missing", "a.jsonl", '{"text": "a"}\n{"id": 1}\n', 2, "the text is missing; expected a value", ["a"]),
    spoilt("jsonl-null-text", "a.jsonl", '{"text": null}\n{"text": "b"}\n', 1, "the text is missing", ["b"]),
    spoilt("jsonl-bool-text", "a.jsonl", '{"text": true}\n{"text": "b"}\n', 1, "the text is true or false", ["b"]),
    spoilt("jsonl-list-text", "a.jsonl", '{"text": ["a"]}\n{"text": "b"}\n', 1, "the text is a list", ["b"]),
    spoilt("jsonl-object-text", "a.jsonl", '{"text": {}}\n{"text": "b"}\n', 1, "the text is an object", ["b"]),
    spoilt("jsonl-key-twice", "a.jsonl", '{"text": "a", "text": "b"}\n{"text": "c"}\n', 1, "stands twice", ["c"]),
    spoilt("jsonl-inner-twice", "a.jsonl", '{"text": "a"}\n{"text": "b", "n": {"m": 1, "m": 2}}\n', 2, "twice", ["a"]),
    spoilt("jsonl-not-utf8", "a.jsonl", b'{"text": "a"}\n{"text": "\xe9"}\n', 2, "not UTF-8", ["a"]),
    spoilt("jsonl-deep", "a.jsonl", '{"text": "a"}\n' + "[" * 200_000 + "\n", 2, "nested too deeply", ["a"]),
    spoilt("jsonl-deep-value", "a.jsonl", DEEP + rows_of({"text": "c"}), 1, "nested too deeply", ["c"]),
    spoilt("jsonl-deep-object", "a.jsonl", '{"text": "a"}\n' + '{"a":' * 100_000 + "\n", 2, "nested too deeply", ["a"]),
    spoilt("jsonl-control", "a.jsonl", b'{"text": "a\x01"}\n{"text": "b"}\n', 1, "control character", ["b"]),
    spoilt("jsonl-named-missing", "a.jsonl", '{"x": 1}\n{"y": "b"}\n', 1, "no column 'y'", ["b"], text_column="y"),
    spoilt("jsonl-single-quotes", "a.jsonl", "{'text': 'a'}\n{\"text\": \"b\"}\n", 1, "expected one JSON", ["b"]),
    spoilt("jsonl-inner-bom", "a.jsonl", b'{"text": "a"}\n\xef\xbb\xbf{"text": "b"}\n', 2, "BOM", ["a"]),
    broken("jsonl-ambiguous", "a.jsonl", '{"a": "x", "b": "y"}\n', 1, "the columns are a, b"),
    broken("jsonl-collision", "a.jsonl", '{"text": "a"}\n{"text": "b", "predicted_scores": 1}\n', 2, "--prefix"),
    broken("jsonl-utf16", "a.jsonl", '{"text": "a"}\n'.encode("utf-16"), 0, "UTF-16"),
    # Compressed
    ok("gz-members", "a.txt.gz", gzip.compress(b"a\n") + gzip.compress(b"b\n"), ["a", "b"]),
    ok("gz-empty", "a.txt.gz", gzip.compress(b""), []),
    ok("gz-no-bytes", "a.txt.gz", b"", []),
    ok("gz-padding", "a.txt.gz", gzip.compress(b"a\n") + b"\0" * 100, ["a"]),
    ok("gz-upper", "a.TXT.GZ", gzip.compress(b"a\n"), ["a"]),
    broken("gz-not", "a.csv.gz", "text\na\n", 1, "gzip data is damaged"),
    broken("gz-cut", "a.csv.gz", gzip.compress(b"text\n" + bytes(range(97, 123)) * 9)[:-9], 1, "gzip data"),
    broken("gz-head", "a.csv.gz", gzip.compress(b"text\na\n")[:5], 1, "gzip data ends too early"),
    broken("gz-garbage", "a.txt.gz", gzip.compress(b"a\n") + b"garbage", 1, "gzip data is damaged"),
    broken("gz-checksum", "a.txt.gz", gzip.compress(b"a\n")[:-8] + b"\1" * 8, 1, "gzip data is damaged"),
    broken("gz-twice", "a.csv.gz", gzip.compress(gzip.compress(b"text\na\n")), 0, "gzip"),
    # Names
    broken("unknown-suffix", "a.xlsx", "text\na\n", 0, "is a spreadsheet: save it as CSV"),
    broken("no-suffix", "a", "text\na\n", 0, "--input-format"),
    broken("only-gz", "a.gz", "text\na\n", 0, "unknown kind"),
    broken("parquet-gz", "a.parquet.gz", "x", 0, "unknown kind"),
    broken("other-suffix-first", "a.csv.zip", "x", 0, "unknown kind"),
    ok("format-named", "a.data", "text\na\n", ["a"], input_format="csv"),
    ok("format-over-suffix", "a.txt", "text\na\n", ["a"], input_format="tsv"),
    ok("dots-in-name", "a.b.v1.2.csv", "text\na\n", ["a"]),
    broken("format-unknown", "a.csv", "text\na\n", 0, "expected one of", input_format="xml"),
]  # fmt: skip

VARIANTS = [
    pytest.param(case, packed, id=f"{case.name}{'-gz' * packed}")
    for case in CASES
    for packed in (False, True)
    # A file of an unknown kind stays one, and ten megabytes are the same in a gzip.
    if not packed or (case.file.endswith((".csv", ".tsv", ".txt", ".jsonl", ".json")) and len(case.data) < 2**20)
]


def test_the_table_is_large_enough() -> None:
    assert len(CASES) >= 150
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize(("case", "packed"), VARIANTS)
def test_odd_input(case: Case, packed: bool, tmp_path: Path, fake: Any) -> None:
    source, target, options = tmp_path / case.file, tmp_path / "out.jsonl", dict(case.options)
    source.write_bytes(case.data)
    if packed:
        source = tmp_path / f"{case.file}.gz"
        source.write_bytes(gzip.compress(case.data))
        if "input_format" in options:
            options["input_format"] += ".gz"
    if case.words:
        with pytest.raises(DataError) as caught:
            predict_file(fake, source, target, **options)
        message = str(caught.value)
        assert case.words in message
        assert len(message.splitlines()) == 1
        assert len(message) < 600
        if case.line:
            assert message.startswith(f"{source}:{case.line}")
        assert not target.exists()
        assert {path.name for path in tmp_path.iterdir()} <= {case.file, source.name}
    if case.texts is None:
        with pytest.raises(DataError):
            predict_file(fake, source, target, **options, rejects=tmp_path / "rejects.jsonl")
        return
    report = predict_file(fake, source, target, **options, skip_bad_rows=case.bad)
    assert (report.rows, report.bad_rows) == (len(case.texts), case.bad)
    assert texts_of(target, options) == case.texts
    rejects = tmp_path / "rejects.jsonl"
    table = tmp_path / "out.csv"
    predict_file(fake, source, table, **options, rejects=rejects)
    clean = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in case.texts]
    with table.open(encoding="utf-8", newline="") as file:
        csv.field_size_limit(2**27)
        records = list(csv.DictReader(file, strict=True))
    column = options.get("text_column") or ("text" if "text" in (records or [{"text": ""}])[0] else "review")
    assert [record[column] for record in records] == clean
    refused = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [one["where"] for one in refused] == [f"{source}:{case.line}"] * case.bad


def texts_of(target: Path, options: dict[str, Any]) -> list[str]:
    """Read the texts of the output, numbers as they are written."""
    texts = []
    for line in target.read_text(encoding="utf-8").split("\n")[:-1]:
        row = json.loads(line, parse_float=str, parse_int=str)
        texts.append(next(row[name] for name in (options.get("text_column"), "text", "review") if name in row))
    return texts


def test_values_stay_as_they_are_written(tmp_path: Path, fake: Any) -> None:
    lines = ['{"text": "a", "n": 1.10, "m": 1e400, "o": {"p": [ 1,2 ]}}', '{"b":null,"text":"\\u00e9"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    predict_file(fake, tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    for before, after in zip(lines, (tmp_path / "b.jsonl").read_text().splitlines(), strict=True):
        assert after.startswith(before[:-1] + ", ")
        assert set(json.loads(after)) - set(json.loads(before)) == {
            "predicted_label", "predicted_score", "predicted_scores", "predicted_truncated", "predicted_windows",
            "predicted_margin",
        }  # fmt: skip
    (tmp_path / "c.jsonl").write_text(lines[0] + '\n{"text": true, "n": 1}\n{"text": "c", "n": false}\n')
    predict_file(fake, tmp_path / "c.jsonl", tmp_path / "c.csv", skip_bad_rows=1)
    first, second = csv.DictReader(io.StringIO((tmp_path / "c.csv").read_text()))
    assert (first["n"], first["m"], first["o"]) == ("1.10", "1e400", '{"p": [1, 2]}')
    assert (second["n"], second["m"]) == ("false", "")


def test_a_table_has_no_place_for_a_key_that_the_first_object_lacks(tmp_path: Path, fake: Any) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b", "more": 1}\n')
    with pytest.raises(DataError, match=r"a.jsonl:2: the key 'more' is not in the first object"):
        predict_file(fake, tmp_path / "a.jsonl", tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("file", "data", "line"),
    [
        ("a.csv", 'id,text\n1,a\n2,"b\tc"\n', 3),
        ("a.csv", 'id,text\n1,"a\nb"\n', 2),
        ("a.txt", "a\nb\tc\n", 2),
        ("a.jsonl", '{"text": "a\\rb"}\n', 1),
    ],
)
def test_tsv_cannot_hold_tabs_and_line_breaks(file: str, data: str, line: int, tmp_path: Path, fake: Any) -> None:
    (tmp_path / file).write_text(data)
    with pytest.raises(DataError, match=rf"{file}:{line}: .*TSV can't"):
        predict_file(fake, tmp_path / file, tmp_path / "out.tsv")


def test_json_over_several_lines_is_refused(tmp_path: Path, fake: Any) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"text": "a"}], indent=1))
    with pytest.raises(DataError, match=r"a.json:1: .*; expected one JSON object a line"):
        predict_file(fake, tmp_path / "a.json", tmp_path / "b.csv")


def test_a_bad_row_more_than_may_be_skipped(tmp_path: Path, fake: Any) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1\n2,b\n3\n4\n")
    with pytest.raises(DataError, match=r"a.csv:4: .*after 1 rows skipped"):
        predict_file(fake, tmp_path / "a.csv", tmp_path / "b.csv", skip_bad_rows=1)


def test_a_line_without_end_does_not_fill_the_memory(
    tmp_path: Path, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftx.tables import delimited, lines

    monkeypatch.setattr(lines, "LONGEST_LINE_BYTES", 1000)
    monkeypatch.setattr(delimited, "LONGEST_LINE_BYTES", 1000)
    (tmp_path / "a.txt").write_text("a\n" + "b" * 2000)
    with pytest.raises(DataError, match=r"a.txt:2: a line of more than"):
        predict_file(fake, tmp_path / "a.txt", tmp_path / "b.csv", rejects=tmp_path / "r.jsonl")
    (tmp_path / "a.csv").write_text('text\na\n"b' + "c\n" * 2000)
    with pytest.raises(DataError, match=r"a.csv:3: a quote that is opened in this row is not closed"):
        predict_file(fake, tmp_path / "a.csv", tmp_path / "b.csv", rejects=tmp_path / "r.jsonl")
