"""Rollouts: changed templates become a release, which goes to canaries, then on in waves.

Level-triggered like a pass over a host: each step looks at the rows and does what comes next.
"""

import logging
from datetime import timedelta

from sqlalchemy import Engine
from sqlmodel import Session

from orchestrator import rendering, waves
from orchestrator.db import reading, writing
from orchestrator.errors import ConfigurationError
from orchestrator.models import Release, ReleaseState, utcnow
from orchestrator.services import releases
from orchestrator.settings import Settings

log = logging.getLogger(__name__)


class Rollouts:
    """What one reconciler does about releases."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        #: Digests of the templates at the last look, and when a release was last made of them.
        self._glimpsed = ""
        self._recorded = ""

    def step(self) -> None:
        """Look at the templates, then take the rollout that is under way one step further."""
        self._notice()
        with reading(self._engine) as session:
            release = releases.newest(session)
            under_way = release is not None and release.state in releases.UNDER_WAY
        if under_way:
            with writing(self._engine) as session:
                self._advance(session)

    def _notice(self) -> None:
        # Only a change that this process sees counts: during an upgrade, two versions with
        # templates of their own don't take turns.
        try:
            templates = rendering.read(self._settings.template_directory)
        except ConfigurationError as error:
            log.warning("%s", error)
            return
        glimpsed, self._glimpsed = self._glimpsed, templates.digest
        # Seen twice: a directory that is being written is let be.
        if templates.digest != glimpsed or templates.digest == self._recorded:
            return
        with writing(self._engine) as session:
            release = releases.record(session, templates)
            log.info("templates: release %d is %s", release.number, release.state)
        self._recorded = templates.digest

    def _advance(self, session: Session) -> None:
        release = releases.newest(session, lock=True)
        if release is None or release.state not in releases.UNDER_WAY:
            return
        standings = releases.standings(session, release)
        fault = releases.fault(session, release)
        if fault is not None:
            releases.fail(session, release, fault, standings)
            log.error("release %d failed on %s: %s", release.number, fault.host, fault.message)
        elif release.state is ReleaseState.CANARY:
            self._try_out(session, release, standings)
        elif waves.settled(standings):
            self._go_on(session, release, standings)

    def _try_out(self, session: Session, release: Release, standings: list[waves.Standing]) -> None:
        now = utcnow()
        missing = waves.canaries(standings)
        if missing:
            release.proving_since = None
            releases.give(session, release, [s.id for s in missing])
            names = ", ".join(s.name for s in missing)
            log.info("release %d goes to %s first", release.number, names)
        elif not waves.settled(standings):
            release.proving_since = None
        elif release.proving_since is None:
            releases.prove(session, release, now)
        elif now - release.proving_since >= timedelta(
            seconds=self._settings.canary_seconds
        ) and not releases.unproven(session, release):
            releases.enter(release, ReleaseState.ROLLING)
            self._go_on(session, release, standings)

    def _go_on(self, session: Session, release: Release, standings: list[waves.Standing]) -> None:
        wave = waves.wave(standings)
        if wave:
            releases.give(session, release, [s.id for s in wave])
            log.info("release %d goes to %d hosts more", release.number, len(wave))
        else:
            releases.finish(session, release)
            log.info("release %d is on all hosts", release.number)
