"""Settings: from the environment (``MAILFLEET_…``), then a TOML file, then the defaults."""

import ipaddress
import os
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import msgspec

from orchestrator.errors import ConfigurationError

PREFIX = "MAILFLEET_"
#: The templates that come with Mailfleet.
BUILT_IN_TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
#: Settings that are lists: in the environment their parts stand between commas.
LISTS = frozenset(
    {
        "resolvers",
        "probe_listen",
        "trusted_proxies",
        "dnsbl_zones",
        "nameservers",
        "epp_contacts",
        "zone_command",
    }
)
#: Least characters of an operator token.
OPERATOR_TOKEN_LENGTH = 24


class CertificateSource(StrEnum):
    """Who makes the hosts' certificates."""

    AUTHORITY = "authority"
    FILES = "files"
    ACME = "acme"


class RegistrarKind(StrEnum):
    """Where domains are bought."""

    NONE = "none"
    MANUAL = "manual"
    EPP = "epp"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this installation runs. Times are in seconds, sizes in bytes.

    Read with ``load()``; each field is ``MAILFLEET_<FIELD>`` in the environment.
    """

    #: SQLAlchemy URL; SQLite for one reconciler, PostgreSQL for several.
    database_url: str = "sqlite:///mailfleet.db"
    #: File with the master keys that encrypt secrets at rest, newest first.
    master_key_file: Path = Path("master.key")
    #: Private key that opens the hosts.
    ssh_key_file: Path = Path("id_ed25519")
    #: Where enrolled host keys are written for SSH clients (kept from the database).
    known_hosts_file: Path = Path("known_hosts")
    #: The operator's certificate authority. It signs the hosts' certificates, or with another
    #: source those that they serve with until the first one from there has come.
    ca_file: Path = Path("ca.pem")
    ca_key_file: Path = Path("ca.key")
    #: Where certificates come from: ``authority``, ``files`` or ``acme``.
    certificate_source: CertificateSource = CertificateSource.AUTHORITY
    #: For ``files``: holds ``<hostname>.pem`` (with its chain) and ``<hostname>.key``.
    certificate_directory: Path = Path("certificates")
    #: For ``acme``: the server's directory (RFC 8555), whose terms are agreed to by naming it.
    acme_directory_url: str = ""
    #: Where the CA writes to when something is wrong; may be empty.
    acme_email: str = ""
    #: What the ACME server itself is trusted by; without it, this machine's authorities.
    acme_ca_file: Path | None = None
    #: How long the first try after a failed order waits; the wait doubles up to a day.
    acme_retry: float = 300.0
    #: Address and port that the API listens on.
    api_host: str = "127.0.0.1"
    api_port: int = 8025
    #: Addresses or networks of reverse proxies: what they say of the client's address
    #: (X-Forwarded-For) is believed.
    trusted_proxies: tuple[str, ...] = ()
    #: Requests of one API key, a minute / at once: those that send, those that read mail, the rest.
    rate_default: str = "60/60"
    rate_send: str = "30/10"
    rate_fetch: str = "30/30"
    #: How long the answer to a request with an Idempotency-Key is kept for its repetition, and
    #: after how long of silence a request whose process died may be done anew.
    idempotency_seconds: float = 86400.0
    idempotency_takeover: float = 60.0
    #: After how many days an order that can't be provisioned is given up.
    order_days: float = 30.0
    #: File with the operator's token for ``/operator/v1``; without one it answers nobody.
    operator_token_file: Path | None = None
    #: Where a reconciler answers Prometheus, ``host:port``; it asks for no token, so keep it to
    #: loopback or a network of your own. Empty means that it doesn't.
    metrics_listen: str = "127.0.0.1:8026"
    #: Lines for people, or JSON objects; and the least level that is logged.
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    #: Runs that are kept of each host.
    runs_kept: int = 200
    #: Recursive resolvers; empty means those of /etc/resolv.conf.
    resolvers: tuple[str, ...] = ()
    dns_timeout: float = 3.0
    #: The fleet's own domain: names of hosts and of dedicated IPs stand in it.
    fleet_domain: str = "fleet.invalid"
    #: Mail to this domain reaches the control plane's receiver, which proves egress.
    probe_domain: str = "probe.fleet.invalid"
    #: Addresses on which that receiver listens; empty means that this process has none.
    probe_listen: tuple[str, ...] = ()
    probe_port: int = 25
    #: How long a probe message may take before it counts as lost.
    egress_timeout: float = 60.0
    ssh_connect_timeout: float = 10.0
    ssh_command_timeout: float = 30.0
    apply_timeout: float = 600.0
    #: Templates of the hosts' files; changed ones are rolled out host by host.
    template_directory: Path = BUILT_IN_TEMPLATES
    #: How long a changed template must hold on one host of each Debian before others get it.
    canary_seconds: float = 300.0
    #: A plan that removes more than this share of a host's mailboxes, domains or signing keys
    #: without anybody having asked for it is not carried out.
    removable_share: float = 0.3
    #: How often an unchanged host is probed, and DNS, PTR and egress are looked at again.
    probe_interval: float = 60.0
    dns_interval: float = 30.0
    egress_interval: float = 86400.0
    #: Blocklists (RFC 5782) that are asked about every address. None by default: most of them
    #: bind a fleet that sends for others to their terms, which are agreed to by naming the list.
    dnsbl_zones: tuple[str, ...] = ()
    #: How often they are asked.
    reputation_interval: float = 3600.0
    #: How long an address that was quarantined for a listing stays so after it was delisted.
    quarantine_seconds: float = 7 * 86400.0
    #: TTL of the records that we publish in managed zones.
    record_ttl: int = 300
    #: How old a DKIM key of a managed zone becomes before another takes its place; 0 for ever.
    #: 180 days: at least twice a year is the custom (M3AAWG, DKIM Key Rotation, 2019).
    dkim_rotation_days: float = 180.0
    #: How long a retired key's record stays, for mail that is still under way. Senders give up
    #: after five days (RFC 5321 section 4.5.4.1).
    dkim_retire_seconds: float = 7 * 86400.0
    #: How long a reconciler may hold a host without saying that it lives.
    lease_seconds: float = 60.0
    #: How long a released address rests before another tenant may have it.
    cooldown_seconds: float = 7 * 86400.0
    #: How long an address that mail has moved away from stays in service after DNS stopped
    #: naming it: at least the longest TTL of the tenants' MX and SPF records.
    overlap_seconds: float = 3600.0
    #: Who has tenants pay: ``none`` (everything counts as paid) or ``stripe``.
    billing: Literal["none", "stripe"] = "none"
    #: For ``stripe``: the secret key, what its webhooks are signed with, and the recurring prices
    #: of one domain, IP and mailbox by their ids; a kind without a price is free.
    stripe_key_file: Path | None = None
    stripe_webhook_secret_file: Path | None = None
    stripe_price_domain: str = ""
    stripe_price_ip: str = ""
    stripe_price_mailbox: str = ""
    #: The API's URL where it isn't Stripe's own.
    stripe_api_url: str = ""
    #: Where browsers go after a checkout.
    billing_return_url: str = ""
    #: Where tenants' domains of mode ``buy`` are bought: ``none``, ``manual`` or ``epp``.
    registrar: RegistrarKind = RegistrarKind.NONE
    #: For how many years at a time, and how long before the end they are renewed.
    registration_years: int = 1
    renewal_days: float = 30.0
    #: How often a bought domain is looked at at its registrar, and the registrar's messages read.
    registrar_interval: float = 3600.0
    #: Names of the servers that bought domains are delegated to; the registry knows them.
    nameservers: tuple[str, ...] = ()
    #: IP of the name server (Knot) that gets the zones of bought domains; empty for none. They are
    #: made there over SSH and filled by RFC 2136 updates with the TSIG key, which that template
    #: of its configuration lets in. ``zone_host_key`` is its SSH key, as in known_hosts.
    zone_server: str = ""
    zone_port: int = 53
    zone_ssh_port: int = 22
    zone_ssh_user: str = "root"
    zone_host_key: str = ""
    zone_command: tuple[str, ...] = ("knotc",)
    zone_template: str = "managed"
    zone_tsig_name: str = ""
    zone_tsig_algorithm: str = "hmac-sha256"
    zone_tsig_secret_file: Path | None = None
    #: For ``epp``: the server, and as whom to log in (RFC 5730); its password stands in a file.
    epp_host: str = ""
    epp_port: int = 700
    epp_client_id: str = ""
    epp_password_file: Path | None = None
    #: Our certificate, where the server asks for one; what the server itself is trusted by,
    #: without it this machine's authorities.
    epp_certificate_file: Path | None = None
    epp_key_file: Path | None = None
    epp_ca_file: Path | None = None
    #: The registry's handles of the holder, and of the others as ``admin:HANDLE``, ``tech:…``.
    epp_registrant: str = ""
    epp_contacts: tuple[str, ...] = ()
    epp_timeout: float = 30.0
    message_size_limit: int = 25 * 1024 * 1024
    #: Largest request body of the API.
    request_size_limit: int = 40 * 1024 * 1024
    mailbox_quota_mib: int = 1024
    #: The most that a tenant may give a mailbox.
    mailbox_quota_max_mib: int = 51_200
    #: Whether mail targets on private or loopback addresses are allowed (the lab needs it).
    allow_private_targets: bool = False

    def operator_token(self) -> str | None:
        """Read the operator's token.

        :raises ConfigurationError: when its file can't be read, or it is too short to be safe.
        """
        if self.operator_token_file is None:
            return None
        token = self.secret("operator_token_file")
        if len(token) < OPERATOR_TOKEN_LENGTH:
            raise ConfigurationError(
                f"{self.operator_token_file} holds less than {OPERATOR_TOKEN_LENGTH} characters"
            )
        return token

    def secret(self, setting: str) -> str:
        """Read the secret in the file that a setting names.

        :raises ConfigurationError: when the setting is missing, or its file can't be read.
        """
        path: Path | None = getattr(self, setting)
        if path is None:
            raise ConfigurationError(f"{setting} is not set")
        try:
            text = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConfigurationError(f"can't read {setting} {path}: {why}") from None
        if not text:
            raise ConfigurationError(f"{setting} {path} holds no characters")
        return text

    def proxies(self) -> list[str]:
        """The reverse proxies that are trusted.

        :raises ConfigurationError: when one is neither an address nor a network.
        """
        try:
            return [str(ipaddress.ip_network(text)) for text in self.trusted_proxies]
        except ValueError as error:
            raise ConfigurationError(f"trusted_proxies: {error}") from None

    def metrics_address(self) -> tuple[str, int] | None:
        """Host and port of ``metrics_listen``; None where there is none.

        :raises ConfigurationError: when it is neither empty nor ``host:port``.
        """
        if not self.metrics_listen:
            return None
        host, _, port = self.metrics_listen.rpartition(":")
        if not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
            raise ConfigurationError(f"metrics_listen is not host:port: {self.metrics_listen}")
        return host.strip("[]"), int(port)


def load(path: Path | None = None, environ: dict[str, str] | None = None) -> Settings:
    """Read the settings.

    :param path: a TOML file; by default the one named by ``MAILFLEET_CONFIG``, or
        ``mailfleet.toml`` in the working directory where it exists.
    :param environ: the environment; by default this process's.
    :raises ConfigurationError: naming the setting and what is wrong with it.
    """
    env = dict(os.environ if environ is None else environ)
    values = _from_file(path, env)
    known = {field.name for field in msgspec.structs.fields(Settings)}
    for name, text in env.items():
        if name.startswith(PREFIX) and name != PREFIX + "CONFIG":
            field = name[len(PREFIX) :].lower()
            if field not in known:
                raise ConfigurationError(f"the environment sets {name}, which is not a setting")
            values[field] = _split(text) if field in LISTS else text
    try:
        return msgspec.convert(values, Settings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"a setting has a wrong value: {error}") from None


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"expected a {kind.__name__}")


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _from_file(path: Path | None, env: dict[str, str]) -> dict[str, Any]:
    named = path or (Path(env[PREFIX + "CONFIG"]) if PREFIX + "CONFIG" in env else None)
    chosen = named or Path("mailfleet.toml")
    if named is None and not chosen.exists():
        return {}
    try:
        values = tomllib.loads(chosen.read_text())
    except OSError as error:
        raise ConfigurationError(f"can't read {chosen}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{chosen} is not valid TOML: {error}") from None
    base = chosen.resolve().parent
    for field in msgspec.structs.fields(Settings):
        if field.type in (Path, Path | None) and isinstance(values.get(field.name), str):
            values[field.name] = str(base / values[field.name])
    return values
