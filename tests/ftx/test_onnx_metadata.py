from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ftx import onnx_metadata
from ftx.errors import OnnxFileError
from ftx.onnx_metadata import append_metadata
from ftx.snapshot import Snapshot


def read_metadata(path: Path) -> dict[str, str]:
    file = Snapshot(path)
    file.close()
    return file.metadata


def small_model(path: Path, weight: onnx.TensorProto | None = None) -> Path:
    weight = weight or numpy_helper.from_array(np.arange(6, dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [6])],
        [weight],
    )
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    path = small_model(tmp_path / "model.onnx")
    append_metadata(path, {"ftx.tokenizer": "{}", "ftx.manifest": '{"é": "電影"}'})
    return path


def test_metadata_is_read_back_and_other_readers_see_it(sealed: Path) -> None:
    found = read_metadata(sealed)
    assert found["ftx.manifest"] == '{"é": "電影"}'
    model = onnx.load(str(sealed))
    onnx.checker.check_model(model)
    assert {entry.key: entry.value for entry in model.metadata_props} == found


def test_metadata_of_another_maker_needs_no_seal(tmp_path: Path) -> None:
    path = small_model(tmp_path / "model.onnx")
    assert read_metadata(path) == {}


def test_every_truncation_is_refused(sealed: Path) -> None:
    whole = sealed.read_bytes()
    for length in range(len(whole)):
        sealed.write_bytes(whole[:length])
        with pytest.raises(OnnxFileError):
            entries = read_metadata(sealed)
            # Cut exactly before ftx's first entry, a whole ONNX file of another maker is left, which is not sealed.
            assert entries == {}
            raise OnnxFileError("no manifest")


def test_every_flipped_bit_is_refused(sealed: Path) -> None:
    whole = sealed.read_bytes()
    chance = random.Random(0)
    for _ in range(1000):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        sealed.write_bytes(damaged)
        with pytest.raises(OnnxFileError):
            read_metadata(sealed)


def test_bytes_behind_the_seal_are_refused(sealed: Path) -> None:
    with sealed.open("ab") as file:
        file.write(b"\x78\x00")  # a valid field of another number
    with pytest.raises(OnnxFileError, match="changed after"):
        read_metadata(sealed)


def test_a_changed_file_saved_again_by_onnx_is_refused(sealed: Path) -> None:
    model = onnx.load(str(sealed))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros(6, dtype=np.float32), "w"))
    onnx.save(model, str(sealed))
    with pytest.raises(OnnxFileError, match="changed after"):
        read_metadata(sealed)


def test_the_digest_is_that_of_the_whole_file(sealed: Path) -> None:
    assert Snapshot(sealed).sha256 == hashlib.sha256(sealed.read_bytes()).hexdigest()
    foreign = small_model(sealed.with_name("foreign.onnx"))
    assert Snapshot(foreign).sha256 == hashlib.sha256(foreign.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "tag",
    [b"\xba\x80\x80\x80\x80\x01", b"\xba\x80\x80\x80\x10", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"],
)
def test_a_tag_that_other_readers_cut_to_another_field_is_refused(tmp_path: Path, tag: bytes) -> None:
    """With the bits above 32 dropped they are the graph's."""
    path = small_model(tmp_path / "model.onnx")
    path.write_bytes(path.read_bytes() + tag + b"\x00")
    with pytest.raises(OnnxFileError, match="not an ONNX file"):
        read_metadata(path)


def test_more_fields_than_any_model_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_metadata, "MAX_FIELDS", 1000)
    path = small_model(tmp_path / "model.onnx")
    assert read_metadata(path) == {}
    path.write_bytes(path.read_bytes() + b"\x78\x00" * 1000)
    with pytest.raises(OnnxFileError, match="more than 1000 protobuf fields"):
        read_metadata(path)


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x00" * 100, b"PK\x03\x04", "Größe 電影".encode() * 50])
def test_what_is_not_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(OnnxFileError, match=r"model\.onnx"):
        read_metadata(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.onnx", tmp_path, Path("null\0byte.onnx")):
        with pytest.raises(OnnxFileError, match="can't be read"):
            read_metadata(path)


@given(content=st.binary(max_size=300))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_end_in_metadata_or_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.onnx"
    path.write_bytes(content)
    try:
        assert isinstance(read_metadata(path), dict)
    except OnnxFileError as error:
        assert "\n" not in str(error)
