"""The process that pushes: reads jobs from stdin, a JSON line each, answers in the same way.

pyinfra keeps its state in globals and wants gevent's patches, so it lives here, away from
threads and event loops. Started by ``workers.Workers``; ends when its stdin does.
"""

# ruff: noqa: E402 - the patches must come before anything that opens a socket
from gevent import monkey

monkey.patch_all()

import logging
import sys

import msgspec

from orchestrator.conditions import Reason
from orchestrator.hosts.connector import MailfleetConnector
from orchestrator.hosts.deploy import run
from orchestrator.hosts.jobs import Job, Outcome


def main() -> None:
    """Serve until stdin ends."""
    # pyinfra logs what hosts print; the answer carries the part that we keep.
    logging.getLogger("pyinfra").setLevel(logging.CRITICAL)
    MailfleetConnector.keep_warm()
    decoder = msgspec.json.Decoder(Job)
    answers = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        try:
            outcome = run(decoder.decode(line))
        except Exception as error:
            outcome = Outcome(Reason.INTERNAL, f"{type(error).__name__}: {error}", {})
        answers.write(msgspec.json.encode(outcome).decode() + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
