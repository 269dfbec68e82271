"""Digests of content: one that sees order (repeats), one that does not (moves).

Both see through chunking, offsets and dictionary layout: equal logical values give equal digests.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from quantstore.catalog.records import ColumnProof

_MIX = np.uint64(0x9E3779B97F4A7C15)
_NULL_CHILD = np.uint64(0xD6E8FEB86659FD93)
_STRING_CHUNK = 1_000_000
_BLOCK = 1 << 17


class ContentDigest:
    """Digest of a stream of rows in order, the same however the stream is cut."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._columns = [_OrderedDigest() for _ in schema]
        self.rows = 0

    def update(self, table: pa.Table) -> None:
        """Add rows; `table` has the columns of the schema, in order."""
        for digest, column in zip(self._columns, table.columns, strict=True):
            for chunk in column.chunks:
                digest.update(chunk)
        self.rows += table.num_rows

    def hexdigest(self) -> str:
        """Return `xxh3_128:<hex>` over schema, row count and every column."""
        total = xxhash.xxh3_128()
        total.update(self._schema.to_string(show_field_metadata=False, show_schema_metadata=False).encode())
        total.update(str(self.rows).encode())
        for digest in self._columns:
            total.update(digest.digest())
        return f"xxh3_128:{total.hexdigest()}"


class _OrderedDigest:
    """Streams of one column, hashed apart: null positions, values, lengths, children."""

    def __init__(self) -> None:
        self._streams: dict[str, Any] = {}
        self._rows: dict[str, int] = {}

    def update(self, array: pa.Array, path: str = "") -> None:
        self._feed_nulls(array, path)
        kind = array.type
        if pa.types.is_null(kind) or len(array) == 0:
            return
        if pa.types.is_dictionary(kind):
            self._feed(f"{path}v", _dictionary_hashes(array))
        elif pa.types.is_struct(kind):
            for position, child in enumerate(array.flatten()):
                self.update(child, f"{path}{position}.")
        elif _is_list(kind):
            self._feed(f"{path}n", _list_lengths(array))
            self.update(_list_values(array), f"{path}i.")
        elif _is_text(kind):
            self._feed_text(array, path)
        else:
            self._feed(f"{path}v", fixed_width_bytes(array))

    def digest(self) -> bytes:
        total = xxhash.xxh3_128()
        for name in sorted(self._streams):
            total.update(name.encode() + self._streams[name].digest())
        return bytes(total.digest())

    def _feed(self, name: str, data: Any) -> None:
        stream = self._streams.setdefault(name, xxhash.xxh3_128())
        stream.update(np.ascontiguousarray(data).view(np.uint8).reshape(-1).data)

    def _feed_nulls(self, array: pa.Array, path: str) -> None:
        start = self._rows.get(path, 0)
        self._rows[path] = start + len(array)
        if array.null_count and not pa.types.is_null(array.type):
            positions = np.flatnonzero(pc.is_null(array).to_numpy(zero_copy_only=False)) + start
            self._feed(f"{path}0", positions.astype(np.int64))

    def _feed_text(self, array: pa.Array, path: str) -> None:
        for start in range(0, len(array), _BLOCK):  # small arrays are made in memory that is there already
            offsets, data = text_buffers(array.slice(start, _BLOCK))
            self._feed(f"{path}n", np.diff(offsets).astype(np.int32))
            self._feed(f"{path}v", data)


def column_proofs(table: pa.Table) -> dict[str, ColumnProof]:
    """Return the order-free fingerprint of every column of `table`."""
    return {name: column_proof(column) for name, column in zip(table.column_names, table.columns, strict=True)}


def column_proof(column: pa.ChunkedArray) -> ColumnProof:
    """Return the number of nulls and, over all other rows, wrapping sums of h, h^2 and mix(h) of their hashes."""
    first, second, third = np.uint64(0), np.uint64(0), np.uint64(0)
    for chunk in column.chunks:
        for start in range(0, len(chunk), _STRING_CHUNK):
            hashes = row_hashes(chunk.slice(start, _STRING_CHUNK))
            with np.errstate(over="ignore"):
                first += hashes.sum(dtype=np.uint64)
                second += np.multiply(hashes, hashes).sum(dtype=np.uint64)
                mixed = hashes * _MIX
                third += np.bitwise_xor(mixed, mixed >> np.uint64(29)).sum(dtype=np.uint64)
    return ColumnProof(column.null_count, f"{int(first):016x}{int(second):016x}{int(third):016x}")


def row_hashes(array: pa.Array) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return one 64-bit hash per row, 0 for null; not for untrusted input, collisions can be made on purpose."""
    kind = array.type
    if pa.types.is_null(kind):
        return np.zeros(len(array), np.uint64)
    if pa.types.is_dictionary(kind):
        return _dictionary_hashes(array)
    if pa.types.is_struct(kind):
        hashes = _struct_hashes(array)
    elif _is_list(kind):
        hashes = _list_hashes(array)
    elif _is_text(kind):
        hashes = _text_hashes(array)
    else:
        hashes = _fixed_hashes(array)
    if array.null_count:
        hashes = np.where(pc.is_null(array).to_numpy(zero_copy_only=False), np.uint64(0), hashes)
    return hashes


def fixed_width_bytes(array: pa.Array) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the value bytes of a fixed-width array, shape (rows, width), nulls zeroed; a view where none is null."""
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    width = array.type.bit_width // 8
    buffer = array.buffers()[1]
    raw = np.frombuffer(buffer, np.uint8, len(array) * width, array.offset * width).reshape(len(array), width)
    if array.null_count:
        raw = np.where(pc.is_null(array).to_numpy(zero_copy_only=False)[:, None], np.uint8(0), raw)
    return raw


def text_buffers(
    array: pa.Array,
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.uint8]]]:
    """Return offsets (rows + 1, starting at 0) and bytes of a string or binary array; nulls have length 0."""
    if array.null_count:
        array = pc.fill_null(array, b"" if "binary" in str(array.type) else "")
    large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    _, offset_buffer, data_buffer = array.buffers()
    kind = np.dtype(np.int64 if large else np.int32)
    offsets = np.frombuffer(offset_buffer, kind, len(array) + 1, array.offset * kind.itemsize)
    if data_buffer is None:
        return np.zeros(len(array) + 1, np.int64), np.zeros(0, np.uint8)
    start, end = int(offsets[0]), int(offsets[-1])
    return offsets.astype(np.int64) - start, np.frombuffer(data_buffer, np.uint8, end - start, start)


def _is_text(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_binary(kind) or t.is_large_binary(kind))


def _is_list(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind) or t.is_map(kind))


def _list_lengths(array: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    if pa.types.is_map(array.type):
        array = array.cast(pa.list_(pa.struct([array.type.key_field, array.type.item_field])))
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), np.int64)


def _list_values(array: pa.Array) -> pa.Array:
    if pa.types.is_map(array.type):
        array = array.cast(pa.list_(pa.struct([array.type.key_field, array.type.item_field])))
    return array.flatten()


def _dictionary_hashes(array: pa.DictionaryArray) -> np.ndarray[Any, np.dtype[np.uint64]]:
    by_code = np.append(row_hashes(array.dictionary), np.uint64(0))
    codes = pc.fill_null(array.indices.cast(pa.int64()), len(array.dictionary)).to_numpy(zero_copy_only=False)
    return np.asarray(by_code[codes], np.uint64)


def _fixed_hashes(array: pa.Array) -> np.ndarray[Any, np.dtype[np.uint64]]:
    raw = fixed_width_bytes(array)
    width = raw.shape[1]
    if width in {1, 2, 4, 8}:
        return np.ascontiguousarray(raw).view(f"<u{width}").reshape(-1).astype(np.uint64)
    padded = np.zeros((len(raw), -(-width // 8) * 8), np.uint8)
    padded[:, :width] = raw
    return _combine(padded.view("<u8").T)


def _combine(words: Any) -> np.ndarray[Any, np.dtype[np.uint64]]:
    total: Any = np.uint64(0)
    with np.errstate(over="ignore"):
        for position, word in enumerate(words):
            total = total + word * (_MIX * np.uint64(2 * position + 1))
            total = total ^ (total >> np.uint64(31))
    return np.asarray(total, np.uint64)


def _struct_hashes(array: pa.StructArray) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return _combine([_child_hashes(child) for child in array.flatten()])


def _child_hashes(array: pa.Array) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Hash values inside a nesting, where null and zero must differ."""
    hashes = row_hashes(array)
    if array.null_count:
        return np.where(pc.is_null(array).to_numpy(zero_copy_only=False), _NULL_CHILD, hashes)
    return hashes


def _list_hashes(array: pa.Array) -> np.ndarray[Any, np.dtype[np.uint64]]:
    lengths = _list_lengths(array)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return _weighted_sums(offsets, _child_hashes(_list_values(array)))


def _text_hashes(array: pa.Array) -> np.ndarray[Any, np.dtype[np.uint64]]:
    encoded = array.dictionary_encode()
    offsets, data = text_buffers(encoded.dictionary)
    by_code = np.append(_weighted_sums(offsets, data.astype(np.uint64) + np.uint64(1)), np.uint64(0))
    codes = pc.fill_null(encoded.indices, len(encoded.dictionary)).to_numpy(zero_copy_only=False)
    return np.asarray(by_code[codes], np.uint64)


def _weighted_sums(offsets: Any, values: Any) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return, per slice of `values`, length plus the sum of values times an odd weight of their place in the slice."""
    lengths = np.diff(offsets)
    places = (np.arange(len(values)) - np.repeat(offsets[:-1], lengths)).astype(np.uint64)
    with np.errstate(over="ignore"):
        weights = places * _MIX + np.uint64(0xBF58476D1CE4E5B9)
        weights = (weights ^ (weights >> np.uint64(27))) * np.uint64(0x94D049BB133111EB) | np.uint64(1)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values * weights, dtype=np.uint64)])
        totals = (sums[offsets[1:]] - sums[offsets[:-1]]) + lengths.astype(np.uint64) * _MIX
        return np.asarray(totals ^ (totals >> np.uint64(32)), np.uint64)
