"""Lists of folders that hold 100 to 100,000 messages: what a page costs must not depend on it."""

import contextlib
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from uuid import uuid4

from bench.measure import interleaved, percentile
from bench.options import Options
from bench.report import Report, Target
from bench.send import mailbox_access
from orchestrator.mail import imap
from orchestrator.mail.imap import ImapClient
from orchestrator.mail.reading import list_messages
from orchestrator.mail.types import MailboxAccess

SIZES = (100, 10_000, 100_000)
#: How much longer a page of the largest folder may take than one of the smallest.
MOST = 1.5
PAGE = 25
#: A session has one folder open; the works take turns, so that the first page opens each anew.
OPENED, OPEN = "the folder opened", "the folder open"
#: Messages of one APPEND (RFC 3502).
BATCH = 500
MESSAGE = (
    b"From: Lena <lena@example.com>\r\nTo: alice@acme.com\r\nSubject: number %d\r\n"
    b"Date: Sun, 3 May 2026 10:14:22 +0200\r\nMessage-ID: <%d@example.com>\r\n\r\nbody\r\n"
)


def run(options: Options) -> list[Report]:
    """One table: of each folder the newest page, which opens it, and then one from the middle."""
    sizes = [size // 10 for size in SIZES] if options.quick else list(SIZES)
    with (
        mailbox_access() as access,
        contextlib.closing(imap.connections()) as pool,
        _folders(access, sizes) as folders,
    ):
        works = {
            f"{size:,}, {what}": partial(
                list_messages, pool, access, folder=folder, limit=PAGE, before=before
            )
            for size, folder in folders.items()
            for what, before in ((OPENED, None), (OPEN, size // 2))
        }
        taken = interleaved(works, options.rounds(200))
    medians = {name: statistics.median(values) for name, values in taken.items()}
    return [
        Report(
            title=f"A page of {PAGE} messages, by how many the folder holds, milliseconds",
            columns=("", "p50", "p99"),
            rows=[
                (name, medians[name], percentile(values, 0.99)) for name, values in taken.items()
            ],
            targets=[
                Target(
                    f"{what}: the largest folder beside the smallest",
                    medians[f"{sizes[-1]:,}, {what}"] / medians[f"{sizes[0]:,}, {what}"],
                    MOST,
                    "x",
                )
                for what in (OPENED, OPEN)
            ],
        )
    ]


@contextmanager
def _folders(access: MailboxAccess, sizes: list[int]) -> Iterator[dict[int, str]]:
    """Folders of these sizes, for as long as the block lasts."""
    made: dict[int, str] = {}
    with ImapClient(replace(access, timeout=300.0)) as client:
        client.plain_login(access.email, access.password)
        try:
            for size in sizes:
                folder = f"bench-{size}-{uuid4().hex[:8]}"
                client.create_folder(folder)
                made[size] = folder
                for start in range(0, size, BATCH):
                    numbers = range(start, min(size, start + BATCH))
                    client.multiappend(folder, [MESSAGE % (n, n) for n in numbers])
            yield made
        finally:
            for folder in made.values():
                client.delete_folder(folder)
