"""What all benchmarks are told."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """``quick`` takes few samples: it shows that all works, not how fast it is."""

    quick: bool
    profile: bool

    def rounds(self, full: int) -> int:
        """How many samples to take where a whole run takes ``full``."""
        return max(3, full // 10) if self.quick else full
