"""Rates: how fast requests may come with one key, kept in the database for all API processes.

A token bucket, reckoned as the generic cell rate algorithm does (ITU-T I.371, annex A): of each
bucket only the moment is kept at which it will be full again.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple, Self

from sqlalchemy import bindparam, text
from sqlmodel import Session, SQLModel, col, delete, select
from uuid_utils.compat import uuid7

from orchestrator.errors import ConfigurationError, Invalid, RateLimited
from orchestrator.models import ApiKey, Bucket, RateBucket
from orchestrator.settings import Settings

#: Microseconds of a second: what moments are reckoned in.
SECOND = 1_000_000
#: A bucket must fill within an hour: whatever is told to fill later was written by a wrong clock.
LONGEST_FILL = timedelta(hours=1)
LARGEST = 1_000_000

# One statement, so that of two requests at a time each sees what the other took. As text, since
# every request waits for it: putting it together would take longer than carrying it out.
_TAKE = text("""
    INSERT INTO ratebucket (id, created_at, key_id, bucket, full_at)
    VALUES (:id, :now, :key_id, :bucket, :moment + :interval)
    ON CONFLICT (key_id, bucket) DO UPDATE SET full_at = :interval
        + CASE WHEN ratebucket.full_at > :moment THEN ratebucket.full_at ELSE :moment END
    WHERE ratebucket.full_at <= :latest
    RETURNING full_at
""").bindparams(
    *(
        bindparam(name, type_=SQLModel.metadata.tables["ratebucket"].c[column].type)
        for name, column in {
            "id": "id",
            "now": "created_at",
            "key_id": "key_id",
            "bucket": "bucket",
            "moment": "full_at",
            "latest": "full_at",
            "interval": "full_at",
        }.items()
    )
)

_RATE = re.compile(r"([1-9]\d{0,6})/([1-9]\d{0,6})")


class Rate(NamedTuple):
    """How many requests a minute, and how many at once after a rest."""

    per_minute: int
    burst: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``60/10``: 60 a minute, 10 at once.

        :raises Invalid: when it is something else, or the bucket would take more than an hour
            to fill.
        """
        found = _RATE.fullmatch(text)
        if found is None:
            raise Invalid(f"{text!r} is not a rate such as 60/10 (a minute/at once)", field="rate")
        rate = cls(int(found[1]), int(found[2]))
        if max(rate) > LARGEST or rate.burst * rate.interval > LONGEST_FILL.seconds * SECOND:
            raise Invalid(f"{text!r}: the burst would take more than an hour to fill", field="rate")
        return rate

    @property
    def interval(self) -> int:
        """Microseconds in which one request's worth comes back; rounded up, so never too many."""
        return -(-60 * SECOND // self.per_minute)


def of_settings(settings: Settings) -> Mapping[Bucket, Rate]:
    """The rates of keys that have none of their own.

    :raises ConfigurationError: naming the setting that is not a rate.
    """
    rates = {}
    for bucket in Bucket:
        name = f"rate_{bucket}"
        try:
            rates[bucket] = Rate.parse(getattr(settings, name))
        except Invalid as error:
            raise ConfigurationError(f"{name}: {error}") from None
    return rates


def rate(key: ApiKey, bucket: Bucket, rates: Mapping[Bucket, Rate]) -> Rate:
    """The key's rate: its own, or else the one that all have."""
    return Rate.parse(key.rates[bucket]) if bucket in key.rates else rates[bucket]


def charge(session: Session, key: ApiKey, bucket: Bucket, rate: Rate, now: datetime) -> None:
    """Count a request.

    :raises RateLimited: when it comes too soon; then it counts for nothing.
    """
    moment = _microseconds(now)
    # With this much owed and one request more, the bucket is just empty.
    latest = moment + (rate.burst - 1) * rate.interval
    values = {"moment": moment, "latest": latest, "interval": rate.interval}
    row = {"id": uuid7(), "now": now, "key_id": key.id, "bucket": bucket}
    if session.connection().execute(_TAKE, values | row).first() is not None:
        return
    held = select(RateBucket.full_at).where(
        RateBucket.key_id == key.id, RateBucket.bucket == bucket
    )
    wait = -(-(session.exec(held).one() - latest) // SECOND)
    words = (
        f"more than {rate.per_minute} requests a minute ({rate.burst} at once) with this API key"
    )
    raise RateLimited(words, retry_after=max(1, wait))


def forget(session: Session, now: datetime) -> None:
    """Remove what says nothing: buckets that are full, or that a clock which was ahead has left."""
    ahead = _microseconds(now + 2 * LONGEST_FILL)
    full_at = col(RateBucket.full_at)
    idle = (full_at < _microseconds(now)) | (full_at > ahead)
    session.connection().execute(delete(RateBucket).where(idle))


def _microseconds(moment: datetime) -> int:
    # Not timestamp() * SECOND: a float is not exact to the microsecond.
    epoch = datetime.fromtimestamp(0, moment.tzinfo)
    return (moment - epoch) // timedelta(microseconds=1)
