"""The daemons' own parsers, on real hosts, judge what is rendered. Nothing live is touched."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import rendering
from orchestrator.hostspec import HostSpec, OsName
from orchestrator.rendering import requirements

pytestmark = pytest.mark.lab

Choose = Callable[[OsName], Any]


def stage(host: Any, spec: HostSpec, change: Callable[[str, str], str]) -> None:
    files = {
        f"files{file.path}": change(file.path, file.content).encode()
        for file in rendering.render(spec)
    }
    host.put_all(files)


def validate(host: Any, spec: HostSpec) -> tuple[int, str]:
    script = requirements.validation(file.path for file in rendering.render(spec)).encode()
    done = host.run(["env", f"FILES={host.directory}/files", "sh", "-eu", "-s"], script)
    return done.returncode, (done.stdout + done.stderr).decode()


def test_the_daemons_accept_it(daemon_host: Choose, real_spec: HostSpec) -> None:
    host = daemon_host(real_spec.os)
    stage(host, real_spec, lambda path, text: text)
    assert validate(host, real_spec) == (0, "")


@pytest.mark.parametrize(
    ("broken", "addition", "said"),
    [
        ("/etc/postfix/main.cf", "no_such_parameter = yes\n", "unused parameter"),
        ("/etc/postfix/main.cf", "notify_classes = $no_such\n", "undefined parameter"),
        ("/etc/postfix/master.cf", "half a line\n", "bad field count"),
        ("/etc/postfix/submission_headers", "/(/ REJECT\n", "Unmatched"),
        ("/etc/dovecot/dovecot.conf", "no_such_setting = yes\n", "Unknown setting"),
        ("/etc/opendkim.conf", "NoSuchSetting yes\n", "unrecognized parameter"),
        ("/etc/opendkim/policy.lua", "local x = = 1\n", "policy.lua"),
        ("/etc/opendkim/policy.lua", "no_such_function()\n", "policy.lua"),
        ("/etc/mailfleet/tls/cert.pem", "", "certificate"),
        ("/etc/mailfleet/tls/key.pem", "", "key"),
    ],
)
def test_an_error_is_found_before_it_is_in_force(
    daemon_host: Choose, real_spec: HostSpec, broken: str, addition: str, said: str
) -> None:
    def change(path: str, text: str) -> str:
        if path != broken:
            return text
        return text + addition if addition else "not PEM\n"

    host = daemon_host(real_spec.os)
    stage(host, real_spec, change)
    status, output = validate(host, real_spec)
    assert status != 0
    assert said in output


# opendkim -t runs the script as if "sender@example.org" had logged in and sent the message. The
# header below stands for the macro that makes it run whatever From is (see opendkim.conf).
SCENE = "X-Envelope: sender@example.org\n"
CONFIGURATION = """\
Mode sv
Domain example.net
Selector mf1
KeyFile {directory}/key
RequireSafeKeys no
SenderHeaders X-Envelope
SetupPolicyScript {directory}/policy.lua
"""

ACCEPTED = [
    "From: sender@example.org",
    "From: Sender@EXAMPLE.org",
    "from: Some One <sender@example.org>",
    'From: "One, (some) \\"x\\"; sender@example.org" <sender@example.org>',
    "From: =?utf-8?q?Ren=C3=A9?= <sender@example.org>",
    "From: =?iso-2022-jp?b?GyRCJEYbKEI=?= <sender@example.org>",
    "From: A. B. O'Neil <sender@example.org>",
    "From: sender@example.org (Some (nested) One)",
    "From:\n Some\n\tOne\n <sender@example.org>",
    'From: "" <sender@example.org>',
    "From: sender@example.org\nSender: Me <sender@example.org>",
]
REFUSED = [
    "Subject: no From",
    "From:",
    "From: other@example.org",
    "From: sender@example.org\nFrom: sender@example.org",
    "From: other@example.org\nFrom: sender@example.org",
    "From: sender@example.org, other@example.org",
    "From: sender@example.org, sender@example.org",
    "From: Group: sender@example.org;",
    "From: sender@example.org <other@example.org>",
    "From: other@example.org <sender@example.org>",
    "From: <other@example.org> <sender@example.org>",
    'From: "<other@example.org>" <sender@example.org>',
    "From: (<other@example.org>) <sender@example.org>",
    'From: "x"sender@example.org',
    "From: send(x)er@example.org",
    "From: sender@example.org(x).evil.org",
    "From: sender@example.org@evil.org",
    "From: <sender@example.org",
    "From: sender@example.org>",
    "From: <sender@example.org> trailing",
    "From: (open <sender@example.org>",
    "From: closed) <sender@example.org>",
    'From: "open <sender@example.org>',
    'From: "x\\" <sender@example.org>',
    "From: <@example.com:sender@example.org>",
    "From: =?utf-8?q?sender=40example=2Eorg?=",
    "From: =?utf-8?q?x=00?= <sender@example.org>",
    "From: =?utf-8?q?x=0A?= <sender@example.org>",
    "From: =?utf-8?b?eAB5?= <sender@example.org>",
    "From: Ren\u00e9 <sender@example.org>",
    "From: x\x01 <sender@example.org>",
    "From: sender+tag@example.org",
    "From: sender@sub.example.org",
    "From: sender@example.org.",
    "From: " + "x" * 3000 + " <sender@example.org>",
    "From: sender@example.org\nSender: other@example.org",
    "From: sender@example.org\nSender: sender@example.org\nSender: other@example.org",
    "From: sender@example.org\nSender:",
]


def test_from_is_exactly_the_envelope_sender(daemon_host: Choose, real_spec: HostSpec) -> None:
    host = daemon_host(real_spec.os)
    policy = {file.path: file.content for file in rendering.render(real_spec)}
    messages = {f"good{n}": text for n, text in enumerate(ACCEPTED)}
    messages |= {f"bad{n}": text for n, text in enumerate(REFUSED)}
    host.put_all(
        {
            name: f"{SCENE}{text}\nTo: x@example.com\n\nhi\n".encode()
            for name, text in messages.items()
        }
        | {
            "policy.lua": policy["/etc/opendkim/policy.lua"].encode(),
            "key": real_spec.dkim_keys[0].private_key.encode(),
            "conf": CONFIGURATION.format(directory=host.directory).encode(),
        }
    )
    wrong = []
    for name, text in messages.items():
        script = f"cd {host.directory} && opendkim -x conf -t {name} -vvv 2>&1"
        said = host.run(["sh", "-c", script]).stdout.decode(errors="replace")
        verdict = next(line.split()[-1] for line in said.splitlines() if "mlfi_eoh()" in line)
        expected = "SMFIS_CONTINUE" if name.startswith("good") else "SMFIS_REJECT"
        if verdict != expected:
            wrong.append((text, verdict))
    assert wrong == []
