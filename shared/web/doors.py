"""
Lets connections in from a listening socket, and stops doing so without turning anybody away.

The event loop's own server would do but for two things. Out of file descriptors, uvloop closes what it cannot serve and
tells nobody. And a listening socket that is closed resets who waits in its queue and whose handshake is under way, even
where another process listens at the same address (``SO_REUSEPORT``).
"""

import asyncio
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Final

_AT_A_TIME: Final = 16
"""Connections accepted before others get their turn."""

_PAUSE: Final = 0.2
_LATELY: Final = 2.0
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_SO_ATTACH_FILTER: Final = 26
_DROP_SYN: Final = (
    (0x30, 0, 0, 13),  # load the byte with TCP's flags
    (0x54, 0, 0, 0x12),  # of these SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # pass
)
"""A socket filter (Linux, ``linux/filter.h``) that has a listening socket overhear whoever begins to connect."""


class Shortage:
    """Whether somebody lately waited at a door of this process and could not be let in."""

    def __init__(self) -> None:
        self._noted = float("-inf")

    def note(self) -> None:
        """Note that somebody waits."""
        self._noted = monotonic()

    @property
    def lasts(self) -> bool:
        """Whether it was so in the last seconds."""
        return monotonic() - self._noted < _LATELY


class Door:
    """
    Connects whoever comes to the listening socket *bound* with a protocol of *connect*.

    Calls *on_exhausted* when somebody waits and cannot be let in for want of file descriptors or memory. One descriptor
    is kept for this case, so that callers who are soon gone are served even then, one at a time.
    """

    def __init__(
        self, bound: socket.socket, connect: Callable[[], asyncio.Protocol], on_exhausted: Callable[[OSError], None]
    ) -> None:
        self._bound = bound
        self._bound.setblocking(False)
        self._connect = connect
        self._on_exhausted = on_exhausted
        self._loop = asyncio.get_running_loop()
        self._group = asyncio.TaskGroup()
        self._shut, self._ended = asyncio.Event(), asyncio.Event()
        self._spare: int | None = None

    async def run(self) -> None:
        """Let in whoever comes, until :meth:`shut` has ended."""
        try:
            async with self._group:
                self._open()
                await self._shut.wait()
        finally:
            self._stop_looking()
            self._give_up_spare()
            self._ended.set()

    async def shut(self, settle: float) -> None:
        """
        Accept no more, and everybody who was before.

        Whoever begins to connect is not answered for *settle* seconds, and asks again a second after, when the socket
        is closed and another one may listen. Meanwhile all handshakes that had begun end, and who made them is let in.
        """
        if settle:
            _overhear(self._bound)
            await asyncio.sleep(settle)
        while self._accept_some():
            pass
        self._stop_looking()
        self._bound.close()
        self._shut.set()
        await self._ended.wait()

    def _open(self) -> None:
        if self._bound.fileno() >= 0:
            self._loop.add_reader(self._bound, self._accept_some)

    def _stop_looking(self) -> None:
        if self._bound.fileno() >= 0:
            self._loop.remove_reader(self._bound)

    def _accept_some(self) -> bool:
        """Accept who waits, up to a number; tell whether it was reached."""
        self._keep_spare()
        for _ in range(_AT_A_TIME):
            try:
                accepted, _ = self._bound.accept()
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue  # gone before being let in
                self._on_exhausted(error)
                if self._give_up_spare():
                    continue
                self._stop_looking()
                self._loop.call_later(_PAUSE, self._open)
                return False
            accepted.setblocking(False)
            self._group.create_task(self._enter(accepted))
        return True

    async def _enter(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._connect, accepted)
        except OSError:
            accepted.close()

    def _keep_spare(self) -> None:
        if self._spare is None:
            with suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY)

    def _give_up_spare(self) -> bool:
        """Close the descriptor that is kept; tell whether there was one."""
        if self._spare is None:
            return False
        os.close(self._spare)
        self._spare = None
        return True


def _overhear(bound: socket.socket) -> None:
    """Have the kernel drop what would begin a connection; where it cannot, the last ones to come may be reset."""
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _DROP_SYN))
    with suppress(OSError):
        pointer = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(program))
        bound.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)
