"""How long to wait after failures."""

import random

FIRST_SECONDS = 2.0
LONGEST_SECONDS = 300.0


def delay(failures: int, first: float = FIRST_SECONDS, longest: float = LONGEST_SECONDS) -> float:
    """Seconds until the next try after so many failures in a row: exponential with jitter.

    The jitter is half of it, so that hosts that failed together do not return together.
    """
    ceiling: float = min(longest, first * 2.0 ** min(failures - 1, 16))
    return ceiling / 2 + random.uniform(0, ceiling / 2)  # noqa: S311 - not a secret
