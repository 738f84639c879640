"""Checklist A9: the house's own TLS speaks 1.3, and 1.2 with the suites of BCP 195 alone. Checked on a running house."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from parley.app.tls import tls_context
from parley.settings import Settings, SettingsRejected, load_settings
from tests.fakes.tls_host import self_signed
from tests.house import ServedHouse

NAME = "chat.bank.example"
WITHOUT_SECRECY = "AES128-GCM-SHA256"
WITHOUT_AUTHENTICATED_ENCRYPTION = "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA"
SETTINGS = """
public_url = "{url}"
tls_certificate = "{certificate}"
tls_key = "{key}"
[[banks]]
name = "demo"
api_url = "http://127.0.0.1:1/fdx"
issuer = "http://127.0.0.1:1"
client_id = "parley"
"""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate in one file, readable to its owner alone."""
    path = self_signed(tmp_path_factory.mktemp("tls"), NAME)
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, chain: Path) -> Iterator[ServedHouse]:
    """A house whose gateway ends TLS itself."""
    served = ServedHouse(tmp_path_factory.mktemp("house"), f'tls_certificate = "{chain}"\ntls_key = "{chain}"\n', scheme="https")
    yield served
    served.stop()


def spoken(house: ServedHouse, client: ssl.SSLContext) -> tuple[str, bytes]:
    """(version of TLS, what the house answers). Raises OSError where it does not agree to talk."""
    with socket.create_connection(("127.0.0.1", house.port), timeout=10) as raw, client.wrap_socket(raw, server_hostname=NAME) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nhost: chat\r\nconnection: close\r\n\r\n")
        answer = b""
        while part := line.recv(4096):
            answer += part
        return str(line.version()), answer


def client_of(chain: Path, version: ssl.TLSVersion, suites: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(chain))
    context.minimum_version = context.maximum_version = version
    context.set_ciphers(suites or "ALL:@SECLEVEL=0")
    return context


@pytest.mark.parametrize(("version", "name"), [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")])
def test_A9_it_speaks_tls_1_2_and_1_3_and_holds_browsers_to_it(house: ServedHouse, chain: Path, version: ssl.TLSVersion, name: str) -> None:
    spoke, answer = spoken(house, client_of(chain, version))
    assert spoke == name
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"strict-transport-security: max-age=63072000" in answer.lower()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_A9_C6_older_versions_are_refused(house: ServedHouse, chain: Path, version: ssl.TLSVersion) -> None:
    with pytest.raises(OSError):
        spoken(house, client_of(chain, version))


@pytest.mark.parametrize("suites", [WITHOUT_SECRECY, WITHOUT_AUTHENTICATED_ENCRYPTION])
def test_A9_suites_outside_bcp_195_are_refused(house: ServedHouse, chain: Path, suites: str) -> None:
    with pytest.raises(OSError):
        spoken(house, client_of(chain, ssl.TLSVersion.TLSv1_2, suites))


def test_A9_plain_http_gets_no_answer_there(house: ServedHouse) -> None:
    with socket.create_connection(("127.0.0.1", house.port), timeout=10) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nhost: chat\r\n\r\n")
        try:
            answered = line.recv(4096)
        except ConnectionError:
            answered = b""
    assert b"HTTP/1.1 200" not in answered


def settings_with(folder: Path, certificate: Path | str, key: Path | str, url: str = "https://chat.bank.example") -> Settings:
    path = folder / "parley.toml"
    path.write_text(SETTINGS.format(url=url, certificate=certificate, key=key))
    return load_settings(path)


def test_a_key_that_others_may_read_or_that_is_none_stops_the_start(tmp_path: Path, chain: Path) -> None:
    open_key = tmp_path / "open.pem"
    open_key.write_bytes(chain.read_bytes())
    open_key.chmod(0o644)
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("no key")
    nothing.chmod(0o600)
    for key in (open_key, nothing, tmp_path / "missing.pem", tmp_path):
        with pytest.raises(SettingsRejected, match="tls_key"):
            tls_context(settings_with(tmp_path, chain, key))


def test_half_of_it_and_tls_under_an_http_address_stop_the_start(tmp_path: Path, chain: Path) -> None:
    with pytest.raises(SettingsRejected, match="name both"):
        settings_with(tmp_path, chain, "")
    with pytest.raises(SettingsRejected, match="public_url"):
        settings_with(tmp_path, chain, chain, url="http://127.0.0.1:8080")
