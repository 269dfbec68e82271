"""One commit to an Iceberg table that takes files out and adds others, and keeps the table's metadata short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pyiceberg.manifest import DataFile, ManifestEntry, ManifestEntryStatus, ManifestFile
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _OverwriteFiles

from quantstore.core.failpoints import reach
from quantstore.publish import avro

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.update import UpdatesAndRequirements

MOST_MANIFESTS = 16
Listed = list[tuple[ManifestFile, list[ManifestEntry]]]


def listed_files(table: Table, *, every_record: bool = False) -> Listed:
    """Return the manifests of a table's newest snapshot that list files, with what they list.

    Args:
        table: The Iceberg table.
        every_record: Whether to look at each record of the manifests before pyiceberg does, too; see `avro`.
    """
    snapshot = table.current_snapshot()
    if snapshot is None:
        return []
    manifests = avro.manifests(snapshot, table.io, every_record=every_record)
    found = [(one, avro.entries(one, table.io, every_record=every_record)) for one in manifests]
    return [(manifest, listed) for manifest, listed in found if listed]


class ProjectionFiles(_OverwriteFiles):
    """Writes the manifests of a new snapshot.

    Manifests without live files are dropped, and many are written anew as one, so that a table that is published every
    minute stays quick to open.

    Args:
        transaction: What the snapshot becomes a part of.
        io: Where its files go.
        stamp: Properties of the snapshot.
        listed: What the newest snapshot lists.
        added: Records of files to add.
        removed: Paths of files to take out.
        renewed: New records of files that stay, by path.
    """

    def __init__(
        self,
        transaction: Transaction,
        io: FileIO,
        stamp: dict[str, str],
        listed: Listed,
        added: Sequence[DataFile],
        removed: set[str],
        renewed: Mapping[str, DataFile],
    ) -> None:
        operation = Operation.APPEND
        if removed:
            operation = Operation.OVERWRITE if added else Operation.DELETE
        super().__init__(operation=operation, transaction=transaction, io=io, snapshot_properties=stamp)
        self._listed, self._removed, self._renewed = listed, removed, renewed
        for one in added:
            self.append_data_file(one)
        for _, entries in listed:
            for entry in entries:
                if entry.data_file.file_path in removed:
                    self.delete_data_file(entry.data_file)

    def _build_delete_files_partition_predicate(self) -> None:
        """Need none: what the manifests list is known."""

    def _deleted_entries(self) -> list[ManifestEntry]:
        return [
            self._with(entry, ManifestEntryStatus.DELETED, self._snapshot_id)
            for _, entries in self._listed
            for entry in entries
            if entry.data_file.file_path in self._removed
        ]

    def _existing_manifests(self) -> list[ManifestFile]:
        whole: list[ManifestFile] = []
        rest: list[ManifestEntry] = []
        is_many = len(self._listed) >= MOST_MANIFESTS
        for manifest, entries in self._listed:
            kept = [entry for entry in entries if entry.data_file.file_path not in self._removed]
            is_renewed = any(entry.data_file.file_path in self._renewed for entry in kept)
            if len(kept) == len(entries) and not is_renewed and not is_many:
                whole.append(manifest)
            else:
                rest += kept
        if rest:
            with self.new_manifest_writer(self._transaction.table_metadata.spec()) as writer:
                for entry in rest:
                    writer.add_entry(self._with(entry, ManifestEntryStatus.EXISTING, entry.snapshot_id))
            whole.append(writer.to_manifest_file())
        return whole

    def _with(self, entry: ManifestEntry, status: ManifestEntryStatus, snapshot_id: int | None) -> ManifestEntry:
        return ManifestEntry.from_args(
            status=status,
            snapshot_id=snapshot_id,
            sequence_number=entry.sequence_number,
            file_sequence_number=entry.file_sequence_number,
            data_file=self._renewed.get(entry.data_file.file_path, entry.data_file),
        )

    def _manifests(self) -> list[ManifestFile]:
        written = super()._manifests()
        reach("publish.listed")
        return written

    def _commit(self) -> UpdatesAndRequirements:
        update = super()._commit()
        reach("publish.staged")
        return update
