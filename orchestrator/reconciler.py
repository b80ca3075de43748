"""reconcile(host): look at what is wanted and at the host, and make them the same.

Level-triggered: it is never told what happened, may be killed anywhere, and simply runs again.
"""

import time
from dataclasses import replace
from uuid import UUID

from sqlalchemy import Engine
from sqlmodel import Session
from uuid_utils.compat import uuid7

from orchestrator import logs
from orchestrator.conditions import Reason
from orchestrator.db import horizon, reading, writing
from orchestrator.errors import NotFound
from orchestrator.fleet import Fleet, HostState, Wanted, compare, render
from orchestrator.hosts.errors import HostError, OtherDebianError
from orchestrator.hosts.jobs import Outcome
from orchestrator.hosts.probe import Observed
from orchestrator.issuers.authority import Authority
from orchestrator.leases import LeaseLostError, Leases
from orchestrator.models import Host, Run, utcnow
from orchestrator.plan import Plan, UnsafePlan
from orchestrator.results import Result, add_run, record, set_conditions
from orchestrator.secrets import Vault
from orchestrator.services import certificates, hosts, removals
from orchestrator.settings import Settings
from orchestrator.spec import Carried, carried

#: Pushes in one pass: the second is for a host that was not as it was seen last.
PUSHES = 2


class Reconciler:
    """Makes hosts converge; one instance may serve many threads."""

    def __init__(self, engine: Engine, settings: Settings, vault: Vault, fleet: Fleet) -> None:
        self._engine = engine
        self._settings = settings
        self._vault = vault
        self._fleet = fleet
        self._authority = Authority(settings.ca_file, settings.ca_key_file)
        self.leases = Leases(engine, settings.lease_seconds)
        #: Each host as it was seen when it was converged.
        self._converged: dict[UUID, Observed] = {}

    def close(self) -> None:
        """Give up renewing leases."""
        self.leases.close()

    def plan(self, host_id: UUID, *, diffs: bool = True) -> Result:
        """What a pass would change; changes nothing.

        Conditions of the host are not touched; the answer carries the reason when the host
        can't be looked at.
        """
        host, plan = self._load(host_id), Plan()
        try:
            state = self._fleet.look(host, self._want(host))
            plan = self._fleet.explain(host, state) if diffs else state.plan
            self._weigh(host, state)
        except OtherDebianError as upgraded:
            self._note_os(host, upgraded.os)
            return self.plan(host_id, diffs=diffs)
        except HostError as error:
            return Result(host.name, plan, error.reason, str(error))
        return Result(host.name, plan, observed=state.observed)

    def reconcile(self, host_id: UUID, *, allow_removals: bool = False) -> Result:
        """One pass over one host, under its lease.

        :param allow_removals: carry out even a plan that removes much of what is served.
        :returns: what was found and done; errors of the host are in it, not raised.
        :raises NotFound: when there is no such host.
        """
        # What was claimed for this pass is let go of, whatever becomes of it.
        with self.leases.hold(host_id) as held:
            host = self._load(host_id)
            if host.paused:
                return Result(host.name, reason=Reason.PAUSED, message="the host is paused")
            if not held:
                return Result(host.name, reason=Reason.BUSY, message="another pass holds it")
            try:
                return self._reconcile(host, allow_removals)
            except LeaseLostError as error:
                return Result(host.name, reason=Reason.BUSY, message=str(error))

    def _reconcile(self, host: Host, allow_removals: bool) -> Result:
        started = time.monotonic()
        run, waited = uuid7(), max(0.0, (utcnow() - host.due_at).total_seconds())
        with logs.about(run=run, host=host.name):
            result = self._pass(host, run, allow_removals)
            total = round((time.monotonic() - started) * 1000, 1)
            timings = {**result.timings, "total": total}
            result = replace(result, timings=timings, run=run, waited=waited)
            with writing(self._engine) as session:
                interval = self._settings.probe_interval
                result = record(session, host, result, utcnow(), interval)
                row = session.get_one(Host, host.id)
                self.leases.require(row)
                self.leases.give_back(row)
            result.log()
        return result

    def observe(self, host_id: UUID) -> Result:
        """Look at a host and write down its conditions; changes nothing on it."""
        result = self.plan(host_id, diffs=False)
        if result.reason is None and not result.plan.empty:
            text = f"{len(result.plan.changes)} differences: {result.plan.summary}"
            result = replace(result, reason=Reason.DRIFTED, message=text)
        with writing(self._engine) as session:
            set_conditions(session, host_id, result)
        return result

    def roll_back(self, host_id: UUID, generation: int) -> Result:
        """Put an earlier generation's files into force again, and pause the host.

        It stays paused because the next pass would put the present wishes into force again.

        :raises NotFound: when there is no such host.
        """
        with writing(self._engine) as session:
            row = session.get(Host, host_id)
            if row is None:
                raise NotFound("there is no such host")
            hosts.pause(session, row)
        with self.leases.hold(host_id) as held:
            host = self._load(host_id)
            if not held:
                return Result(host.name, reason=Reason.BUSY, message="a pass holds it")
            try:
                state = self._fleet.look(host, self._want(host))
                number = self._next_generation(host, state.observed)
                outcome = self._fleet.roll_back(host, state.wanted, number, generation)
            except HostError as error:
                return Result(host.name, reason=error.reason, message=str(error))
            text = f"rolled back to generation {generation}"
            self._keep(uuid7(), host, number, Plan(), outcome, text)
            return Result(host.name, Plan(), outcome.reason, outcome.message or text)

    def _pass(self, host: Host, run: UUID, allow_removals: bool) -> Result:
        plan, timings = Plan(), {"look": 0.0}
        assumed = self._converged.pop(host.id, None)
        try:
            wanted = self._want(host)
            state = compare(wanted, assumed) if assumed else None
            if state is None or not state.plan.only_files:
                state = self._timed_look(host, wanted, timings)
            plan = state.plan
            for attempt in range(PUSHES):
                if state.plan.empty:
                    break
                if not allow_removals:
                    self._weigh(host, state)
                timings |= self._push(host, state, uuid7() if attempt else run)
                state = self._timed_look(host, wanted, timings)
            if not state.plan.empty:
                text = f"still different after the push: {state.plan.summary}"
                raise HostError(Reason.DRIFTED, text)
        except OtherDebianError as upgraded:
            self._note_os(host, upgraded.os)
            return self._pass(host, run, allow_removals)
        except HostError as error:
            return Result(host.name, plan, error.reason, str(error), timings=timings)
        self._converged[host.id] = state.observed
        # What is told of the host holds for everybody who asks it then.
        if seconds := state.observed.settles_in(state.wanted.required.seconds):
            time.sleep(seconds)
            timings["settle"] = round(seconds * 1000, 1)
        return Result(host.name, plan, timings=timings, observed=state.observed)

    def _timed_look(self, host: Host, wanted: Wanted, timings: dict[str, float]) -> HostState:
        started = time.monotonic()
        state = self._fleet.look(host, wanted)
        timings["look"] += round((time.monotonic() - started) * 1000, 1)
        return state

    def _weigh(self, host: Host, state: HostState) -> None:
        """Stop a plan that removes much that no tenant asked for."""
        share, plan = self._settings.removable_share, state.plan
        if plan.unsafe(share):
            plan = self._excused(host, state)
        try:
            plan.raise_if_unsafe(share)
        except UnsafePlan as error:
            raise HostError(Reason.UNSAFE_PLAN, str(error)) from None

    def _excused(self, host: Host, state: HostState) -> Plan:
        removed = self._fleet.removed(host, state)
        names = sorted({name for listed in removed.values() for name in listed})
        with reading(self._engine) as session:
            asked = removals.asked_for(session, host, names)
        return state.plan.without_asked(removed, asked)

    def _load(self, host_id: UUID) -> Host:
        with reading(self._engine) as session:
            host = session.get(Host, host_id)
            if host is None:
                raise NotFound("there is no such host")
            session.expunge(host)
            return host

    def _want(self, host: Host) -> Wanted:
        """What the host must be now. ``host.applied_at`` becomes that moment."""
        if host.os is None:
            self._note_os(host, self._fleet.identify(host))
        # What is older is in the spec; what is committed from here on asks for another pass.
        host.applied_at = horizon(self._engine)
        source = self._settings.certificate_source
        with reading(self._engine) as session:
            own = carried(session, host)
            settled = certificates.settled(session, source, host, own)
            if settled and host.release_id is not None:
                return self._rendered(session, host, own)
        with writing(self._engine) as session:
            certificates.ensure(session, self._vault, source, self._authority, host)
            self._fleet.choose_release(session, host)
        with reading(self._engine) as session:
            return self._rendered(session, host, carried(session, host))

    def _note_os(self, host: Host, os: str) -> None:
        host.os = os
        with writing(self._engine) as session:
            session.get_one(Host, host.id).os = os

    def _rendered(self, session: Session, host: Host, own: Carried) -> Wanted:
        return render(self._fleet.want(session, host, own), self._fleet.templates(session, host))

    def _push(self, host: Host, state: HostState, run: UUID) -> dict[str, float]:
        started = time.monotonic()
        number = self._next_generation(host, state.observed)
        outcome = self._fleet.push(host, state, number)
        self._keep(run, host, number, state.plan, outcome)
        if outcome.reason is not None:
            raise HostError(outcome.reason, outcome.message)
        taken = round((time.monotonic() - started) * 1000, 1)
        return {**outcome.timings, "push": taken}

    def _next_generation(self, host: Host, observed: Observed) -> int:
        # The number is used up before it is sent: a pass that dies can't leave it to another.
        with writing(self._engine) as session:
            row = session.get_one(Host, host.id, with_for_update={"key_share": True})
            self.leases.require(row)
            row.generation = max(row.generation, observed.generation) + 1
            return row.generation

    def _keep(  # noqa: PLR0917 - what a push is, as it goes into its row
        self,
        run_id: UUID,
        host: Host,
        generation: int,
        plan: Plan,
        outcome: Outcome,
        message: str = "",
    ) -> None:
        with writing(self._engine) as session:
            run = Run(
                id=run_id,
                host_id=host.id,
                generation=generation,
                owner=self.leases.owner,
                outcome="",
                message=message,
            )
            add_run(session, run, plan, outcome)
