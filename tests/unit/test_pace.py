"""Message rates: what is one, and what it means."""

import pytest

from orchestrator import pace
from orchestrator.errors import Invalid
from orchestrator.pace import Pace


@pytest.mark.parametrize(
    ("text", "quantity", "seconds", "burst"),
    [
        ("500/hr", 500, 3600, 500),
        ("500/h", 500, 3600, 500),
        ("500/hour", 500, 3600, 500),
        ("1,000/day", 1000, 86400, 1000),
        ("1,000,000/d", 1_000_000, 86400, 1_000_000),
        ("50/hr,max_burst=10", 50, 3600, 10),
        ("50/hr,max_burst=1,000", 50, 3600, 1000),
        ("500/30min", 500, 1800, 500),
        ("5/m", 5, 60, 5),
        ("5/minute", 5, 60, 5),
        ("10/10s,max_burst=3", 10, 10, 3),
        (f"{pace.FASTEST}/sec", pace.FASTEST, 1, pace.FASTEST),
        ("1/second", 1, 1, 1),
        ("1/31d", 1, 31 * 86400, 1),
        ("0005/1hr", 5, 3600, 5),
    ],
)
def test_a_rate(text: str, quantity: int, seconds: int, burst: int) -> None:
    assert pace.parse(text) == Pace(quantity, seconds, burst)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "500",
        "500/",
        "/hr",
        "hr/500",
        "0/hr",
        "1,00/day",
        ",100/day",
        "1,000,/day",
        "1,0000/day",
        "5.5/hr",
        "5/fortnight",
        "5/HR",
        "5/hours",
        "-1/hr",
        "+1/hr",
        " 5/hr",
        "5/hr ",
        "5 / hr",
        "5/hr\n",
        "\u0665/hr",
        "5/0min",
        "5/-1min",
        "5/1.5hr",
        "5/32d",
        "5/745hr",
        "5/hr,max_burst=0",
        "5/hr,max_burst=x",
        "5/hr,max_burst=",
        "5/hr,max_burst=-1",
        "5/hr,max_burst=1,max_burst=1",
        "5/hr, max_burst=1",
        "5/hr,burst=1",
        f"{pace.FASTEST + 1}/s",
        f"{pace.FASTEST + 1}/sec,max_burst=1",
        "none",
    ],
)
def test_no_rate(text: str) -> None:
    with pytest.raises(Invalid, match="max_message_rate is") as refused:
        pace.parse(text)
    assert refused.value.field == "max_message_rate"


@pytest.mark.parametrize(
    "text",
    [
        "9" * 100_000 + "/hr",
        "1" + ",000" * 50_000 + "/day",
        "5/" + "9" * 100_000 + "hr",
        "5/" + "h" * 100_000,
        "5/hr,max_burst=" + "9" * 100_000,
        "5/hr,max_burst=1" + ",000" * 50_000,
    ],
    ids=lambda text: text[:16],
)
def test_a_long_text_is_no_rate(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        pace.parse(text)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [("1/s", 1_000_000), ("100/s", 10_000), ("500/hr", 7_200_000), ("7/s", 142_857)],
)
def test_the_time_between_two_messages(text: str, microseconds: int) -> None:
    assert pace.parse(text).interval == microseconds
