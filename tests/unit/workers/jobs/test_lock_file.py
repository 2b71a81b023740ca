"""The lock on the disk."""

import os

import orjson
import pytest

from shared.domain.channels.lock import LockedWay, LockedWays
from shared.domain.channels.model import ChannelKey
from shared.domain.channels.ways import WayFields
from shared.domain.errors import ConfigurationError
from shared.domain.ids import ContactWayId, CorpId, StaffUserId
from workers.jobs.lock_file import LockFile, lock_path

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
def file(tmp_path):
    return LockFile(path=lock_path(tmp_path / "channels.toml"), corp=CORP)


def problem(file: LockFile) -> str:
    with pytest.raises(ConfigurationError) as caught:
        file.read()
    (only,) = caught.value.problems
    return only


def test_a_lock_comes_back_as_it_was_written(file):
    """Ways, retired ways and intents survive the disk."""
    with file.held():
        file.write(LOCK)
    assert file.read() == LOCK
    assert file.path.name == "channels.lock.json"
    assert [entry.name for entry in file.path.parent.iterdir()] == ["channels.lock.json"]


def test_no_file_is_an_empty_lock(file):
    """The first time there is nothing yet."""
    assert file.read() == LockedWays(corp_id=CORP)


def test_a_lock_of_another_corp_is_refused(file):
    """Both corps are named."""
    file.write(LOCK)
    text = problem(LockFile(path=file.path, corp=CorpId("ww2")))
    assert "ww1" in text
    assert "ww2" in text


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"version": 1}', b"\xff", b'{"version": 1, "corp_id": 5}']
)
def test_a_damaged_lock_is_refused_with_the_remedy(file, content):
    """What is no lock says how to rebuild one."""
    file.path.write_bytes(content)
    assert "qudao channels import" in problem(file)


def test_a_lock_of_another_version_is_refused(file):
    """A newer Qudao may know things that this one would lose."""
    file.write(LOCK)
    document = orjson.loads(file.path.read_bytes())
    file.path.write_bytes(orjson.dumps({**document, "version": 2}))
    assert "another version" in problem(file)


def test_an_unknown_field_is_refused(file):
    """A field that this version would drop is not read past."""
    file.write(LOCK)
    document = orjson.loads(file.path.read_bytes())
    file.path.write_bytes(orjson.dumps({**document, "later": 1}))
    assert "not a lock" in problem(file)


def test_two_cannot_hold_the_lock(file):
    """A second apply is told at once; after the first has ended it goes on."""
    with file.held(), pytest.raises(ConfigurationError, match="another"), file.held():
        pass
    with file.held():
        file.write(LOCK)


def test_a_folder_that_is_not_there_is_told_before_the_first_call(tmp_path):
    """Holding the lock proves that it can be written."""
    missing = LockFile(path=tmp_path / "missing" / "channels.lock.json", corp=CORP)
    with pytest.raises(ConfigurationError, match="No such file"), missing.held():
        pass


def test_a_folder_that_cannot_be_written_is_told_before_the_first_call(file):
    """What stands in the way of writing is found when the lock is taken, and again when it is written."""
    file.path.with_name(".channels.lock.json.new").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be written"), file.held():
        pass
    with pytest.raises(ConfigurationError, match="cannot be written"):
        file.write(LOCK)


def test_a_failed_write_leaves_the_old_lock(file, monkeypatch):
    """When the disk is full in the middle, what was there is still there, and nothing beside it."""
    file.write(LOCK)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match="No space left"):
        file.write(LockedWays(corp_id=CORP))
    assert file.read() == LOCK
    assert [entry.name for entry in file.path.parent.iterdir()] == ["channels.lock.json"]


def test_a_linked_lock_stays_linked(file, tmp_path):
    """A lock that is a symbolic link, into a shared folder for example, is written where it leads."""
    shared = tmp_path / "shared"
    shared.mkdir()
    file.path.symlink_to(shared / "lock.json")
    with file.held():
        file.write(LOCK)
    assert file.path.is_symlink()
    assert LockFile(path=shared / "lock.json", corp=CORP).read() == LOCK
