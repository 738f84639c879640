"""Keeps the notary, the gateways and the log's publisher running: starts them, restarts what dies, and ends them together.

The listening socket is opened here once and inherited, so that connections made while a gateway restarts wait instead of failing. Every
child watches its standard input and ends when this process is gone: nothing is orphaned, whatever kills the supervisor.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from parley.settings import Settings

READY_SECONDS_MAX = 20.0
STOP_SECONDS_MAX = 8.0
PAUSE_SECONDS = 0.05
PAUSE_SECONDS_MAX = 5.0
CALM_SECONDS = 5.0
BACKLOG = 512
EXIT_LOOK = 78
"""A child that ends with this (EX_CONFIG) will not do better next time: it is not started again."""


class ChildFailed(Exception):
    """A part of the house did not come up. The message says which, and where to look."""


@dataclass
class Child:
    """One process that must run. `pause` grows with every quick death and falls back once it has run calmly."""

    name: str
    command: Sequence[str]
    pass_fds: tuple[int, ...] = ()
    process: asyncio.subprocess.Process | None = field(default=None, repr=False)
    restarts: int = 0

    async def start(self) -> asyncio.subprocess.Process:
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stdin=asyncio.subprocess.PIPE, pass_fds=self.pass_fds, start_new_session=True
        )
        return self.process


class Supervisor:
    """Runs the notary and the gateways of one house. `report` is told of starts and deaths in plain words, never of data."""

    def __init__(self, settings: Settings, config: Path, report: Callable[[str], None] = lambda _: None) -> None:
        self.settings = settings
        self.report = report
        self.socket = listen(settings)
        self.notary = Child("notary", notary_command(settings))
        fd = self.socket.fileno()
        self.gateways = [Child(f"gateway-{n}", gateway_command(config, fd), (fd,)) for n in range(settings.gateways)]
        self.publishers = [Child("publisher", publisher_command(settings))] if settings.witness_policy else []
        self.watchers: list[asyncio.Task[None]] = []
        self.stopping = False
        self.refused: str | None = None

    @property
    def address(self) -> str:
        """Where the gateway really listens, whatever port the settings left open."""
        host, port = self.socket.getsockname()[:2]
        return f"{'https' if self.settings.tls_certificate else 'http'}://{host}:{port}"

    @property
    def children(self) -> list[Child]:
        return [self.notary, *self.gateways, *self.publishers]

    async def start(self) -> None:
        """Notary first, then the gateways; returns once both answer. Raises ChildFailed."""
        for child in self.children:
            await child.start()
            self.watchers.append(asyncio.create_task(self._watch(child)))
        try:
            await asyncio.wait_for(self._ready(), READY_SECONDS_MAX)
        except ChildFailed:
            await self.stop()
            raise
        except TimeoutError:
            await self.stop()
            raise ChildFailed("the house did not come up in time; `parley doctor` says what is wrong") from None

    def reload(self) -> None:
        """Tell every gateway to read its policy again (SIGHUP). One that is just starting reads the new one anyway."""
        for child in self.gateways:
            if child.process is not None and child.process.returncode is None:
                with suppress(ProcessLookupError):
                    child.process.send_signal(signal.SIGHUP)

    async def stop(self) -> None:
        """Gateways first, so that nothing asks a notary that is gone."""
        self.stopping = True
        # First the watchers: one that is about to start a dead child again would start it behind our back.
        for watcher in self.watchers:
            watcher.cancel()
        await asyncio.gather(*self.watchers, return_exceptions=True)
        for child in [*self.publishers, *self.gateways, self.notary]:
            await end(child)
        self.socket.close()

    async def _watch(self, child: Child) -> None:
        """Restart what dies. Quick deaths wait longer each time, so that a broken house does not spin."""
        pause = PAUSE_SECONDS
        loop = asyncio.get_running_loop()
        while child.process is not None:
            started = loop.time()
            code = await child.process.wait()
            if self.stopping:
                return
            if code == EXIT_LOOK:
                self.refused = child.name
                self.report(f"{child.name} refuses to start and says why above; a person has to look")
                return
            pause = PAUSE_SECONDS if loop.time() - started > CALM_SECONDS else min(pause * 2, PAUSE_SECONDS_MAX)
            self.report(f"{child.name} ended with {code}; starting it again")
            await asyncio.sleep(pause)
            child.restarts += 1
            await child.start()

    async def _ready(self) -> None:
        address = f"{self.address}/healthz"
        timeout = aiohttp.ClientTimeout(total=2)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as client:
            while True:
                with suppress(aiohttp.ClientError, TimeoutError, OSError):
                    # Our own child on our own socket, called by a number that no certificate names.
                    async with client.get(address, ssl=False) as answer:
                        if answer.status == 200:
                            return
                if self.refused is not None:
                    raise ChildFailed(f"{self.refused} refuses to start; `parley doctor` says what is wrong and how to mend it")
                await asyncio.sleep(0.02)


def listen(settings: Settings) -> socket.socket:
    """The listening socket, inheritable. Raises ChildFailed when the address is taken."""
    opened = socket.socket(socket.AF_INET6 if ":" in settings.listen_host else socket.AF_INET)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((settings.listen_host, settings.listen_port))
    except OSError as error:
        opened.close()
        where = f"{settings.listen_host}:{settings.listen_port}"
        raise ChildFailed(f"cannot listen on {where} ({error.strerror}); set listen_port to a free port, or 0 for any") from None
    opened.listen(BACKLOG)
    opened.set_inheritable(True)
    return opened


def notary_command(settings: Settings) -> list[str]:
    """With our process id, so that a notary whose supervisor died while it was starting ends too."""
    places = ["--data", str(settings.data.resolve()), "--socket", str(settings.notary_socket)]
    return [sys.executable, "-m", "parley.log.notary", *places, "--origin", settings.log_origin, "--exit-with-parent", str(os.getpid())]


def publisher_command(settings: Settings) -> list[str]:
    places = ["--data", str(settings.data.resolve()), "--policy", str(settings.witnesses)]
    return [sys.executable, "-m", "parley.log.publisher", *places, "--exit-with-parent", str(os.getpid())]


def gateway_command(config: Path, fd: int) -> list[str]:
    return [sys.executable, "-m", "parley.app", "--config", str(config), "--fd", str(fd), "--exit-with-parent"]


async def end(child: Child) -> None:
    """SIGTERM, then SIGKILL for one that does not listen."""
    process = child.process
    if process is None or process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS_MAX)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def stop_signals() -> asyncio.Event:
    """Set by SIGINT or SIGTERM. Asked for before anything is started, so that a signal in the middle of a start ends it in order, too."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


def private_folder(path: Path) -> Path:
    """Make the folder readable by its owner alone. Raises ChildFailed when that is not allowed here."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o700)
    except OSError as error:
        raise ChildFailed(f"cannot make the folder {path} ({error.strerror}); name one that this account may write") from None
    return path
