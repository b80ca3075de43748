"""EPP's commands and responses as XML (RFC 5730, domains: RFC 5731). Pure; no connection."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, SubElement, register_namespace, tostring

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from orchestrator.registrars.registrar import RegistrarAway

EPP = "urn:ietf:params:xml:ns:epp-1.0"
DOMAIN = "urn:ietf:params:xml:ns:domain-1.0"
register_namespace("epp", EPP)
register_namespace("domain", DOMAIN)


@dataclass(frozen=True)
class Response:
    """A server's response (RFC 5730 section 2.6): its code, its words, and all of it."""

    code: int
    message: str
    root: Element

    def text(self, path: str) -> str:
        """The text at a path of ``domain:`` and ``epp:`` names below the response, or nothing."""
        return (self.root.findtext(f".//{path}", "", {"epp": EPP, "domain": DOMAIN}) or "").strip()

    def all(self, path: str) -> list[Element]:
        """The elements at a path."""
        return self.root.findall(f".//{path}", {"epp": EPP, "domain": DOMAIN})

    def moment(self, path: str) -> datetime:
        """The point in time at a path.

        :raises RegistrarAway: when there is none.
        """
        try:
            moment = datetime.fromisoformat(self.text(path))
        except ValueError:
            raise RegistrarAway(f"the registrar's response has no {path}") from None
        return moment.replace(tzinfo=moment.tzinfo or UTC)


def parse(data: bytes) -> Response:
    """Read a response; a greeting is one too, of code 1000.

    :raises RegistrarAway: when it is neither.
    """
    try:
        # EPP needs neither a document type nor entities: whoever sends one attacks the parser.
        root = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise RegistrarAway(f"the registrar sent no EPP: {error}") from None
    if root.find(f"{{{EPP}}}greeting") is not None:
        return Response(1000, "greeting", root)
    result = root.find(f"{{{EPP}}}response/{{{EPP}}}result")
    code = "" if result is None else result.get("code", "")
    if result is None or not code.isdecimal():
        raise RegistrarAway("the registrar sent neither a greeting nor a response")
    words = [result.findtext(f"{{{EPP}}}msg", "")]
    words += [node.text or "" for node in result.iter(f"{{{EPP}}}reason")]
    return Response(int(code), ": ".join(w.strip() for w in words if w.strip()), root)


def login(client_id: str, password: str, reference: str) -> bytes:
    """``<login>`` (RFC 5730 section 2.9.1.1)."""
    command = Element(f"{{{EPP}}}command")
    node = _epp(command, "login")
    _epp(node, "clID", client_id)
    _epp(node, "pw", password)
    options = _epp(node, "options")
    _epp(options, "version", "1.0")
    _epp(options, "lang", "en")
    _epp(_epp(node, "svcs"), "objURI", DOMAIN)
    return _document(command, reference)


def logout(reference: str) -> bytes:
    """``<logout>``."""
    command = Element(f"{{{EPP}}}command")
    _epp(command, "logout")
    return _document(command, reference)


def poll(reference: str, acknowledged: str | None = None) -> bytes:
    """``<poll>`` (section 2.9.2.3): ask for the oldest message, or take one off the queue."""
    command = Element(f"{{{EPP}}}command")
    node = _epp(command, "poll")
    if acknowledged is None:
        node.set("op", "req")
    else:
        node.set("op", "ack")
        node.set("msgID", acknowledged)
    return _document(command, reference)


def check(name: str, reference: str) -> bytes:
    """``<domain:check>`` (RFC 5731 section 3.1.1)."""
    command, _ = _of_domain("check", name)
    return _document(command, reference)


def info(name: str, reference: str) -> bytes:
    """``<domain:info>`` (section 3.1.2)."""
    command, _ = _of_domain("info", name)
    return _document(command, reference)


def create(
    name: str,
    reference: str,
    *,
    years: int,
    nameservers: Sequence[str],
    registrant: str,
    contacts: Iterable[tuple[str, str]],
    password: str,
) -> bytes:
    """``<domain:create>`` (section 3.2.1); the name servers exist as host objects."""
    command, node = _of_domain("create", name)
    _period(node, years)
    _servers(node, nameservers)
    if registrant:
        _domain(node, "registrant", registrant)
    for kind, handle in contacts:
        _domain(node, "contact", handle).set("type", kind)
    _domain(_domain(node, "authInfo"), "pw", password)
    return _document(command, reference)


def renew(name: str, reference: str, *, expires_at: datetime, years: int) -> bytes:
    """``<domain:renew>`` (section 3.2.3); the present date of expiry guards against a second."""
    command, node = _of_domain("renew", name)
    _domain(node, "curExpDate", expires_at.astimezone(UTC).date().isoformat())
    _period(node, years)
    return _document(command, reference)


def update(name: str, reference: str, *, add: Sequence[str], remove: Sequence[str]) -> bytes:
    """``<domain:update>`` (section 3.2.5) of the name servers."""
    command, node = _of_domain("update", name)
    for tag, servers in (("add", add), ("rem", remove)):
        if servers:
            _servers(_domain(node, tag), servers)
    return _document(command, reference)


def _of_domain(verb: str, name: str) -> tuple[Element, Element]:
    command = Element(f"{{{EPP}}}command")
    node = _domain(_epp(command, verb), verb)
    _domain(node, "name", name)
    return command, node


def _period(node: Element, years: int) -> None:
    _domain(node, "period", str(years)).set("unit", "y")


def _servers(node: Element, nameservers: Sequence[str]) -> None:
    if nameservers:
        servers = _domain(node, "ns")
        for server in nameservers:
            _domain(servers, "hostObj", server)


def _epp(parent: Element, tag: str, text: str | None = None) -> Element:
    node = SubElement(parent, f"{{{EPP}}}{tag}")
    node.text = text
    return node


def _domain(parent: Element, tag: str, text: str | None = None) -> Element:
    node = SubElement(parent, f"{{{DOMAIN}}}{tag}")
    node.text = text
    return node


def _document(command: Element, reference: str) -> bytes:
    _epp(command, "clTRID", reference)
    root = Element(f"{{{EPP}}}epp")
    root.append(command)
    document: bytes = tostring(root, encoding="UTF-8", xml_declaration=True)
    return document
