"""A web server of somebody else's, over real TLS on loopback, that answers with whatever bytes a test gives it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOST = "client.example"
PUBLIC = "93.184.215.14"
"""A public address that the tests let the name resolve to; the connection is then made to the server on loopback."""

Play = Callable[[asyncio.StreamWriter], Awaitable[None]]


class TlsHost:
    """`async with TlsHost(folder) as host`: set `host.play` to bytes or to a coroutine that writes; `host.asked` holds the requests."""

    def __init__(self, folder: Path, name: str = HOST) -> None:
        self.play: bytes | Play = answer(b"{}")
        self.asked: list[bytes] = []
        self._chain = self_signed(folder, name)
        self.trust = ssl.create_default_context(cafile=str(self._chain))
        self._server: asyncio.Server

    async def __aenter__(self) -> TlsHost:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._chain)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    def dial(self, address: str) -> tuple[str, int]:
        return "127.0.0.1", self.port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            if isinstance(self.play, bytes):
                writer.write(self.play)
                await writer.drain()
            else:
                await self.play(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """A whole HTTP/1.1 answer, JSON unless told otherwise."""
    said = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    said |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in said.items() if value)
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def self_signed(folder: Path, name: str) -> Path:
    """Key and certificate of a server called `name`, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain = folder / f"{name}.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return chain
