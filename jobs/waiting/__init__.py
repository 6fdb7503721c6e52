"""Why is it waiting? Every reason that holds for an item, the most decisive first, with what it rests on.

Its parts: :mod:`~jobs.waiting.reasons` (pure: facts to reasons and sentences) under
:mod:`~jobs.waiting.explainer` (reads the facts; the same cost at every depth).
"""

from jobs.waiting.explainer import Explainer
from jobs.waiting.reasons import COUNTED_TO, Reason, RunningAttempt, Waiting

__all__ = ["COUNTED_TO", "Explainer", "Reason", "RunningAttempt", "Waiting"]
