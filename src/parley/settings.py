"""Every setting once: name, type, default, help. Unknown keys stop the start. docs/settings.md is made from this file."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

SETTINGS_BYTES_MAX = 64 * 1024


class SettingsRejected(Exception):
    """The settings may not be used. The message names the file, the setting and the mend."""


class BankSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One bank, under [[banks]]."""

    name: Annotated[str, Meta(description="Our short name of the bank, stored with every link. Letters, digits and hyphens.")]
    dialect: Annotated[str, Meta(description="The folder under parley/banks that speaks its API.")] = "fdx"
    profile: Annotated[str, Meta(description="Which variant of the dialect: fdx6.")] = "fdx6"
    api_url: Annotated[str, Meta(description="Base address of its account API, without a slash at the end.")]
    issuer: Annotated[str, Meta(description="Issuer of its authorization server, byte for byte as it names itself (RFC 8414).")]
    client_id: Annotated[str, Meta(description="Our client id at its authorization server.")]
    client_key_file: Annotated[
        str, Meta(description="Private key (PEM, mode 0600) for private_key_jwt; made on first start. Relative to data_dir.")
    ] = "keys/bank-client.pem"
    event_secret_file: Annotated[
        str,
        Meta(
            description="Secret (whsec_…, mode 0600; two lines while it is replaced) with which the bank signs its events; empty: none are taken. "
            "Relative to data_dir."
        ),
    ] = ""
    bound_tokens: Annotated[bool, Meta(description="The bank binds its tokens to our key (DPoP, RFC 9449; FAPI 2.0 banks do).")] = False
    timeout_seconds: Annotated[float, Meta(description="How long one read at the bank may take.", gt=0, le=60)] = 5.0


class AssistantHostSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One host whose assistants need no registration, under [[assistant_hosts]]: they are known by a document there (OAuth client ID metadata)."""

    host: Annotated[str, Meta(description="Exact name of the host that serves the assistant's document, such as assistant.example.")]
    platform: Annotated[str, Meta(description="Which platform of the policy its assistants are.")]


class LinkedPlatformSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One voice platform that links accounts, under [[linked_platforms]]."""

    channel: Annotated[str, Meta(description="The channel that its webhook is: alexa, dialogflow.", pattern="^[a-z][a-z0-9]{0,31}$")]
    platform: Annotated[str, Meta(description="Which platform of the policy it is; its client must be registered for the same.")]


class TokenServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Another authorization server whose tokens the API takes in the place of our own, under [[token_servers]]."""

    issuer: Annotated[str, Meta(description="Its issuer, byte for byte as it names itself (RFC 8414).")]
    client_id: Annotated[str, Meta(description="Our client id there, for introspection (RFC 7662).")]
    client_key_file: Annotated[
        str, Meta(description="Private key (PEM, mode 0600) for private_key_jwt there; made on first start. Relative to data_dir.")
    ] = "keys/token-server-client.pem"
    audience: Annotated[str, Meta(description="What its tokens for this gateway say as their audience.")]
    clients: Annotated[dict[str, str], Meta(description="Its client ids, and which of our clients each is.")]
    timeout_seconds: Annotated[float, Meta(description="How long one introspection may take.", gt=0, le=30)] = 3.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings of the gateway. Secrets are paths, never values."""

    data_dir: Annotated[str, Meta(description="Where records, keys and the log live (mode 0700).")] = "parley-data"
    public_url: Annotated[str, Meta(description="The address customers open, without a path. https, or http on a loopback address only.")] = (
        "http://127.0.0.1:8080"
    )
    listen_host: Annotated[str, Meta(description="Address that the gateway binds.")] = "127.0.0.1"
    listen_port: Annotated[int, Meta(description="Port that the gateway binds; 0 picks a free one.", ge=0, le=65535)] = 8080
    tls_certificate: Annotated[
        str, Meta(description="Certificate chain (PEM) for serving https itself; empty where a proxy in front ends TLS. Relative to data_dir.")
    ] = ""
    tls_key: Annotated[str, Meta(description="Private key (PEM, mode 0600) of that certificate. Relative to data_dir.")] = ""
    gateways: Annotated[int, Meta(description="Gateway processes. More than one needs PostgreSQL.", ge=1, le=64)] = 1
    records_url: Annotated[str, Meta(description="sqlite: a file in data_dir; or postgresql://user@host/database.")] = "sqlite"
    bank_name: Annotated[str, Meta(description="The bank's name as customers know it.", min_length=1, max_length=60)] = "Larkspur Demo Bank"
    contact: Annotated[str, Meta(description="Whom a customer writes to about privacy, shown on the consent page.")] = "privacy@bank.example"
    platform: Annotated[str, Meta(description="Which platform of the policy the web chat is.")] = "parley-web"
    platform_name: Annotated[str, Meta(description="The web chat's name as customers know it.")] = "Larkspur chat"
    time_zone: Annotated[str, Meta(description="The customers' time zone (IANA name): decides what today means.")] = "UTC"
    policy_file: Annotated[str, Meta(description="The bank's policy: its folder, or a pack's name; empty for standard.")] = ""
    offerings: Annotated[tuple[str, ...], Meta(description="What can be asked: folders under parley/offerings.")] = (
        "balance",
        "transactions",
        "afford",
    )
    client_hosts: Annotated[
        tuple[str, ...], Meta(description="Hosts from which clients' own documents (key sets, client metadata) may be fetched; none by default.")
    ] = ()
    assistant_hosts: Annotated[
        tuple[AssistantHostSettings, ...], Meta(description="Hosts whose AI assistants need no registration; none by default.")
    ] = ()
    linked_platforms: Annotated[tuple[LinkedPlatformSettings, ...], Meta(description="Voice platforms that link accounts; none by default.")] = ()
    messenger_platform: Annotated[str, Meta(description="Which platform of the policy Messenger is; empty where chats there are not linked.")] = ""
    token_servers: Annotated[
        tuple[TokenServerSettings, ...],
        Meta(description="An authorization server of the bank's own that issues the API's tokens, at most one; ours unless named.", max_length=1),
    ] = ()
    banks: Annotated[tuple[BankSettings, ...], Meta(description="The bank that customers link: one for now.", min_length=1, max_length=1)]
    bank_http: Annotated[
        Literal["own", "aiohttp"], Meta(description="HTTP client towards the banks: our own, or aiohttp for a bank whose server it cannot read.")
    ] = "own"
    log_origin: Annotated[str, Meta(description="Name of the log in every checkpoint; never changed once the log exists.")] = "parley.example/log"
    witness_policy: Annotated[
        str, Meta(description="Quorum file (c2sp.org/tlog-policy) of witnesses that cosign the log's heads; empty for none. Relative to data_dir.")
    ] = ""
    log_deadline_seconds: Annotated[float, Meta(description="How long a release waits for the log before it fails closed.", gt=0, le=30)] = 2.0
    grant_days: Annotated[int, Meta(description="Days that the consent page proposes; the hard cap is 365.", ge=1, le=365)] = 90
    lookback_days: Annotated[int, Meta(description="How far back a grant reaches.", ge=1, le=730)] = 90
    answers_per_day: Annotated[int, Meta(description="Answers under one grant and UTC day.", ge=1, le=1_000_000_000)] = 100
    rows_per_day: Annotated[int, Meta(description="Transaction rows under one grant and UTC day.", ge=1, le=1_000_000_000)] = 1000
    link_minutes: Annotated[int, Meta(description="How long a trip to the bank's page and the consent page may take.", ge=1, le=60)] = 10

    @property
    def data(self) -> Path:
        return Path(self.data_dir)

    @property
    def witnesses(self) -> Path:
        return self.data.resolve() / self.witness_policy

    @property
    def records(self) -> str:
        """The records' address with the file filled in."""
        return f"sqlite:///{self.data.resolve() / 'records.sqlite'}" if self.records_url == "sqlite" else self.records_url

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def notary_socket(self) -> Path:
        return self.data.resolve() / "notary.sock"


def load_settings(path: Path) -> Settings:
    """Read and check a settings file. A relative data_dir is taken from the file's own folder. Raises SettingsRejected."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise SettingsRejected(f"{path}: cannot be read ({error.strerror}). `parley init` writes one to start from.") from None
    if len(source) > SETTINGS_BYTES_MAX:
        raise SettingsRejected(f"{path}: larger than {SETTINGS_BYTES_MAX} bytes.")
    try:
        settings = msgspec.toml.decode(source, type=Settings)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsRejected(f"{path}: {error}. All settings are listed in docs/settings.md.") from None
    if not settings.data.is_absolute():
        settings = msgspec.structs.replace(settings, data_dir=str(path.resolve().parent / settings.data_dir))
    check(path, settings)
    return settings


def check(path: Path, settings: Settings) -> None:
    """What types cannot say. Raises SettingsRejected."""
    safe_url(path, "public_url", settings.public_url, with_path=False)
    for server in settings.token_servers:
        safe_url(path, "token_servers.issuer", server.issuer, with_path=True)
    for bank in settings.banks:
        safe_url(path, "banks.api_url", bank.api_url, with_path=True)
        safe_url(path, "banks.issuer", bank.issuer, with_path=True)
        if not bank.name.replace("-", "").isalnum():
            raise SettingsRejected(f"{path}: banks.name: {bank.name!r} may hold letters, digits and hyphens only.")
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise SettingsRejected(f"{path}: tls_certificate and tls_key: name both, or neither where a proxy in front ends TLS.")
    if settings.tls_certificate and not settings.public_url.startswith("https://"):
        raise SettingsRejected(f"{path}: public_url: must begin with https:// where tls_certificate is set.")
    if settings.gateways > 1 and not settings.records_url.startswith("postgresql://"):
        raise SettingsRejected(f'{path}: gateways: more than one process needs records_url = "postgresql://…"; SQLite has one writing process.')
    if settings.records_url != "sqlite" and not settings.records_url.startswith("postgresql://"):
        raise SettingsRejected(f'{path}: records_url: either "sqlite" or an address that starts with postgresql://.')
    if len(str(settings.notary_socket)) > 100:
        raise SettingsRejected(f"{path}: data_dir: the path is too long for a Unix socket inside it (over 100 characters). Choose a shorter one.")
    try:
        _ = settings.zone
    except (ZoneInfoNotFoundError, ValueError):
        raise SettingsRejected(f"{path}: time_zone: {settings.time_zone!r} is not an IANA time zone such as America/New_York.") from None


def safe_url(path: Path, name: str, url: str, *, with_path: bool) -> None:
    """https anywhere; http on a loopback address only, where nobody listens in between."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise SettingsRejected(f"{path}: {name}: not an address.") from None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or parts.username or url.endswith("/"):
        raise SettingsRejected(f"{path}: {name}: an address such as https://chat.bank.example, without user, query or slash at the end.")
    if parts.path and not with_path:
        raise SettingsRejected(f"{path}: {name}: the address must not have a path.")
    if parts.scheme == "http" and not is_loopback(host):
        raise SettingsRejected(f"{path}: {name}: plain http is only for loopback addresses. Use https.")


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def describe() -> list[tuple[str, str, str, str]]:
    """(name, type, default, help) of every setting, for docs/settings.md and `parley settings`."""
    tables = (
        ("banks.", BankSettings),
        ("assistant_hosts.", AssistantHostSettings),
        ("linked_platforms.", LinkedPlatformSettings),
        ("token_servers.", TokenServerSettings),
    )
    return [*rows_of(Settings, ""), *(row for prefix, table in tables for row in rows_of(table, prefix))]


def rows_of(struct: type[msgspec.Struct], prefix: str) -> list[tuple[str, str, str, str]]:
    hints = get_type_hints(struct, include_extras=True)
    defaults = {field.name: field.default for field in msgspec.structs.fields(struct)}
    return [row(prefix + name, hints[name], defaults[name]) for name in struct.__struct_fields__]


def row(name: str, hint: Any, default: Any) -> tuple[str, str, str, str]:
    kind, *metas = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    help_text = next((meta.description for meta in metas if meta.description), "")
    shown = "required" if default is msgspec.NODEFAULT else msgspec.json.encode(default).decode()
    return name, getattr(kind, "__name__", str(kind)), shown, help_text
