"""One gateway process: the socket it was handed, the limits on what arrives, and how it ends."""

from __future__ import annotations

import argparse
import gc
import socket
import sys
import threading
from pathlib import Path

import uvicorn
import uvloop

from parley.app.diagnostics import configure_diagnostics, diagnostics, place_of
from parley.app.house import open_house
from parley.app.http import BoundedHttp
from parley.app.tls import tls_context
from parley.authorization.client_key import BadKeyFile
from parley.model.refusals import Fault
from parley.policy import PolicyRejected
from parley.settings import Settings, SettingsRejected, load_settings
from parley.store import KeysUnsafe

EXIT_LOOK = 78
"""EX_CONFIG: starting again will not help, a person has to look. The supervisor does not restart after it."""

CONNECTIONS_MAX = 2048


async def serve(settings: Settings, listening: socket.socket, *, exit_with_parent: bool) -> None:
    context = tls_context(settings)
    async with open_house(settings) as app:
        # Nothing made so far becomes garbage; the collector need not walk it while questions wait.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=BoundedHttp,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
            ssl_context_factory=(lambda config, default: context) if context is not None else None,
        )
        server = uvicorn.Server(config)
        if exit_with_parent:
            threading.Thread(target=leave_with_parent, args=(server,), daemon=True).start()
        await server.serve(sockets=[listening])


def leave_with_parent(server: uvicorn.Server) -> None:
    """Standard input closes when the supervisor is gone, whatever ended it."""
    while sys.stdin.buffer.read(4096):
        pass
    server.should_exit = True


def main() -> None:
    parser = argparse.ArgumentParser(prog="parley.app", description="One gateway process; `parley serve` starts it, and the notary beside it.")
    parser.add_argument("--config", type=Path, required=True, help="settings file")
    parser.add_argument("--fd", type=int, required=True, help="inherited listening socket")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when standard input closes")
    options = parser.parse_args()
    configure_diagnostics()
    try:
        settings = load_settings(options.config)
        uvloop.run(serve(settings, socket.socket(fileno=options.fd), exit_with_parent=options.exit_with_parent))
    except (SettingsRejected, PolicyRejected, BadKeyFile, KeysUnsafe, ValueError) as error:
        diagnostics.error("start_refused", type=type(error).__name__, reason=str(error))
        sys.exit(EXIT_LOOK)
    except Fault as fault:
        diagnostics.error("start_failed", code=fault.code, detail=fault.detail)
        sys.exit(1)
    except Exception as error:
        diagnostics.error("ended_unforeseen", type=type(error).__name__, place=place_of(error))
        sys.exit(1)
