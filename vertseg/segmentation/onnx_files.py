"""Weights and metadata of an ONNX file, which no runtime gives access to alike.

An ONNX file is a Protocol Buffers message. Only the fields on the way to them are read, by the
numbers that onnx.proto gives them (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto);
the encoding is that of https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator

import numpy as np

from vertseg.networks.metadata import array_fault

GRAPH, METADATA = 7, 14
KEY, VALUE = 1, 2
NODE, INITIALIZER, ATTRIBUTE = 1, 5, 5
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH = 5, 6
DIMS, DATA_TYPE, FLOATS, NAME, RAW, DOUBLES, PLACE = 1, 2, 4, 8, 9, 10, 14
FLOAT_TYPES = {1: "<f4", 10: "<f2", 11: "<f8"}
DEEPEST = 8
"""Largest depth of graphs within nodes of graphs."""

Value = int | memoryview


def weights_fault(model: bytes) -> str | None:
    """Fault of an ONNX model's weights: not finite, all zero or in another file; or None.

    Raises:
        ValueError: the bytes are not an ONNX model.
    """
    for field, graph in _fields(memoryview(model)):
        for tensor in _graph_tensors(_message(graph)) if field == GRAPH else ():
            if fault := _tensor_fault(tensor):
                return fault
    return None


def file_metadata(model: bytes) -> dict[str, str]:
    """An ONNX model's metadata: texts by their keys.

    Raises:
        ValueError: the bytes are not an ONNX model.
    """
    metadata = {}
    for field, entry in _fields(memoryview(model)):
        if field == METADATA:
            found = {KEY: memoryview(b""), VALUE: memoryview(b""), **dict(_fields(_message(entry)))}
            key, value = (bytes(_message(found[part])).decode("utf-8") for part in (KEY, VALUE))
            metadata[key] = value
    return metadata


def _graph_tensors(graph: memoryview, depth: int = 0) -> Iterator[memoryview]:
    if depth > DEEPEST:
        raise ValueError("graphs within graphs")
    for field, part in _fields(graph):
        if field == INITIALIZER:
            yield _message(part)
        elif field == NODE:
            for node_field, attribute in _fields(_message(part)):
                for kind, value in _fields(_message(attribute)) if node_field == ATTRIBUTE else ():
                    if kind == ATTRIBUTE_TENSOR:
                        yield _message(value)
                    elif kind == ATTRIBUTE_GRAPH:
                        yield from _graph_tensors(_message(value), depth + 1)


def _tensor_fault(tensor: memoryview) -> str | None:
    found = dict(_fields(tensor))
    if found.get(PLACE):
        return "its weights lie in another file"
    kind = found.get(DATA_TYPE)
    if kind not in FLOAT_TYPES:
        return None
    stored, of_type = next(
        ((found[field], form) for field, form in
         ((RAW, FLOAT_TYPES[kind]), (FLOATS, "<f4"), (DOUBLES, "<f8")) if field in found),
        (memoryview(b""), "<f4"),
    )  # fmt: skip
    values = np.frombuffer(_message(stored), of_type)
    name = bytes(_message(found.get(NAME, memoryview(b"")))).decode("utf-8", "replace")
    rank = sum(field == DIMS for field, _ in _fields(tensor))
    return array_fault(name, values, rank)


def _fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            size, at = _varint(message, at)
        if size is None or at + size > len(message):
            raise ValueError("the file ends early or is damaged")
        yield key >> 3, message[at : at + size]
        at += size


def _message(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number in place of a message")
    return value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("the file ends early or is damaged")
