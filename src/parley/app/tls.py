"""TLS that the gateway ends itself, for houses without a proxy in front: version 1.3, and 1.2 with the suites of BCP 195 alone."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

from parley.settings import Settings, SettingsRejected

SUITES_OF_1_2 = ":".join(
    f"ECDHE-{key}-{cipher}" for key in ("ECDSA", "RSA") for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
)
"""RFC 9325 section 4.2: forward secrecy and authenticated encryption, nothing older."""


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """None where a proxy in front ends TLS. Raises SettingsRejected for files that cannot be used or a key that others may read."""
    if not settings.tls_certificate:
        return None
    certificate, key = settings.data / settings.tls_certificate, settings.data / settings.tls_key
    check_private(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(SUITES_OF_1_2)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError):
        raise SettingsRejected(f"tls_certificate, tls_key: {certificate} and {key} are not a PEM certificate and its key.") from None
    return context


def check_private(key: Path) -> None:
    try:
        mode = key.stat().st_mode
    except OSError as error:
        raise SettingsRejected(f"tls_key: {key} cannot be read ({error.strerror}).") from None
    if not stat.S_ISREG(mode) or stat.S_IMODE(mode) & 0o077:
        raise SettingsRejected(f"tls_key: {key} is open to others; its mode must be 0600.")
