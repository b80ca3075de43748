"""The lab's pure parts: no engine, no network."""

from __future__ import annotations

import io
import ipaddress
import json
import multiprocessing
import os
import stat
import tarfile
from pathlib import Path

import dns.zone
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from rich.console import Console

from orchestrator.lab import containers, engine, images, nameserver, network, pki, topology, world
from orchestrator.lab.containers import File, Machine
from orchestrator.lab.errors import LabError
from orchestrator.lab.reporter import Reporter
from orchestrator.lab.state import State
from orchestrator.lab.up import info, machines
from orchestrator.lab.zones import reverse_name, root_zone, zone_text


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State.open(tmp_path / "state")


@pytest.fixture
def lab() -> topology.Topology:
    return topology.load()


V4 = ipaddress.ip_network("198.51.100.0/24")
V6 = ipaddress.ip_network("2001:db8:51::/64")


def test_default_routes_overlap_nothing() -> None:
    routes = [{"dst": "default", "dev": "eth0"}, {"dst": "10.0.0.0/8", "dev": "eth0"}, {}]
    assert network.overlapping([V4, V6], routes) == []


@pytest.mark.parametrize(
    "dst", ["198.51.100.0/24", "198.51.0.0/16", "198.51.100.7", "2001:db8::/32"]
)
def test_overlapping_routes_are_named(dst: str) -> None:
    (found,) = network.overlapping([V4, V6], [{"dst": dst, "dev": "eth7"}])
    assert found.startswith(dst.partition("/")[0])
    assert found.endswith(" on eth7")


def test_bridge_names_fit_the_kernel(lab: topology.Topology) -> None:
    assert len(network.bridge(lab.network)) <= 15


def test_reverse_names() -> None:
    assert reverse_name(V4) == "100.51.198.in-addr.arpa"
    assert reverse_name(V6) == "0.0.0.0.1.5.0.0.8.b.d.0.1.0.0.2.ip6.arpa"


def test_every_zone_of_the_lab_parses(lab: topology.Topology) -> None:
    for name in (*lab.dns.managed, *lab.dns.foreign, lab.dns.blocklist, lab.world.domain):
        text = zone_text(lab, name, serial=7, dkim_public="A" * 392)
        parsed = dns.zone.from_text(text, origin=name, relativize=False)
        assert parsed.get_soa().serial == 7
    root = root_zone(lab, ["a.net", "b.org"], serial=7)
    parsed = dns.zone.from_text(root, origin=".", relativize=False)
    assert parsed.get_rdataset("a.net.", "NS")
    assert parsed.get_rdataset("ns1.fleetlab.net.", "AAAA")


def test_the_fleets_own_addresses_are_left_to_the_fleet(lab: topology.Topology) -> None:
    text = "".join(zone_text(lab, name, serial=1) for name in lab.dns.managed)
    assert "control.fleetlab.net. A 198.51.100.1\n" in text
    assert "mx1" not in text
    assert "21.100.51.198" not in text


def test_lame_zones_are_not_served() -> None:
    zones = [nameserver.Zone("a.net", managed=True), nameserver.Zone("b.net", False, served=False)]
    text = nameserver.zones_conf(zones)
    assert '"a.net"\n    template: managed' in text
    assert "b.net" not in text


def test_recipes_change_their_tag_with_their_contents() -> None:
    bare = images.bare("debian12")
    assert bare.tag == images.bare("debian12").tag
    assert bare.tag.startswith("mailfleet-lab/debian12:")
    more = images.Recipe(name=bare.name, system=bare.system, include=(*bare.include, "vim"))
    assert more.tag != bare.tag
    assert not [part for part in bare.command(Path("x.tar")) if "://" in part]


def test_descriptions_are_stable_and_sensitive(lab: topology.Topology, state: State) -> None:
    first, again = machines(lab, state), machines(lab, state)
    assert [m.digest("id") for m in first] == [m.digest("id") for m in again]
    assert len({m.digest("id") for m in first}) == 4
    assert first[0].digest("id") != first[0].digest("other")
    for machine in first:
        for path, file in containers.all_files(machine).items():
            assert "@" not in file.content or "@hostname@" not in file.content, path
    state.write("resolv.conf", "nameserver 127.0.0.11\n")
    assert first[1].digest("id") != again[1].digest("changed")


def test_archives_hold_files_and_links() -> None:
    data = containers.archive({"/a/b": File("text", 0o600), "/c": File("", link="/a/b")})
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getmember("a/b").mode == 0o600
        assert tar.getmember("c").linkname == "/a/b"
        extracted = tar.extractfile("a/b")
        assert extracted is not None
        assert extracted.read() == b"text"


def test_secrets_are_private_and_kept(state: State) -> None:
    assert stat.S_IMODE(state.dir.stat().st_mode) == 0o700
    password = state.password("p")
    assert len(password) >= 20
    assert state.password("p") == password
    pki.ensure_ca(state)
    public = pki.ensure_ssh_key(state)
    assert pki.ensure_ssh_key(state) == public
    assert public.startswith("ssh-ed25519 ")
    for name in ("p", "ca.key", "id_ed25519"):
        assert stat.S_IMODE(state.path(name).stat().st_mode) == 0o600


def test_the_leaf_is_signed_by_the_authority(state: State) -> None:
    certificate, key = pki.ensure_leaf(state, "world.x.org", [ipaddress.ip_address("198.51.100.8")])
    authority = x509.load_pem_x509_certificate(pki.ensure_ca(state).encode())
    leaf = x509.load_pem_x509_certificate(certificate.encode())
    leaf.verify_directly_issued_by(authority)
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert authority.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["world.x.org"]
    private = serialization.load_pem_private_key(key.encode(), password=None)
    assert private.public_key() == leaf.public_key()
    assert pki.ensure_leaf(state, "world.x.org", [])[0] == certificate


def test_lab_json_keeps_what_others_wrote(lab: topology.Topology, state: State) -> None:
    state.merge_json("lab.json", {"api": "http://127.0.0.1:8025", "resolver": "old"})
    merged = state.merge_json("lab.json", info(lab, state))
    assert merged["api"] == "http://127.0.0.1:8025"
    assert merged["resolver"] == "198.51.100.53"
    assert merged == json.loads(state.path("lab.json").read_text())
    assert merged["ca"] == "state/ca.pem"
    assert stat.S_IMODE(state.path("lab.json").stat().st_mode) == 0o600


def test_a_damaged_lab_json_is_reported(state: State) -> None:
    state.write("lab.json", "{")
    with pytest.raises(LabError, match="damaged"):
        state.read_json("lab.json")


def _hold(path: Path, ready: multiprocessing.synchronize.Event) -> None:
    with State.at(path).lock():
        ready.set()
        multiprocessing.Event().wait(30)


def test_one_up_at_a_time_and_the_dead_hold_nothing(state: State) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(state.dir, ready))
    holder.start()
    try:
        assert ready.wait(30)
        with pytest.raises(LabError, match="another process"), state.lock():
            pass
    finally:
        holder.kill()
        holder.join()
        holder.close()
    with state.lock():
        pass


def test_placeholders_are_filled() -> None:
    assert world.fill("a @x@ {b} $c", {"x": "1"}) == "a 1 {b} $c"


def test_a_chosen_engine_that_is_away_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with pytest.raises(LabError, match="no Docker engine answers at unix:///nonexistent"):
        engine.ensure()


def test_a_reused_process_id_is_not_our_engine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine, "PID_FILE", tmp_path / "pid")
    assert engine.ours() is None
    (tmp_path / "pid").write_text(str(os.getpid()))
    assert engine.ours() is None


def test_progress_is_plain_lines_without_a_terminal() -> None:
    out = io.StringIO()
    reporter = Reporter(Console(file=out, force_terminal=False))
    with reporter.stage("images"):
        reporter.note("building [x]")
    with pytest.raises(ValueError), reporter.stage("boot"):
        raise ValueError
    reporter.done("down")
    assert "images: building [x]" in out.getvalue()
    assert "images: ready" in out.getvalue()
    assert "boot: ready" not in out.getvalue()


def test_machine_defaults() -> None:
    machine = Machine(
        name="a",
        image="i",
        hostname="a.b",
        address=ipaddress.ip_address("198.51.100.9"),
        address6=ipaddress.ip_address("2001:db8:51::9"),
    )
    assert "/etc/lab/addresses" in containers.all_files(machine)
    assert "/etc/lab/addresses" not in machine.files
