"""The messages of the Open Inference Protocol, as far as a text classifier needs them."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

import msgspec
from msgspec import Meta

__all__ = [
    "InferBody",
    "Inference",
    "Input",
    "Live",
    "Metadata",
    "ModelReady",
    "Output",
    "OutputName",
    "OutputParameters",
    "OutputTensor",
    "Server",
    "ServerReady",
]

OutputName = Literal["logits", "probabilities", "label"]


class InputParameters(msgspec.Struct):
    """How a tensor comes."""

    binary_data_size: Annotated[int, Meta(ge=0)] | None = None


class Input(msgspec.Struct):
    """A tensor of texts: in `data`, or behind the JSON."""

    name: str
    shape: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(max_length=2)]
    datatype: Literal["BYTES"]
    parameters: InputParameters | None = None
    data: list[str | list[str]] | None = None


class OutputParameters(msgspec.Struct):
    """How a tensor is to be written."""

    binary_data: bool | None = None
    classification: Annotated[int, Meta(ge=1)] | None = None


class Output(msgspec.Struct):
    """A tensor that is asked for."""

    name: OutputName
    parameters: OutputParameters | None = None


class InferParameters(msgspec.Struct):
    """Of a whole request: the client waits `timeout` microseconds; 0: as long as the server allows."""

    timeout: Annotated[float, Meta(ge=0)] | None = None
    binary_data_output: bool | None = None


class InferBody(msgspec.Struct):
    """A request."""

    inputs: Annotated[list[Input], Meta(min_length=1, max_length=1)]
    outputs: list[Output] | None = None
    id: str | None = None
    parameters: InferParameters | None = None


class Server(TypedDict):
    """What the server speaks."""

    name: str
    version: str
    extensions: list[str]


class Live(TypedDict):
    """Whether the process answers."""

    live: bool


class ServerReady(TypedDict):
    """Whether all models answer."""

    live: bool
    ready: bool


class ModelReady(TypedDict):
    """Whether a model answers."""

    name: str
    ready: bool


class Tensor(TypedDict):
    """Of a model."""

    name: str
    datatype: str
    shape: list[int]


class ModelParameters(TypedDict):
    """Of a model, beyond the protocol."""

    labels: list[str]
    sha256: str
    reload_failed: bool


class Metadata(TypedDict):
    """Of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    parameters: ModelParameters


class BinarySize(TypedDict):
    """Of a tensor behind the JSON."""

    binary_data_size: int


class OutputTensor(TypedDict):
    """A tensor of the response."""

    name: str
    datatype: str
    shape: list[int]
    parameters: NotRequired[BinarySize]
    data: NotRequired[list[float | str]]


class Inference(TypedDict):
    """A response."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: NotRequired[str]
