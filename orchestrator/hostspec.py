"""Everything that one host must be. The only thing that rendering and hosts ever see.

All values are plain and frozen; ``HostSpec.digest`` changes when, and only when, the
desired state of the host does, so no version counter can be forgotten.
"""

import dataclasses
import hashlib
import ipaddress
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from orchestrator.pace import Pace

OsName = Literal["debian12", "debian13"]
DaemonName = Literal["postfix", "dovecot", "opendkim", "mailfleet-pace"]


class MailStore(NamedTuple):
    """Where a host keeps the mail of a mailbox.

    Below a directory of its workspace: an address that another workspace comes to have finds no
    mail of its former owner. Mailboxes from before there were such directories have none.
    """

    email: str
    directory: str = ""

    @property
    def home(self) -> str:
        """The path."""
        local, _, domain = self.email.rpartition("@")
        return "/".join(["/var/vmail", *filter(None, [self.directory]), domain, local])


@dataclass(frozen=True)
class AddressSpec:
    """One dedicated IP of the host. ``name`` is its PTR name and therefore its EHLO name."""

    ip: str
    name: str

    @property
    def version(self) -> int:
        """4 or 6."""
        return ipaddress.ip_address(self.ip).version

    @property
    def transport(self) -> str:
        """Name of the Postfix transport that leaves from this address (letters, digits, ``-``)."""
        return "out-" + self.ip.replace(".", "-").replace(":", "-")


@dataclass(frozen=True)
class DkimKeySpec:
    """A key of ``domain``, published at ``<selector>._domainkey.<domain>``.

    One that doesn't sign any more stays on the host all the same: OpenDKIM keeps the tables that
    it began an SMTP session with, so a long session still signs with the key of its beginning.
    """

    domain: str
    selector: str
    private_key: str = dataclasses.field(repr=False)
    signs: bool = True


@dataclass(frozen=True)
class MailboxSpec:
    """A mailbox that lives on this host, and the dedicated IP that its mail leaves from.

    ``quota_mib`` is in MiB, 0 for none. While it is ``held`` its owner can send, but mail to
    it waits in the queue and nobody can open it: it is being copied to another host. Mail to
    its ``aliases`` is its own, and its owner may send with them.
    """

    email: str
    password_hash: str = dataclasses.field(repr=False)
    egress_ip: str
    quota_mib: int
    held: bool = False
    aliases: tuple[str, ...] = ()
    directory: str = ""

    @property
    def store(self) -> MailStore:
        """Where its mail is."""
        return MailStore(self.email, self.directory)


@dataclass(frozen=True)
class RemoteMailboxSpec:
    """A mailbox of a domain that this host accepts mail for, but that lives on another host.

    ``former_ip`` is the address that its mail left from while it lived here: what is still
    queued does so.
    """

    email: str
    hostname: str
    former_ip: str | None = None
    aliases: tuple[str, ...] = ()
    directory: str = ""

    @property
    def store(self) -> MailStore:
        """Where its mail was, and is that which comes late."""
        return MailStore(self.email, self.directory)


@dataclass(frozen=True)
class ProbeSpec:
    """A sender whose mail leaves through one dedicated IP, to prove it to the control plane."""

    sender: str
    egress_ip: str


@dataclass(frozen=True)
class CredentialSpec:
    """A login for submission alone, and what it is good for.

    ``domains`` are those that it may send as, in the envelope and in From, None for all of the
    cluster's; ``networks`` (CIDR) are where it may be used from, None for everywhere.
    """

    login: str
    password_hash: str = dataclasses.field(repr=False)
    domains: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ClusterSpec:
    """What the host does as an MTA of a cluster: nothing, where it is of none.

    ``domains`` are the proven ones, ``former_domains`` those deleted of which mail may be queued.
    What is sent as them and is not bound to one address leaves from the ``egress_ips``, from each
    as often as from the others, and not faster than the ``pace``.
    """

    domains: tuple[str, ...] = ()
    former_domains: tuple[str, ...] = ()
    credentials: tuple[CredentialSpec, ...] = ()
    egress_ips: tuple[str, ...] = ()
    pace: Pace | None = None


@dataclass(frozen=True)
class TlsSpec:
    """The host's certificate chain and private key, both PEM."""

    certificate: str
    private_key: str = dataclasses.field(repr=False)


@dataclass(frozen=True)
class HostSpec:
    """The desired state of one host.

    ``address`` is the host's own IPv4 address, from which bounces and the postmaster's mail
    leave under ``hostname``; tenants never send from it. ``domains`` are the proven domains
    for which the host accepts mail. ``purges`` are deleted mailboxes of which no mail may be
    left. Sizes are in bytes.
    """

    hostname: str
    os: OsName
    address: str
    addresses: tuple[AddressSpec, ...]
    domains: tuple[str, ...]
    dkim_keys: tuple[DkimKeySpec, ...]
    mailboxes: tuple[MailboxSpec, ...]
    remote_mailboxes: tuple[RemoteMailboxSpec, ...]
    probes: tuple[ProbeSpec, ...]
    tls: TlsSpec
    message_size_limit: int
    purges: tuple[MailStore, ...] = ()
    cluster: ClusterSpec = ClusterSpec()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the whole desired state, as 64 hexadecimal digits."""
        canonical = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True)
class RenderedFile:
    """One file as it must be on the host. ``mode`` is an octal number such as 0o640.

    ``daemon`` is whose reload makes a change of it effective (``None``: read at each use).
    ``lookup_table`` marks a source of ``postmap``, whose index is built beside it.
    """

    path: str
    content: str = dataclasses.field(repr=False)
    owner: str
    group: str
    mode: int
    daemon: DaemonName | None
    secret: bool = False
    lookup_table: bool = False

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, as 64 hexadecimal digits."""
        return hashlib.sha256(self.content.encode()).hexdigest()
