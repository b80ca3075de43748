"""What the witness saw between two moments, and whether a host kept serving."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Span = tuple[float, float]

#: Seconds for the last accepted message to arrive.
DELIVERY = 30.0
CHECKS = ("imap", "submission")


@dataclass
class Service:
    """How one host served. ``dropped`` were put right by the next try; ``longest`` is in ms."""

    looks: int = 0
    dropped: int = 0
    longest: float = 0.0
    outages: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


class Notes:
    """The witness's notebook, read from where the last reading ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rows: list[dict[str, Any]] = []

    def rows(self, host: str) -> list[dict[str, Any]]:
        """All that was noted about a host."""
        with self._path.open() as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind("\n") + 1]
        self._offset += len(whole.encode())
        self._rows += [json.loads(line) for line in whole.splitlines()]
        return [row for row in self._rows if row["host"] == host]

    def judge(self, host: str, span: Span, excused: list[Span]) -> Service:
        """How a host served in a span of time, but for the times when it could not.

        Each check fails the host by two failures in a row; each message that was accepted must
        arrive, signed.
        """
        seen = Service()
        for check in CHECKS:
            rows = self._complete(host, check, span)
            looks = [row for row in rows if not _within(row, excused)]
            _tally(seen, check, looks)
        self._signed(seen, host, span)
        return seen

    def _complete(self, host: str, check: str, span: Span) -> list[dict[str, Any]]:
        """The looks that began in the span, waiting for one that began after it."""
        deadline = time.monotonic() + DELIVERY
        while True:
            rows = [row for row in self.rows(host) if row["check"] == check]
            if rows and rows[-1]["at"] >= span[1]:
                return [row for row in rows if span[0] <= row["at"] < span[1]]
            assert time.monotonic() < deadline, f"the witness of {host} {check} is silent"
            time.sleep(0.1)

    def _signed(self, seen: Service, host: str, span: Span) -> None:
        deadline = time.monotonic() + DELIVERY
        while True:
            rows = self.rows(host)
            arrived = {row["id"]: row for row in rows if row["check"] == "signing"}
            sent = [
                row["id"]
                for row in rows
                if row["check"] == "submission" and row["ok"] and span[0] <= row["at"] < span[1]
            ]
            missing = [ident for ident in sent if ident not in arrived]
            if not missing or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        seen.lost += [f"accepted, never arrived: {ident}" for ident in missing]
        unsigned = [arrived[i] for i in sent if i in arrived and not arrived[i]["ok"]]
        seen.lost += [f"signing: {row['error']}" for row in unsigned]


def _tally(seen: Service, check: str, looks: list[dict[str, Any]]) -> None:
    seen.looks += len(looks)
    failing: list[dict[str, Any]] = []
    for row in looks:
        if not row["ok"]:
            failing.append(row)
            continue
        if failing:
            # Whoever was refused first is served when the next try is answered.
            seen.longest = max(seen.longest, (row["until"] - failing[0]["at"]) * 1000)
            _sentence(seen, check, failing)
        failing = []
    if failing:
        seen.longest = max(seen.longest, (failing[-1]["until"] - failing[0]["at"]) * 1000)
        _sentence(seen, check, failing)


def _sentence(seen: Service, check: str, failing: list[dict[str, Any]]) -> None:
    if len(failing) == 1:
        seen.dropped += 1
    else:
        seen.outages.append(f"{check}: {len(failing)} in a row, {failing[-1]['error']}")


def _within(row: dict[str, Any], excused: list[Span]) -> bool:
    return any(row["at"] < end and row["until"] > begin for begin, end in excused)
