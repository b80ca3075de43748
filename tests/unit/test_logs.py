"""Logs: lines that programs can read, which carry the run and the host they belong to."""

import json
import logging
from collections.abc import Iterator

import pytest

from orchestrator import logs


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """The root logger as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


def written(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_json_lines_carry_run_and_host_while_a_pass_lasts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("json", "info")
    log = logging.getLogger("mailfleet.test")
    with logs.about(run="0199", host="mx1"):
        log.info("looked at %d files", 12)
        log.warning("ended", extra={"outcome": "failed", "seconds": 0.25})
    log.info("idle")
    first, second, third = map(json.loads, written(capsys))
    assert (
        first.items()
        >= {
            "level": "info",
            "logger": "mailfleet.test",
            "message": "looked at 12 files",
            "run": "0199",
            "host": "mx1",
        }.items()
    )
    assert first["ts"].endswith("Z")
    assert (second["outcome"], second["seconds"], second["run"]) == ("failed", 0.25, "0199")
    assert (third["run"], third["host"]) == (None, None)


def test_a_traceback_is_part_of_its_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("mailfleet.test").exception("a defect")
    (line,) = map(json.loads, written(capsys))
    assert line["message"] == "a defect"
    assert "ValueError: broken" in line["exception"]


def test_text_has_its_fields_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("text", "info")
    with logs.about(host="mx1"):
        logging.getLogger("mailfleet.test").info("hello", extra={"outcome": "applied"})
    (line,) = written(capsys)
    assert line.endswith("INFO mailfleet.test: hello host=mx1 outcome=applied")


@pytest.mark.parametrize("kind", ["text", "json"])
def test_a_hosts_answer_can_not_forge_a_line(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    logs.configure(kind, "info")
    logging.getLogger("mailfleet.test").info("said: %s", "no\n2026 INFO forged\x1b[2J")
    (line,) = written(capsys)
    assert "\x1b" not in line


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("text", "warning")
    logging.getLogger("mailfleet.test").info("quiet")
    logging.getLogger("paramiko").info("quiet as well")
    assert written(capsys) == []


def test_an_inner_block_adds_to_the_outer_one(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    with logs.about(host="mx1"), logs.about(run="0199"):
        logging.getLogger("mailfleet.test").info("both")
    (line,) = map(json.loads, written(capsys))
    assert (line["host"], line["run"]) == ("mx1", "0199")
