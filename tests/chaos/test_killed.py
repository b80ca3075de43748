"""A reconciler that is killed, at every step of apply, leaves hosts that serve and converge."""

import os
import random
import signal
from functools import partial

import pytest
from chaos import steps
from chaos.conftest import Trials
from chaos.trial import Trial
from labkit import Machine
from processkit import family, send

pytestmark = pytest.mark.lab

#: Kills of each host's reconciler, spread over the steps; with ``CHAOS_SEEDS=full`` 20 at each.
SEEDS = os.environ.get("CHAOS_SEEDS", "8")
#: Times that a step may be missed, because it was over before it was seen.
TRIES = 5
SECONDS = 30.0


def kill(trial: Trial, step: str, seed: int) -> bool:
    """Kill a reconciler, by chance with its pushing process; False when the step was missed."""
    trial.spoil(seed)
    with steps.watching(trial.machine) as watch, trial.reconciler() as process:
        reached = watch.reach(step, SECONDS)
        assert process.pid is not None
        chosen = family(process.pid)
        if random.Random(seed).random() < 0.5:
            chosen = chosen[:1]
        send(chosen, signal.SIGKILL)
        process.join(SECONDS)
        return reached is not None and process.exitcode == -signal.SIGKILL


def apply(trial: Trial) -> None:
    with trial.reconciler() as process:
        process.join(SECONDS)
        assert process.exitcode == 0


def test_a_reconciler_is_killed_at_every_step(trials: Trials, machine: Machine) -> None:
    seeds = range(20 * len(steps.STEPS) if SEEDS == "full" else int(SEEDS))
    with trials("reconciler killed, at every step of apply", machine) as trial:
        trial.healthy(partial(apply, trial))
        for seed in seeds:
            step = steps.STEPS[seed % len(steps.STEPS)]
            work = partial(kill, trial, step, seed)
            hits = (trial.suffer(work) for _ in range(TRIES))
            assert any(hits), f"{step} was never seen"
            trial.converge()
