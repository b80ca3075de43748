"""The registrar that the settings ask for."""

from orchestrator.dns.records import fqdn
from orchestrator.errors import ConfigurationError, Invalid
from orchestrator.registrars.epp import Epp
from orchestrator.registrars.eppwire import Account
from orchestrator.registrars.manual import Manual
from orchestrator.registrars.registrar import Registrar
from orchestrator.settings import RegistrarKind, Settings

#: Kinds of contacts that a domain has beside its registrant (RFC 5731 section 2.2).
CONTACTS = frozenset({"admin", "billing", "tech"})


def configured(settings: Settings) -> Registrar | None:
    """The registrar; None where none is configured.

    :raises ConfigurationError: when its settings are incomplete, or a file can't be read.
    """
    if settings.registrar is RegistrarKind.NONE:
        return None
    for server in settings.nameservers:
        _require_name(server)
    match settings.registrar:
        case RegistrarKind.MANUAL:
            return Manual()
        case RegistrarKind.EPP:
            return _epp(settings)


def _require_name(server: str) -> None:
    # Compared with what the registry tells: in any other form it would differ for ever.
    try:
        canonical = fqdn(server, field="nameservers")
    except Invalid as error:
        raise ConfigurationError(f"nameservers: {error}") from None
    if canonical != server:
        raise ConfigurationError(f"nameservers: write {canonical}, not {server}")


def _epp(settings: Settings) -> Epp:
    if not (settings.epp_host and settings.epp_client_id and settings.epp_password_file):
        names = "epp_host, epp_client_id and epp_password_file"
        raise ConfigurationError(f"registrar = epp needs {names}")
    contacts = [tuple(text.partition(":")[::2]) for text in settings.epp_contacts]
    for (kind, handle), text in zip(contacts, settings.epp_contacts, strict=True):
        if kind not in CONTACTS or not handle:
            raise ConfigurationError(f"epp_contacts: {text} is not like admin:HANDLE")
    account = Account(
        host=settings.epp_host,
        port=settings.epp_port,
        client_id=settings.epp_client_id,
        password=settings.secret("epp_password_file"),
        certificate_file=settings.epp_certificate_file,
        key_file=settings.epp_key_file,
        ca_file=settings.epp_ca_file,
        timeout=settings.epp_timeout,
    )
    return Epp(
        account,
        registrant=settings.epp_registrant,
        contacts=[(kind, handle) for kind, handle in contacts],
    )
