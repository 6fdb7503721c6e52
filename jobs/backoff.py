"""How long to wait before the next attempt; pure."""

from __future__ import annotations


def ceiling_seconds(failures: int, *, base: float, cap: float) -> float:
    """Return the longest wait after a number of failures.

    Args:
        failures: failures so far, 1 or more.
        base: seconds after the first failure, above 0.
        cap: no wait is longer than this many seconds.

    Returns:
        ``min(cap, base * 2 ** (failures - 1))`` seconds.
    """
    # 2**64 seconds is beyond any cap; the bound keeps the power from overflowing.
    exponent = min(max(failures - 1, 0), 64)
    return min(cap, base * 2.0**exponent)


def full_jitter(failures: int, fraction: float, *, base: float, cap: float) -> float:
    """Return a wait drawn evenly between zero and the ceiling.

    Args:
        failures: failures so far, 1 or more.
        fraction: a random number in [0, 1), drawn by the caller.
        base: seconds after the first failure.
        cap: no wait is longer than this many seconds.

    Returns:
        Seconds to wait, at least 0.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (the "full jitter" variant).
    """
    return fraction * ceiling_seconds(failures, base=base, cap=cap)
