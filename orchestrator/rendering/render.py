"""Renders every file of a host. The path of a template mirrors the path of what it makes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import Environment, TemplateError

from orchestrator.errors import Invalid, OrchestratorError
from orchestrator.hostspec import (
    DaemonName,
    DkimKeySpec,
    HostSpec,
    MailboxSpec,
    MailStore,
    OsName,
    RemoteMailboxSpec,
    RenderedFile,
)
from orchestrator.rendering import filters
from orchestrator.rendering.templates import SUFFIX, TemplateSet, built_in

#: The newest behaviour that each Debian's Postfix knows (COMPATIBILITY_README).
COMPATIBILITY_LEVEL: dict[OsName, str] = {"debian12": "3.7", "debian13": "3.10"}


#: A delivery or login that comes too late for a mailbox on the move is told to try again.
HELD = "userdb_tempfail=yes"


@dataclass(frozen=True)
class _File:
    """How a file stands on the host; see RenderedFile."""

    path: str
    daemon: DaemonName | None
    group: str = "root"
    mode: int = 0o644
    secret: bool = False
    lookup_table: bool = False


def _table(name: str, daemon: Literal["postfix"] | None = None) -> _File:
    return _File(f"/etc/postfix/tables/{name}", daemon, lookup_table=True)


# Tables: smtpd sees at each connection that an index was replaced. trivial-rewrite, which decides
# about domains and transports, looks only every ten seconds and at new clients: it is reloaded.
# The certificate is read when the daemons start or reload. Its digest stands in main.cf and in
# dovecot.conf, so that a new one reloads both; the files themselves name no daemon.
_FILES = (
    # Read by the daemon at each message.
    _File("/etc/mailfleet/pace", None),
    _File("/usr/local/lib/mailfleet/pace", "mailfleet-pace", mode=0o755),
    _File("/etc/systemd/system/mailfleet-pace.service", "mailfleet-pace"),
    _File("/etc/mailfleet/tls/cert.pem", None),
    _File("/etc/mailfleet/tls/key.pem", None, mode=0o600, secret=True),
    _File("/etc/postfix/main.cf", "postfix"),
    _File("/etc/postfix/master.cf", "postfix"),
    _File("/etc/postfix/submission_headers", "postfix"),
    _File("/etc/postfix/reject_footer", "postfix"),
    _table("aliases"),
    _table("cluster_domains", "postfix"),
    _table("domains", "postfix"),
    _table("mailboxes"),
    _table("sender_login"),
    _table("sender_transport", "postfix"),
    _table("transport", "postfix"),
    _File("/etc/dovecot/dovecot.conf", "dovecot"),
    # Dovecot looks at a password file's mtime at each login.
    _File("/etc/dovecot/users", None, group="dovecot", mode=0o640, secret=True),
    _File("/etc/dovecot/system-users", None, group="dovecot", mode=0o640),
    _File("/etc/dovecot/credentials", None, group="dovecot", mode=0o640, secret=True),
    _File("/etc/opendkim.conf", "opendkim"),
    _File("/etc/opendkim/policy.lua", "opendkim"),
    # Read by policy.lua at each message.
    _File("/etc/opendkim/credentials", None, group="opendkim", mode=0o640),
    _File("/etc/opendkim/key_table", "opendkim"),
    _File("/etc/opendkim/signing_table", "opendkim"),
)


#: What a faulty template raises: Jinja passes on what its expressions do.
_FAULTS = (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)


class RenderingError(OrchestratorError):
    """A template can't be rendered; the message names it and says why, without a value."""

    kind = "rendering"


def render(spec: HostSpec, templates: TemplateSet | None = None) -> list[RenderedFile]:
    """Render all files of a host, by path.

    :param templates: by default those that come with Mailfleet.
    :raises RenderingError: when a template is missing or faulty.
    :raises Invalid: when a value could mean something else than itself in its file, or the
        spec contradicts itself (an egress address that the host does not have, a mailbox of a
        domain that is not accepted, an address that exists twice, a living mailbox to purge).
    """
    _check(spec)
    environment = (templates or built_in()).environments[spec.os]
    quota = _quota_12 if spec.os == "debian12" else _quota_13
    context: dict[str, Any] = {
        "spec": spec,
        "keys": _signing_keys(spec),
        "transports": {address.ip: address.transport for address in spec.addresses},
        "compatibility_level": COMPATIBILITY_LEVEL[spec.os],
        "certificate_digest": _certificate_digest(spec),
        "cluster": spec.cluster,
        "rotation": _rotation(spec),
        "home": _home,
        "key_path": _key_path,
        "quota": quota,
        "extra": lambda mailbox: " ".join(
            field for field in (quota(mailbox.quota_mib), HELD if mailbox.held else "") if field
        ),
        "held": HELD,
    }
    files = [
        RenderedFile(
            path=file.path,
            content=_text(environment, file.path, context),
            owner="root",
            group=file.group,
            mode=file.mode,
            daemon=file.daemon,
            secret=file.secret,
            lookup_table=file.lookup_table,
        )
        for file in _FILES
    ]
    for key in spec.dkim_keys:
        # OpenDKIM reads a key at each signature.
        text = _text(environment, "/etc/opendkim/keys/key.private", {"key": key})
        path = _key_path(key)
        files.append(
            RenderedFile(path, text, "opendkim", "opendkim", 0o600, daemon=None, secret=True)
        )
    return sorted(files, key=lambda file: file.path)


def _text(environment: Environment, path: str, context: Mapping[str, Any]) -> str:
    try:
        return environment.get_template(f"{path.removeprefix('/')}{SUFFIX}").render(context)
    except _FAULTS as error:
        raise RenderingError(f"{path}: {type(error).__name__}: {_why(error)}") from None


def _why(error: Exception) -> str:
    # Only Jinja's own words are known to hold no value of the spec.
    return " ".join(str(error).split()) if isinstance(error, TemplateError) else "an expression"


def _check(spec: HostSpec) -> None:
    if spec.os not in COMPATIBILITY_LEVEL:
        raise Invalid(f"there are no templates for {spec.os!r}")
    own = {address.ip for address in spec.addresses}
    used = {m.egress_ip for m in spec.mailboxes} | {p.egress_ip for p in spec.probes}
    used |= set(spec.cluster.egress_ips)
    if not used | {m.former_ip for m in spec.remote_mailboxes if m.former_ip} <= own:
        raise Invalid("a sender leaves from an address that the host does not have")
    boxes: list[MailboxSpec | RemoteMailboxSpec] = [*spec.mailboxes, *spec.remote_mailboxes]
    if set(spec.purges) & {box.store for box in boxes}:
        raise Invalid("the mail of a mailbox that lives is to be removed")
    emails = [email for box in boxes for email in (box.email, *box.aliases)]
    if len(set(emails)) != len(emails):
        raise Invalid("a mailbox exists twice")
    signed = [key.domain for key in spec.dkim_keys if key.signs]
    if len(set(signed)) != len(signed):
        raise Invalid("two keys sign for one domain")
    if {email.rpartition("@")[2] for email in emails} - set(spec.domains):
        raise Invalid("a mailbox belongs to a domain that the host does not accept mail for")


def _rotation(spec: HostSpec) -> str:
    """What follows in Postfix's list of sender-dependent transports (pipemap, randmap)."""
    egress = spec.cluster.egress_ips
    if not egress:
        return ""
    names = [address.transport for address in spec.addresses if address.ip in egress]
    choices = ", ".join(f"{filters.transport(name)}:" for name in names)
    return f", pipemap:{{hash:/etc/postfix/tables/cluster_domains, randmap:{{{choices}}}}}"


def _signing_keys(spec: HostSpec) -> list[DkimKeySpec]:
    """The key that signs for each domain, by the domain's name."""
    return sorted((key for key in spec.dkim_keys if key.signs), key=lambda key: key.domain)


def _key_path(key: DkimKeySpec) -> str:
    name = f"{filters.selector(key.selector)}._domainkey.{filters.fqdn(key.domain)}"
    return f"/etc/opendkim/keys/{name}.private"


def _home(mailbox: MailboxSpec | RemoteMailboxSpec) -> str:
    return MailStore(filters.email(mailbox.email), filters.directory(mailbox.directory)).home


def _quota_12(mib: int) -> str:
    return f"userdb_quota_rule=*:storage={filters.positive(mib)}M" if mib else ""


def _quota_13(mib: int) -> str:
    return f"userdb_quota_storage_size={filters.positive(mib)}M" if mib else ""


def _certificate_digest(spec: HostSpec) -> str:
    return hashlib.sha256(filters.pem(spec.tls.certificate).encode()).hexdigest()[:32]
