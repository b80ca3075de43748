"""The probe's parser: pure, and careful with an answer that was cut."""

import pytest

from orchestrator.conditions import Reason
from orchestrator.hosts.errors import HostError
from orchestrator.hosts.probe import AccountState, FileState, UnitState, Watch, parse

ANSWER = """\
os\tdebian12
user\t0
generation\t7
applied\tpostfix\tabc
applied\tdovecot\t
file\t640\troot\tdovecot\t1699999999\t/etc/dovecot/users
digest\tdeadbeef\t/etc/dovecot/users
directory\t750\troot\troot\t/etc/mailfleet
account\tvmail\t5000\t5000\tvmail mail
index\t/etc/postfix/senders
unit\tdovecot.service\tactive\tenabled
unit\tpostfix.service\tinactive\tdisabled
package\tpostfix\tii \t3.7.11
package\tgone\trc \t1
disk\t/etc\t5000\t1024
disk\t/var\t1000\t4096
queue\t3
load\t3.00\t0-1,4
clock\t1700000000.25
entries\t12\t/etc/dovecot/users
end
"""


def test_every_fact_is_read() -> None:
    seen = parse(ANSWER)
    assert (seen.os, seen.user, seen.generation, seen.queue) == ("debian12", 0, 7, 3)
    assert seen.applied == {"postfix": "abc", "dovecot": ""}
    assert seen.files == {
        "/etc/dovecot/users": FileState("deadbeef", 0o640, "root", "dovecot", 1699999999)
    }
    assert seen.accounts == {"vmail": AccountState(5000, 5000, frozenset({"vmail", "mail"}))}
    assert seen.indexes == {"/etc/postfix/senders"}
    assert seen.units["dovecot.service"] == UnitState(active=True, enabled=True)
    assert seen.units["postfix.service"] == UnitState(active=False, enabled=False)
    assert seen.packages == {"postfix": "3.7.11"}
    assert seen.free_kib == 4000
    assert (seen.load, seen.clock) == (1.0, 1700000000.25)
    assert seen.entries == {"/etc/dovecot/users": 12}


@pytest.mark.parametrize(
    ("changed", "seconds"),
    # Long ago; a second ago; in this second; by a clock that was ahead.
    [(1600000000, 0.0), (1699999999, 0.0), (1700000000, 0.76), (1700009999, 1.0)],
)
def test_a_file_that_is_looked_at_each_second_settles_with_the_second(
    changed: int, seconds: float
) -> None:
    seen = parse(ANSWER.replace("1699999999", str(changed)))
    assert seen.settles_in(["/etc/dovecot/users", "/not/there"]) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "os\tdebian12\n", ANSWER[:-5]])
def test_an_answer_that_was_cut_is_not_taken_for_missing_files(text: str) -> None:
    with pytest.raises(HostError) as error:
        parse(text)
    assert error.value.reason is Reason.TIMED_OUT


def test_the_watch_is_one_line_a_subject() -> None:
    watch = Watch(files=("/a", "/b"), units=("x.service",))
    assert watch.lines() == "file /a\nfile /b\nunit x.service\n"
