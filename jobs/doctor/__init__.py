"""Looks the whole service over, changes nothing, and says what is wrong and what to do about it.

Its parts: :mod:`~jobs.doctor.report` (what a look finds), and the looks themselves:
:mod:`~jobs.doctor.ledger` (every item is somewhere), :mod:`~jobs.doctor.flow` (what should move does),
:mod:`~jobs.doctor.storage` (bytes and disk), :mod:`~jobs.doctor.servers` (database and Redis);
:mod:`~jobs.doctor.examination` puts them in order.
"""

from jobs.doctor.examination import examine
from jobs.doctor.report import Finding, Level, Report

__all__ = ["Finding", "Level", "Report", "examine"]
