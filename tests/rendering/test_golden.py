"""What is rendered, compared with the files that were last looked at by a person.

MAILFLEET_UPDATE_GOLDEN=1 writes them anew.
"""

import dataclasses
import os
from pathlib import Path

import pytest

from orchestrator import rendering
from orchestrator.errors import Invalid
from orchestrator.hostspec import ClusterSpec, DkimKeySpec, HostSpec, OsName, RenderedFile, TlsSpec

GOLDEN = Path(__file__).parent / "golden"


def by_path(spec: HostSpec) -> dict[str, RenderedFile]:
    return {file.path: file for file in rendering.render(spec)}


def test_files_are_as_approved(spec: HostSpec, os_name: OsName) -> None:
    directory = GOLDEN / os_name
    files = by_path(spec)
    if os.environ.get("MAILFLEET_UPDATE_GOLDEN"):
        for old in directory.rglob("*"):
            if old.is_file():
                old.unlink()
        for file in files.values():
            path = directory / file.path.removeprefix("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.content)
    approved = {
        f"/{path.relative_to(directory)}": path.read_text()
        for path in directory.rglob("*")
        if path.is_file()
    }
    assert {path: file.content for path, file in files.items()} == approved


def test_secrets_are_marked_and_closed(spec: HostSpec) -> None:
    files = by_path(spec)
    for file in files.values():
        holds_secret = spec.tls.private_key in file.content or "$6$" in file.content
        assert file.secret == holds_secret, file.path
        if file.secret:
            assert file.mode & 0o007 == 0, file.path
        else:
            assert file.mode & 0o022 == 0, file.path


def test_rendering_is_a_pure_function(spec: HostSpec) -> None:
    assert rendering.render(spec) == rendering.render(dataclasses.replace(spec))


def test_a_new_certificate_reloads_postfix_and_dovecot(spec: HostSpec) -> None:
    renewed = dataclasses.replace(spec, tls=TlsSpec("ANOTHER", spec.tls.private_key))
    before, after = by_path(spec), by_path(renewed)
    changed = {path for path, file in after.items() if file.digest != before[path].digest}
    assert {after[path].daemon for path in changed} == {"postfix", "dovecot", None}


def test_a_new_password_touches_the_password_file_alone(spec: HostSpec) -> None:
    first = dataclasses.replace(spec.mailboxes[0], password_hash="{SHA512-CRYPT}$6$other")
    changed_spec = dataclasses.replace(spec, mailboxes=(first, *spec.mailboxes[1:]))
    before, after = by_path(spec), by_path(changed_spec)
    changed = [path for path, file in after.items() if file.digest != before[path].digest]
    assert changed == ["/etc/dovecot/users"]
    assert after["/etc/dovecot/users"].daemon is None


def test_a_retired_key_stays_on_the_host_but_signs_no_more(spec: HostSpec) -> None:
    files = by_path(spec)
    assert files["/etc/opendkim/keys/mf0._domainkey.acme-mail.net.private"].secret
    assert "mf0" not in files["/etc/opendkim/key_table"].content
    signing = tuple(dataclasses.replace(key, signs=True) for key in spec.dkim_keys)
    with pytest.raises(Invalid, match="two keys"):
        rendering.render(dataclasses.replace(spec, dkim_keys=signing))


def test_a_host_without_tenants_renders(spec: HostSpec) -> None:
    bare = dataclasses.replace(
        spec,
        addresses=(),
        domains=(),
        dkim_keys=(DkimKeySpec(spec.hostname, "host", "KEY"),),
        mailboxes=(),
        remote_mailboxes=(),
        probes=(),
        cluster=ClusterSpec(),
    )
    assert "out-" not in by_path(bare)["/etc/postfix/master.cf"].content
