"""Avro files of the published metadata, looked at before pyiceberg reads them.

Its compiled decoder trusts every length that it finds, and a file that a power cut or a bad disk has damaged ends the
process. Here blocks are walked first, as the Avro specification has them
(https://avro.apache.org/docs/1.12.0/specification, "Object Container Files"): a magic number, metadata, a marker of 16
random bytes, and after each block the marker again. That finds what is missing, zero, cut short or of another file. A
bit that was flipped inside a block may only be found by looking at every record, which takes a tenth of a millisecond
each, and is left to `fsck`.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from pyiceberg.avro.decoder import StreamingBinaryDecoder
from pyiceberg.avro.file import MAGIC, META_SCHEMA, SYNC_SIZE, AvroFileHeader
from pyiceberg.avro.resolver import construct_reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiceberg.io import FileIO
    from pyiceberg.manifest import ManifestEntry, ManifestFile
    from pyiceberg.table.snapshots import Snapshot


def manifests(snapshot: Snapshot, io: FileIO, *, every_record: bool = False) -> Sequence[ManifestFile]:
    """Return the manifests of a snapshot.

    Raises:
        ValueError: The list of them is damaged.
        OSError: It cannot be read.
    """
    require_whole(io, snapshot.manifest_list, every_record=every_record)
    return snapshot.manifests(io)


def entries(manifest: ManifestFile, io: FileIO, *, every_record: bool = False) -> list[ManifestEntry]:
    """Return what a manifest lists and has not taken out.

    Raises:
        ValueError: It is damaged.
        OSError: It cannot be read.
    """
    require_whole(io, manifest.manifest_path, every_record=every_record)
    return manifest.fetch_manifest_entry(io, discard_deleted=True)


def require_whole(io: FileIO, path: str, *, every_record: bool = False) -> None:
    """Check that an Avro file can be decoded to its end, by a decoder that looks where it reads.

    Raises:
        ValueError: It is damaged.
        OSError: It cannot be read.
    """
    with io.new_input(path).open() as file:
        content = file.read()
    try:
        _walk(content, every_record=every_record)
    except OSError:
        raise
    except Exception as error:  # whatever damage leads a decoder into
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error})") from error


class _Decoder(StreamingBinaryDecoder):
    """One that does not take a negative length for none."""

    def read_bytes(self) -> bytes:
        """Return bytes that come behind their length."""
        return self.read(self.read_int())


def _walk(content: bytes, *, every_record: bool) -> None:
    stream = BytesIO(content)
    decoder = _Decoder(stream)
    if content[: len(MAGIC)] != MAGIC:
        raise ValueError("it does not begin as Avro files do")
    header: AvroFileHeader = construct_reader(META_SCHEMA, {-1: AvroFileHeader}).read(decoder)
    codec = header.compression_codec()
    reader = construct_reader(header.get_schema())
    while stream.tell() < len(content):
        records = decoder.read_int()
        size = decoder.read_int()
        if not 0 <= size <= len(content) - stream.tell():
            raise ValueError("a block is longer than the file")
        block = decoder.read(size) if size else b""
        if decoder.read(SYNC_SIZE) != header.sync:
            raise ValueError("a block does not end with its marker")
        inner = BytesIO(codec.decompress(block) if codec else block)
        length = inner.getbuffer().nbytes
        if records > length:
            raise ValueError("a block has more records than bytes")
        if not every_record:
            continue
        for _ in range(records):
            reader.read(_Decoder(inner))
        if inner.tell() != length:
            raise ValueError("a block has more bytes than records")
