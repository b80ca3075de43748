"""Rates: a token bucket in the database, for all processes, over restarts."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from databases import KINDS, Databases
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlmodel import select
from storekit import Store

from orchestrator import db
from orchestrator.errors import ConfigurationError, Invalid, RateLimited
from orchestrator.models import ApiKey, Bucket, RateBucket
from orchestrator.services import allowances, keys, workspaces
from orchestrator.services.allowances import Rate
from orchestrator.settings import Settings

START = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.fixture(scope="module", params=KINDS)
def store(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    databases: Databases,
) -> Iterator[Store]:
    directory: Path = tmp_path_factory.mktemp("store")
    with databases.migrated(request.param, directory) as url:
        made = Store(directory, url)
        made.workspace()
        yield made
        made.close()


def new_key(store: Store) -> ApiKey:
    with db.writing(store.engine) as session:
        return keys.create(session, workspaces.get_by_slug(session, "acme"), "k")[0]


def wait(engine: Engine, key: ApiKey, rate: Rate, now: datetime, bucket: str = "send") -> int:
    """Ask once; seconds to wait, 0 where the request passed."""
    try:
        with db.writing(engine) as session:
            allowances.charge(session, key, Bucket(bucket), rate, now)
    except RateLimited as error:
        assert error.retry_after >= 1
        return error.retry_after
    return 0


@settings(deadline=None, max_examples=50)
@given(
    rate=st.builds(Rate, st.sampled_from([1, 7, 30, 60, 600, 10_000]), st.integers(1, 12)),
    gaps=st.lists(
        st.one_of(st.just(0), st.integers(0, 2_000_000), st.integers(0, 200_000_000)), max_size=40
    ),
)
def test_it_is_a_token_bucket(store: Store, rate: Rate, gaps: list[int]) -> None:
    key, now = new_key(store), START
    tokens, since = float(rate.burst), START  # the model
    passed: list[datetime] = []
    for gap in gaps:
        now += timedelta(microseconds=gap)
        gained = (now - since) / timedelta(microseconds=rate.interval)
        tokens, since = min(rate.burst, tokens + gained), now
        told = wait(store.engine, key, rate, now)
        if abs(tokens - 1) > 1e-6:
            assert (told == 0) == (tokens > 1)
        if told == 0:
            tokens -= 1
            passed.append(now)
    for first, start in enumerate(passed):
        for last, end in enumerate(passed[first:], first):
            most = rate.burst + rate.per_minute * ((end - start) / timedelta(minutes=1))
            assert last - first + 1 <= most + 1e-6


@settings(deadline=None, max_examples=30)
@given(
    rate=st.builds(Rate, st.sampled_from([1, 7, 30, 60, 600]), st.integers(1, 12)),
    gap=st.integers(0, 3_000_000),
)
def test_who_waits_as_told_passes(store: Store, rate: Rate, gap: int) -> None:
    key, now, limited = new_key(store), START, 0
    for _ in range(rate.burst + 4):
        told = wait(store.engine, key, rate, now)
        if told:
            limited += 1
            # Not before, as far as whole seconds can tell.
            early = now + timedelta(seconds=told - 1, microseconds=-1)
            assert told == 1 or wait(store.engine, key, rate, early) > 0
            now += timedelta(seconds=told)
            assert wait(store.engine, key, rate, now) == 0
        now += timedelta(microseconds=gap)
    if gap == 0:
        assert limited


def test_buckets_and_keys_are_apart(store: Store) -> None:
    one, other, rate = new_key(store), new_key(store), Rate(1, 1)
    assert wait(store.engine, one, rate, START) == 0
    assert wait(store.engine, one, rate, START) == 60
    assert wait(store.engine, one, rate, START, "fetch") == 0
    assert wait(store.engine, other, rate, START) == 0


def test_all_processes_share_a_bucket_at_the_same_moment(store: Store) -> None:
    key, rate = new_key(store), Rate(1, 7)
    engines = [db.connect(store.settings.database_url) for _ in range(4)]
    told: list[int] = []

    def ask(engine: Engine) -> None:
        told.extend(wait(engine, key, rate, START) for _ in range(5))

    threads = [threading.Thread(target=ask, args=[engine]) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for engine in engines:
        engine.dispose()
    assert sorted(told) == [0] * 7 + [60] * 13
    # And whoever starts later finds it as it was left.
    later = db.connect(store.settings.database_url)
    assert wait(later, key, rate, START) == 60
    later.dispose()


def test_full_buckets_and_those_of_a_wrong_clock_are_forgotten(store: Store) -> None:
    full, busy, wrong = (new_key(store) for _ in range(3))
    wait(store.engine, full, Rate(60, 1), START - timedelta(seconds=2))
    wait(store.engine, busy, Rate(60, 1), START)
    wait(store.engine, wrong, Rate(60, 1), START + timedelta(days=2))
    with db.writing(store.engine) as session:
        allowances.forget(session, START)
        left: set[UUID] = set(session.exec(select(RateBucket.key_id)))
    assert left & {full.id, busy.id, wrong.id} == {busy.id}


@pytest.mark.parametrize(
    "text",
    ["", "60", "60/", "0/1", "1/0", "-1/1", "60/9/1", " 60/9", "1.5/1", "1/61", "9999999/1"],
)
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(Invalid):
        Rate.parse(text)
    with pytest.raises(ConfigurationError, match="rate_fetch"):
        allowances.of_settings(Settings(rate_fetch=text))
