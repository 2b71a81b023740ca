"""The database: group commit, isolation, and a clear reason for everything that a disk can do to it."""

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import apsw
import pytest

from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.sqlite.database import Database, require_safe_sqlite
from shared.sqlite.file import BUSY_MS
from tests.rigs.disks import fill, small_disk
from tests.rigs.queue import until_full

NOTES = ("CREATE TABLE note (text TEXT NOT NULL CHECK (text <> 'bad'))",)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "var" / "notes.db") as opened:
        await opened.migrate("notes", NOTES)
        yield opened


def note(connection: apsw.Connection, text: str) -> str:
    connection.execute("INSERT INTO note VALUES (?)", (text,))
    return text


def note_all(connection: apsw.Connection, texts: list[str]) -> list[int]:
    for text in texts:
        note(connection, text)
    return [len(text) for text in texts]


async def notes(database: Database) -> list[str]:
    return await database.read(lambda connection: [row[0] for row in connection.execute("SELECT text FROM note")])


class SyncCounter(apsw.VFS):
    """The default file system, which counts how often a write-ahead log is forced to the disk."""

    def __init__(self) -> None:
        super().__init__("sync-counter", "unix", makedefault=True)
        self.syncs = 0

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        counter = self

        class File(apsw.VFSFile):
            def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
                super().xSync(flags)
                counter.syncs += bool(opened_flags & apsw.SQLITE_OPEN_WAL)

        opened_flags = flags[0]
        return File("unix", name, flags)


@pytest.fixture
def counter() -> Iterator[SyncCounter]:
    file_system = SyncCounter()
    yield file_system
    file_system.unregister()


async def test_each_write_is_forced_to_the_disk(counter: SyncCounter, tmp_path: Path) -> None:
    """A write returns after an fsync of its own or of its group, never before; many together share few."""
    async with Database(tmp_path / "notes.db") as database:
        await database.migrate("notes", NOTES)
        for number in range(5):
            before = counter.syncs
            await database.write(lambda connection: note(connection, "one"))
            assert counter.syncs == before + 1, number
        before = counter.syncs
        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(database.write(lambda connection: note(connection, "many")))
        assert 1 <= counter.syncs - before <= 5
        assert len(await notes(database)) == 105


async def test_settings_survive_a_power_cut(database: Database) -> None:
    """The file is in WAL mode with full synchronisation, for writers and readers."""
    for ask in (database.write, database.read):
        assert await ask(lambda connection: connection.pragma("journal_mode")) == "wal"
        assert await ask(lambda connection: connection.pragma("synchronous")) == 2


async def test_write_returns_the_result(database: Database) -> None:
    """A write returns what its function returned, and a read sees it."""
    assert await database.write(lambda connection: note(connection, "展会")) == "展会"
    assert await notes(database) == ["展会"]


async def test_failure_undoes_only_its_own_write(database: Database) -> None:
    """Of writes in one transaction the one that raises is undone, the others stay."""

    def half(connection: apsw.Connection) -> None:
        note(connection, "half done")
        raise LookupError("own")

    first = database.submit(lambda connection: note(connection, "first"))
    failing = database.submit(half)
    last = database.submit(lambda connection: note(connection, "last"))
    assert await first == "first"
    with pytest.raises(LookupError, match="own"):
        await failing
    assert await last == "last"
    assert await notes(database) == ["first", "last"]


async def test_batched_items_are_written_together(database: Database) -> None:
    """Items that come together reach the function in one call and each gets its own result."""
    sizes: list[int] = []

    def count(connection: apsw.Connection, texts: list[str]) -> list[int]:
        sizes.append(len(texts))
        return note_all(connection, texts)

    write = database.batched(count)
    writing = [write("a" * length) for length in range(50)]
    assert [await result for result in writing] == list(range(50))
    assert sizes == [50]
    assert await write("another") == 7
    assert len(await notes(database)) == 51


async def test_bad_item_of_a_batch_fails_alone(database: Database) -> None:
    """An item that the file refuses fails itself; the others of its batch are written once."""
    write = database.batched(note_all)
    good, bad, other = write("good"), write("bad"), write("other")
    assert [await good, await other] == [4, 5]
    with pytest.raises(QueueUnavailable, match="refuses"):
        await bad
    assert await notes(database) == ["good", "other"]


async def test_cancelled_writer_disturbs_nobody(database: Database) -> None:
    """Cancelling those who wait leaves the others' writes and the database intact."""
    write = database.batched(note_all)

    async def batched(text: str) -> None:
        await write(text)

    async def single(text: str) -> None:
        await database.write(lambda connection: note(connection, text))

    async with asyncio.TaskGroup() as group:
        kept = [group.create_task(work(f"kept {n}")) for n in range(20) for work in (batched, single)]
        cancelled = [group.create_task(work(f"gone {n}")) for n in range(20) for work in (batched, single)]
        await asyncio.sleep(0)
        for task in cancelled:
            task.cancel()
    assert all(task.done() and not task.cancelled() for task in kept)
    assert all(task.cancelled() for task in cancelled)
    written = await notes(database)
    assert sorted(text for text in written if text.startswith("kept")) == sorted(
        f"kept {n}" for n in range(20) for _ in range(2)
    )
    await database.write(lambda connection: note(connection, "after"))


async def test_closing_finishes_what_was_begun(tmp_path: Path) -> None:
    """Leaving the context commits every write that was asked for; later ones are refused."""
    async with Database(tmp_path / "notes.db") as database:
        await database.migrate("notes", NOTES)
        writing = [database.submit(lambda connection: note(connection, "x")) for _ in range(10)]
    assert [await result for result in writing] == ["x"] * 10
    for ask in (database.write, database.read):
        with pytest.raises(QueueUnavailable, match="closed"):
            await ask(lambda connection: connection.changes())
    async with Database(tmp_path / "notes.db") as again:
        assert len(await notes(again)) == 10


async def test_cancelled_closing_leaves_nobody_waiting(tmp_path: Path) -> None:
    """When closing is cancelled, those whose write had not begun get an error instead of waiting for ever."""
    database = await Database(tmp_path / "notes.db").__aenter__()
    await database.migrate("notes", NOTES)
    async with asyncio.TaskGroup() as group:
        first = database.submit(lambda connection: note(connection, "first"))
        await asyncio.sleep(0)  # begun
        second = database.submit(lambda connection: note(connection, "second"))
        leaving = group.create_task(database.__aexit__())
        await asyncio.sleep(0)
        leaving.cancel()
    with pytest.raises(QueueUnavailable, match="closed"):
        await second
    assert await first == "first"


async def test_reading_cannot_write(database: Database) -> None:
    """A read that tries to write is refused."""
    with pytest.raises(QueueUnavailable, match="read-only"):
        await database.read(lambda connection: note(connection, "x"))
    assert await notes(database) == []


async def test_file_and_folder_are_made(tmp_path: Path) -> None:
    """A missing folder is made, and the file, which will hold personal data, is for its owner alone."""
    path = tmp_path / "a" / "b" / "notes.db"
    async with Database(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("version", ["3.51.2", "3.40.1", "3.7.0", "2.8.17"])
def test_old_library_is_refused(version: str) -> None:
    """SQLite before 3.51.3 can damage a file that several connections write: it is not used."""
    with pytest.raises(ConfigurationError, match=version):
        require_safe_sqlite(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.52.0", "4.0"])
def test_new_library_is_accepted(version: str) -> None:
    """SQLite from 3.51.3 on is used."""
    require_safe_sqlite(version)


async def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """A file that is something else is named and left as it is."""
    path = tmp_path / "notes.db"
    path.write_bytes(b"my diary\n" * 1000)
    with pytest.raises(QueueUnavailable, match=r"notes\.db: it is not a SQLite database"):
        async with Database(path):
            pass
    assert path.read_bytes() == b"my diary\n" * 1000


async def test_damaged_file_is_refused(tmp_path: Path) -> None:
    """A database with rubbish in its pages is said to be damaged."""
    path = tmp_path / "notes.db"
    async with Database(path) as database:
        await database.migrate("notes", NOTES)
        write = database.batched(note_all)
        for result in [write("x" * 500) for _ in range(100)]:
            await result
    contents = bytearray(path.read_bytes())
    contents[4096:] = b"\xff" * (len(contents) - 4096)
    path.write_bytes(contents)
    with pytest.raises(QueueUnavailable, match="damaged"):
        async with Database(path) as database:
            await notes(database)


async def test_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    """A path that is a folder, or lies below a file, is refused with the system's reason."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "folder", tmp_path / "file" / "notes.db"):
        with pytest.raises(QueueUnavailable, match=str(path)):
            async with Database(path):
                pass


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """Give up root's right to write everywhere for the length of a test."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def readable_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o700)


async def test_read_only_folder_is_refused(readable_folder: Path, ordinary_user: None) -> None:
    """A folder that may not be written is refused with the reason."""
    for path in (readable_folder / "notes.db", readable_folder / "var" / "notes.db"):
        with pytest.raises(QueueUnavailable, match="Permission denied"):
            async with Database(path):
                pass


async def test_file_locked_by_another_is_refused(database: Database) -> None:
    """A lock that somebody else holds for too long fails the write; afterwards writing goes on."""
    await database.write(lambda connection: connection.set_busy_timeout(50))
    with closing(apsw.Connection(str(database.path))) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(QueueUnavailable, match="locked"):
            await database.write(lambda connection: note(connection, "too early"))
        other.execute("COMMIT")
    await database.write(lambda connection: note(connection, "later"))
    assert await notes(database) == ["later"]


async def test_full_disk_is_survived(database: Database) -> None:
    """When the disk is full writes fail and say so; what was written stays, and writing goes on once there is room."""
    write = database.batched(note_all)
    await write("before")
    pages = await database.write(lambda connection: connection.pragma("page_count"))
    await database.write(lambda connection: connection.pragma("max_page_count", pages + 3))
    for result in [write("x" * 1500) for _ in range(100)]:
        with pytest.raises(QueueUnavailable, match="the disk is full"):
            await result
    await database.write(lambda connection: connection.pragma("max_page_count", 1000000))
    await write("after")
    assert await notes(database) == ["before", "after"]


@pytest.mark.parametrize("deleted", [("",), ("-wal",), ("-shm",), ("-wal", "-shm"), ("", "-wal", "-shm")])
async def test_deleted_files_are_put_back(database: Database, deleted: tuple[str, ...]) -> None:
    """Nothing is written where it would be gone with the process, and what was there is kept."""
    await database.write(lambda connection: note(connection, "before"))
    assert await notes(database) == ["before"]
    for suffix in deleted:
        database.path.with_name(database.path.name + suffix).unlink()
    assert await notes(database) == ["before"]
    for suffix in deleted:
        database.path.with_name(database.path.name + suffix).unlink()
    await database.write(lambda connection: note(connection, "after"))
    assert await notes(database) == ["before", "after"]
    with closing(apsw.Connection(str(database.path))) as other:
        assert other.execute("SELECT text FROM note").fetchall() == [("before",), ("after",)]
    assert sorted(path.name for path in database.path.parent.iterdir()) == [
        "notes.db",
        "notes.db-reserve",
        "notes.db-shm",
        "notes.db-wal",
    ]


async def test_a_deleted_folder_is_put_back(database: Database) -> None:
    """With everything in it."""
    await database.write(lambda connection: note(connection, "before"))
    shutil.rmtree(database.path.parent)
    await database.write(lambda connection: note(connection, "after"))
    assert await notes(database) == ["before", "after"]
    assert stat.S_IMODE(database.path.stat().st_mode) == 0o600


async def test_a_file_in_its_place_is_left_alone(database: Database) -> None:
    """Whose it is only a person can tell; nothing is accepted meanwhile."""
    await database.write(lambda connection: note(connection, "x"))
    database.path.rename(database.path.with_name("moved.db"))
    database.path.write_bytes(b"another")
    for ask in (database.write, database.read):
        with pytest.raises(QueueUnavailable, match="replaced"):
            await ask(lambda connection: connection.changes())
    assert database.path.read_bytes() == b"another"
    database.path.with_name("moved.db").rename(database.path)
    await database.write(lambda connection: note(connection, "y"))
    assert await notes(database) == ["x", "y"]


async def test_an_open_file_is_made_private(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that others might read is said and closed to them, and so are the log and the index beside it."""
    path = tmp_path / "notes.db"
    async with Database(path) as database:
        await database.migrate("notes", NOTES)
    path.chmod(0o644)
    async with Database(path) as database:
        await database.write(lambda connection: note(connection, "x"))
        files = [path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-reserve"))]
        assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 4
    assert capsys.readouterr().out.count("file.made_private") == 1


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr("shared.sqlite.reserve.RESERVE_BYTES", 2 << 20)
    with small_disk("16m") as folder:
        yield folder


async def grow_until_full(database: Database) -> None:
    """Write what grows the file until it is refused."""
    write = database.batched(note_all, grows=True)
    await until_full(lambda _: write("x" * 1000))


async def test_on_a_full_disk_only_growing_stops(disk: Path) -> None:
    """What is there is worked off with the room that was kept; with room again the rest goes on, too."""
    async with Database(disk / "notes.db") as database:
        await database.migrate("notes", NOTES)
        await database.batched(note_all)("before")
        ballast = fill(disk)
        await grow_until_full(database)
        for number in range(200):  # more than the log had room for
            await database.batched(note_all)(f"settled {number}")
            await database.write(lambda connection: connection.execute("DELETE FROM note WHERE text <> 'before'"))
        assert await notes(database) == ["before"]
        with pytest.raises(QueueUnavailable, match="full"):
            await database.batched(note_all, grows=True)("new")
        ballast.unlink()
        await database.batched(note_all, grows=True)("new")
        assert (disk / "notes.db-reserve").stat().st_size == 2 << 20


async def test_a_file_opens_on_a_full_disk(disk: Path) -> None:
    """What was accepted before can be worked off, though the process ended meanwhile."""
    async with Database(disk / "notes.db") as database:
        await database.migrate("notes", NOTES)
        await database.write(lambda connection: note(connection, "before"))
    fill(disk)
    async with Database(disk / "notes.db") as database:
        await database.migrate("notes", NOTES)
        assert await notes(database) == ["before"]
        await database.write(lambda connection: connection.execute("DELETE FROM note"))
        await grow_until_full(database)


async def test_migration_runs_each_step_once(tmp_path: Path) -> None:
    """Each step runs once per file, in order, and different tables are counted apart."""
    steps = ["CREATE TABLE one (x); INSERT INTO one VALUES (1)", "INSERT INTO one VALUES (2)"]
    path = tmp_path / "notes.db"
    for known in (1, 1, 2, 2):
        async with Database(path) as database:
            await database.migrate("one", steps[:known])
            await database.migrate("notes", NOTES)
            rows = await database.read(lambda connection: connection.execute("SELECT x FROM one").fetchall())
            assert rows == [(1,), (2,)][:known]


async def test_newer_file_is_refused(tmp_path: Path) -> None:
    """Tables that a newer version made are not touched."""
    async with Database(tmp_path / "notes.db") as database:
        await database.migrate("notes", [*NOTES, "CREATE TABLE later (x)"])
        with pytest.raises(ConfigurationError, match="newer"):
            await database.migrate("notes", NOTES)


async def test_failing_migration_changes_nothing(tmp_path: Path) -> None:
    """Steps are made together or not at all."""
    async with Database(tmp_path / "notes.db") as database:
        with pytest.raises(QueueUnavailable):
            await database.migrate("notes", [*NOTES, "INSERT INTO note VALUES ('bad')"])
        await database.migrate("notes", NOTES)
        assert await notes(database) == []


@pytest.mark.parametrize("turn", range(20))
async def test_two_connections_may_make_the_file_at_once(tmp_path: Path, turn: int) -> None:
    """Several programs may start on a missing file at the same time, to the millisecond."""
    together = Barrier(8)

    def start() -> None:
        async def run() -> None:
            together.wait()
            async with Database(tmp_path / "notes.db") as database:
                await database.migrate("notes", NOTES)
                await database.write(lambda connection: note(connection, "x"))

        asyncio.run(run())

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(start) for _ in range(8)]:
            await asyncio.wrap_future(done)
    async with Database(tmp_path / "notes.db") as database:
        assert len(await notes(database)) == 8


def test_waiting_for_a_lock_ends_before_wecom_gives_up() -> None:
    """A callback that waits for a lock is answered within WeCom's 5 s."""
    assert BUSY_MS <= 4000
