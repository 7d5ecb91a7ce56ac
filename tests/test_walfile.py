"""gaussprobe.walfile: which file systems get a log."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaussprobe import walfile

MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /fast rw,nosuid shared:2 - tmpfs tmpfs rw
40 22 0:41 / /far rw,relatime shared:3 - nfs4 server:/far rw,vers=4.2
41 40 8:3 / /far/near rw shared:4 - xfs /dev/sdb1 rw
42 22 0:43 / /mnt/two\040words rw shared:5 - fuse.sshfs host:/ rw
43 22 0:44 / /data rw - ext4 /dev/sdc1 rw
44 22 0:45 / /data rw - lustre server:/data rw
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/run.sqlite", False),
        ("/fast/run.sqlite", False),
        ("/far/run.sqlite", True),
        ("/far/near/run.sqlite", False),
        ("/farther/run.sqlite", False),
        ("/mnt/two words/run.sqlite", True),
        ("/mnt/run.sqlite", False),
        ("/data/run.sqlite", True),
    ],
)
def test_network_file_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, expected: bool
) -> None:
    """A file is on the file system that is mounted nearest above it (proc(5), mountinfo)."""
    (tmp_path / "mountinfo").write_text(MOUNTS, encoding="utf-8")
    monkeypatch.setattr(walfile, "_MOUNTS", tmp_path / "mountinfo")
    assert walfile.is_on_network(Path(path)) is expected


def test_where_mounts_are_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the system's list of mounts a log is tried."""
    monkeypatch.setattr(walfile, "_MOUNTS", tmp_path / "missing")
    assert not walfile.is_on_network(tmp_path)
