"""A small EPP server on loopback (RFC 5730, 5731, 5734): TLS, login, domains, a message queue."""

import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

E = "{urn:ietf:params:xml:ns:epp-1.0}"
D = "{urn:ietf:params:xml:ns:domain-1.0}"
CLIENT, PASSWORD = "mailfleet", "s3cret-of-epp"
WORDS = {
    1000: "Command completed successfully",
    1001: "Command completed successfully; action pending",
    1300: "Command completed successfully; no messages",
    1301: "Command completed successfully; ack to dequeue",
    1500: "Command completed successfully; ending session",
    2001: "Command syntax error",
    2002: "Command use error",
    2104: "Billing failure",
    2105: "Object is not eligible for renewal",
    2200: "Authentication error",
    2302: "Object exists",
    2303: "Object does not exist",
    2308: "Data management policy violation",
    2400: "Command failed",
    2502: "Session limit exceeded; server closing connection",
}


@dataclass
class Name:
    """A domain of the registry."""

    owner: str
    created: datetime
    expires: datetime
    servers: list[str]
    status: str = "ok"


@dataclass
class Registry:
    """What the server holds, and how it behaves: codes to answer a verb with, once each."""

    port: int = 0
    names: dict[str, Name] = field(default_factory=dict)
    queue: list[tuple[str, bool, str]] = field(default_factory=list)
    #: Creations wait for ``decide``.
    asynchronous: bool = False
    #: A verb's next answers.
    failures: dict[str, list[int]] = field(default_factory=dict)
    #: The next creation happens, but the connection breaks before its answer.
    lose_answer: bool = False
    seen: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    certificates: list[str] = field(default_factory=list)

    def hold(self, name: str, owner: str = CLIENT, **changes: object) -> Name:
        """A domain that is registered already."""
        now = datetime.now(UTC)
        made = Name(owner, now, now + timedelta(days=365), [])
        for key, value in changes.items():
            setattr(made, key, value)
        self.names[name] = made
        return made

    def decide(self, name: str, *, granted: bool) -> None:
        """End a creation that is pending."""
        if granted:
            self.names[name].status = "ok"
        else:
            del self.names[name]
        self.queue.append((name, granted, "granted" if granted else "refused by policy"))

    def answer(self, root: Element, logged_in: bool) -> tuple[int, Element | None, Element | None]:
        """Code, ``resData`` and ``msgQ`` for a command."""
        command = root.find(f"{E}command")
        if command is None:
            return 2001, None, None
        verb = command[0].tag.removeprefix(E)
        self.seen.append(verb)
        self.references.append(command.findtext(f"{E}clTRID", ""))
        if self.failures.get(verb):
            return self.failures[verb].pop(0), None, None
        if not logged_in and verb != "login":
            return 2002, None, None
        code, data, queue = getattr(self, f"_{verb}")(command[0])
        if verb == "create" and self.lose_answer:
            self.lose_answer = False
            raise ConnectionResetError
        return code, data, queue

    def _login(self, node: Element) -> tuple[int, None, None]:
        right = (node.findtext(f"{E}clID"), node.findtext(f"{E}pw")) == (CLIENT, PASSWORD)
        services = [uri.text for uri in node.iter(f"{E}objURI")]
        complete = services == [D[1:-1]] and node.find(f"{E}options/{E}version") is not None
        return (1000 if right and complete else 2200), None, None

    def _logout(self, node: Element) -> tuple[int, None, None]:
        return 1500, None, None

    def _check(self, node: Element) -> tuple[int, Element, None]:
        data = Element(f"{D}chkData")
        name = node.findtext(f"{D}check/{D}name", "")
        cd = SubElement(
            SubElement(data, f"{D}cd"), f"{D}name", avail=str(int(name not in self.names))
        )
        cd.text = name
        return 1000, data, None

    def _info(self, node: Element) -> tuple[int, Element | None, None]:
        name = node.findtext(f"{D}info/{D}name", "")
        if name not in self.names:
            return 2303, None, None
        held = self.names[name]
        data = Element(f"{D}infData")
        SubElement(data, f"{D}name").text = name
        SubElement(data, f"{D}status", s=held.status)
        if held.servers:
            servers = SubElement(data, f"{D}ns")
            for server in held.servers:
                SubElement(servers, f"{D}hostObj").text = server
        SubElement(data, f"{D}clID").text = held.owner
        SubElement(data, f"{D}crDate").text = held.created.strftime("%Y-%m-%dT%H:%M:%S.0Z")
        SubElement(data, f"{D}exDate").text = held.expires.strftime("%Y-%m-%dT%H:%M:%S.0Z")
        return 1000, data, None

    def _create(self, node: Element) -> tuple[int, Element | None, None]:
        create = node.find(f"{D}create")
        assert create is not None
        order = [child.tag.removeprefix(D) for child in create]
        wanted = ["name", "period", "ns", "registrant", "contact", "authInfo"]
        if sorted(order, key=wanted.index) != order or "authInfo" not in order:
            return 2001, None, None
        name = create.findtext(f"{D}name", "")
        if name in self.names:
            return 2302, None, None
        years = int(create.findtext(f"{D}period", "1"))
        now = datetime.now(UTC)
        servers = [host.text or "" for host in create.iter(f"{D}hostObj")]
        status = "pendingCreate" if self.asynchronous else "ok"
        end = now + timedelta(days=365 * years)
        self.names[name] = Name(CLIENT, now, end, servers, status)
        return (1001 if self.asynchronous else 1000), None, None

    def _renew(self, node: Element) -> tuple[int, Element | None, None]:
        name = node.findtext(f"{D}renew/{D}name", "")
        held = self.names[name]
        if node.findtext(f"{D}renew/{D}curExpDate") != held.expires.date().isoformat():
            return 2105, None, None
        held.expires += timedelta(days=365 * int(node.findtext(f"{D}renew/{D}period", "1")))
        data = Element(f"{D}renData")
        SubElement(data, f"{D}name").text = name
        SubElement(data, f"{D}exDate").text = held.expires.strftime("%Y-%m-%dT%H:%M:%S.0Z")
        return 1000, data, None

    def _update(self, node: Element) -> tuple[int, None, None]:
        held = self.names[node.findtext(f"{D}update/{D}name", "")]
        for host in node.findall(f"{D}update/{D}add/{D}ns/{D}hostObj"):
            held.servers.append(host.text or "")
        for host in node.findall(f"{D}update/{D}rem/{D}ns/{D}hostObj"):
            held.servers.remove(host.text or "")
        return 1000, None, None

    def _poll(self, node: Element) -> tuple[int, Element | None, Element | None]:
        if node.get("op") == "ack":
            assert node.get("msgID") == "m1"
            self.queue.pop(0)
            return 1000, None, None
        if not self.queue:
            return 1300, None, None
        name, granted, words = self.queue[0]
        queue = Element(f"{E}msgQ", count=str(len(self.queue)), id="m1")
        SubElement(queue, f"{E}msg").text = words
        data = Element(f"{D}panData")
        SubElement(data, f"{D}name", paResult=str(int(granted))).text = name
        return 1301, data, queue


class Server:
    """Serves a registry until it is closed; each client has a thread."""

    def __init__(self, registry: Registry, directory: Path, *, ask_certificate: bool) -> None:
        self._registry = registry
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "server.pem", directory / "server.key")
        if ask_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(directory / "client.pem")
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        registry.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            plain.settimeout(10)
            thread = threading.Thread(target=self._client, args=(plain,))
            self._threads.append(thread)
            thread.start()

    def _client(self, plain: socket.socket) -> None:
        try:
            with self._context.wrap_socket(plain, server_side=True) as client:
                peer = client.getpeercert()
                self._registry.certificates.append(str(peer.get("subject")) if peer else "")
                self._talk(client)
        except (OSError, struct.error):
            plain.close()

    def _talk(self, client: ssl.SSLSocket) -> None:
        greeting = Element(f"{E}epp")
        SubElement(SubElement(greeting, f"{E}greeting"), f"{E}svID").text = "Test registry"
        _send(client, greeting)
        logged_in = False
        while True:
            (length,) = struct.unpack("!I", client.recv(4))
            data = b""
            while len(data) < length - 4:
                data += client.recv(length - 4 - len(data))
            code, body, queue = self._registry.answer(fromstring(data), logged_in)
            logged_in = logged_in or (code == 1000)
            _send(client, _response(code, body, queue))
            if code in (1500, 2502):
                return


def _response(code: int, body: Element | None, queue: Element | None) -> Element:
    root = Element(f"{E}epp")
    response = SubElement(root, f"{E}response")
    result = SubElement(response, f"{E}result", code=str(code))
    SubElement(result, f"{E}msg").text = WORDS[code]
    if queue is not None:
        response.append(queue)
    if body is not None:
        SubElement(response, f"{E}resData").append(body)
    SubElement(SubElement(response, f"{E}trID"), f"{E}svTRID").text = "SRV-1"
    return root


def _send(client: ssl.SSLSocket, root: Element) -> None:
    data = tostring(root, encoding="UTF-8", xml_declaration=True)
    # In two parts: a reader that expects a frame in one piece fails.
    whole = struct.pack("!I", len(data) + 4) + data
    client.sendall(whole[:7])
    client.sendall(whole[7:])


def make_certificates(directory: Path) -> None:
    """Self-signed ones of the server and of a client: ``<name>.pem`` and ``<name>.key``."""
    for name in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1))
        builder = builder.not_valid_after(now + timedelta(days=1))
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
        text = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        (directory / f"{name}.pem").write_bytes(text)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (directory / f"{name}.key").write_bytes(private)


@contextmanager
def serving(directory: Path, *, ask_certificate: bool = False) -> Iterator[Registry]:
    """A registry behind a server, for the block; its certificates stand in the directory."""
    registry = Registry()
    make_certificates(directory)
    server = Server(registry, directory, ask_certificate=ask_certificate)
    try:
        yield registry
    finally:
        server.close()
