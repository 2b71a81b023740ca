"""The lock as a file."""

from pathlib import Path

import orjson
import pytest

from shared.domain.channels.lock import LockedWay, LockedWays
from shared.domain.channels.model import ChannelKey
from shared.domain.channels.ways import WayFields
from shared.domain.errors import ConfigurationError
from shared.domain.ids import ContactWayId, CorpId, StaffUserId
from workers.jobs.lock_file import lock_document, read_lock, write_lock

CORP = CorpId("ww1")
WAY = LockedWay(
    key=ChannelKey("a"),
    state="渠道",
    config_id=ContactWayId("c1"),
    qr_code="https://q/1",
    fields=WayFields(memo="展会", staff=(StaffUserId("lin.qiao"),), party=(3,), style=None),
    created_at=1767225600,
)
LOCK = (
    LockedWays(corp_id=CORP)
    .assigned(WAY)
    .begun(ChannelKey("b"), "qd_b", WAY.fields, now=1.5)
    .assigned(LockedWay(key=ChannelKey("a"), state="new", config_id=ContactWayId("c2"), fields=WayFields()))
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "channels.lock.json"


def problem(path, corp=CORP):
    with pytest.raises(ConfigurationError) as caught:
        read_lock(path, corp)
    (only,) = caught.value.problems
    return only


def test_a_lock_comes_back_as_it_was_written(path):
    """Ways, retired ways and intents survive the disk."""
    write_lock(path, LOCK)
    assert read_lock(path, CORP) == LOCK
    assert [entry.name for entry in path.parent.iterdir()] == ["channels.lock.json"]


def test_no_file_is_told(path):
    """A name that was mistyped is no empty lock."""
    assert "No such file" in problem(path)


def test_a_lock_of_another_corp_is_refused(path):
    """Both corps are named."""
    write_lock(path, LOCK)
    text = problem(path, CorpId("ww2"))
    assert "ww1" in text
    assert "ww2" in text


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"version": 1}', b"\xff", b'{"version": 1, "corp_id": 5}']
)
def test_a_damaged_lock_is_refused_with_the_remedy(path, content):
    """What is no lock says how to rebuild one."""
    path.write_bytes(content)
    assert "qudao channels import" in problem(path)


def test_a_lock_of_another_version_is_refused(path):
    """A newer Qudao may know things that this one would lose."""
    path.write_bytes(orjson.dumps({**orjson.loads(lock_document(LOCK)), "version": 2}))
    assert "another version" in problem(path)


def test_an_unknown_field_is_refused(path):
    """A field that this version would drop is not read past."""
    path.write_bytes(orjson.dumps({**orjson.loads(lock_document(LOCK)), "later": 1}))
    assert "not a lock" in problem(path)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    """Where it cannot be written it is said why."""
    with pytest.raises(ConfigurationError, match="No such file"):
        write_lock(tmp_path / "missing" / "channels.lock.json", LOCK)


def test_a_failed_write_leaves_the_old_lock(path, monkeypatch):
    """When the disk is full in the middle, what was there is still there, and nothing beside it."""
    write_lock(path, LOCK)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ConfigurationError, match="No space left"):
        write_lock(path, LockedWays(corp_id=CORP))
    assert read_lock(path, CORP) == LOCK
    assert [entry.name for entry in path.parent.iterdir()] == ["channels.lock.json"]


def test_a_linked_lock_stays_linked(path, tmp_path):
    """A lock that is a symbolic link, into a shared folder for example, is written where it leads."""
    shared = tmp_path / "shared"
    shared.mkdir()
    path.symlink_to(shared / "lock.json")
    write_lock(path, LOCK)
    assert path.is_symlink()
    assert read_lock(shared / "lock.json", CORP) == LOCK
