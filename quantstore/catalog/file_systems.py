"""Which file system a folder is on, and whether SQLite's locks can be trusted there."""

from __future__ import annotations

import re
from pathlib import Path

from quantstore.errors import UnsupportedError

MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = (
    "9p", "acfs", "afp", "afs", "afpfs", "beegfs", "ceph", "cifs", "coda", "davfs", "fhgfs", "glusterfs", "gpfs",
    "lustre", "moosefs", "ncp", "ncpfs", "nfs", "nfs3", "nfs4", "orangefs", "panfs", "prl_fs", "pvfs2", "smb2",
    "smb3", "smbfs", "vboxsf", "vmhgfs", "webdav",
)  # fmt: skip
_NETWORK_FUSE = (
    "afpfs", "blobfuse", "blobfuse2", "ceph", "cephfs", "curlftpfs", "davfs", "davfs2", "dropbox", "gcsfuse",
    "glusterfs", "goofys", "gvfsd-fuse", "juicefs", "mfs", "moosefs", "mount-s3", "mountpoint-s3", "nfs",
    "onedrive", "rclone", "s3fs", "seaweedfs", "smbnetfs", "sshfs", "vmhgfs-fuse", "weed",
)  # fmt: skip
_ESCAPED = re.compile(r"\\([0-7]{3})")


def file_system(folder: Path, mounts: Path = MOUNTS) -> tuple[str, str]:
    """Return the type of the file system that `folder` lies on and where that is mounted; empty where unknown.

    Args:
        folder: Need not exist.
        mounts: A table of mounts as Linux writes it (`/proc/self/mountinfo`).
    """
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
        wanted = str(folder.resolve())
    except (OSError, RuntimeError):
        return "", ""
    found, kind = "", ""
    for line in lines:
        left, separator, right = line.partition(" - ")
        fields = left.split()
        if not separator or len(fields) < 5 or not right:
            continue
        mount = _ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = wanted == mount or wanted.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(found):  # of two mounts on one place the later hides the earlier
            found, kind = mount, right.split()[0]
    return kind, found


def is_network(kind: str) -> bool:
    """Whether a type of file system reaches over a network, or past this machine's own locks."""
    name, _, helper = kind.casefold().partition(".")
    return name in _NETWORK or (name == "fuse" and helper in _NETWORK_FUSE)


def refuse_network(folder: Path, mounts: Path | None = None) -> None:
    """Refuse a folder for the catalog that is on a network file system; nothing is made.

    Raises:
        UnsupportedError: Names the file system, the mount and the way out.
    """
    kind, mount = file_system(folder, MOUNTS if mounts is None else mounts)
    if is_network(kind):
        raise UnsupportedError(
            f"{folder} is on a network file system ({kind}, mounted at {mount}), where the locks of the catalog cannot "
            "be trusted. Put the catalog on a local disk: quantstore.open(local_folder), or keep only the rows there "
            "with quantstore.open(local_folder, cold=network_folder).",
            path=str(folder),
            file_system=kind,
            mount=mount,
        )
