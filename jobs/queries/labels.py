"""What people are shown of an item, in SQL: the stored twin of :func:`jobs.states.label`.

Pending items are told apart by the stored ``deferred``, not by whether they are due now: that is what an
index can hold. The sweep clears it within seconds of the due time, so that for those seconds a row may
stand in the list of the retrying while its own pill already says waiting.
"""

from __future__ import annotations

import sqlalchemy as sa

from jobs.claims import is_running, looked_up
from jobs.model import Label, Status
from jobs.paging import Order, newest_first, soonest_first
from jobs.queries.base import Scope
from jobs.tables import documents, queue_items

PENDING = sa.literal_column(f"'{Status.PENDING.value}'", sa.String())
COUNTED_TO = 1_000
"""Rows are counted up to here; one more stands for all that follow."""

_DUE_LATER = frozenset({Label.SCHEDULED, Label.RETRYING})


def shown_as(label: Label, mine: Scope, dialect: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions that leave documents' newest items of one label.

    Args:
        label: the label.
        mine: whose items.
        dialect: of the database.
    """
    if label is Label.RUNNING:
        return (*mine.where, is_running(dialect), ~queue_items.c.superseded)
    if label is Label.WAITING:
        return (*mine.where, *in_segment("open"), ~queue_items.c.superseded, queue_items.c.status == PENDING)
    later = (queue_items.c.deferred,) if label in _DUE_LATER else ()
    return (*mine.where, *in_segment(label.value), ~queue_items.c.superseded, *later)


def in_segment(name: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition that leaves one segment, as the indexes have it: nothing in it is a parameter."""
    return (queue_items.c.segment == sa.literal_column(f"'{name}'", sa.String()),)


def list_order(label: Label, mine: Scope) -> Order:
    """Return the order of a label's list: newest first, but soonest first what is due later."""
    order = soonest_first if label in _DUE_LATER else newest_first
    return order(queue_items, mine.within)


def counts(documents_of: Scope, items_of: Scope, dialect: str) -> sa.Select[*tuple[int, ...]]:
    """Return the statement that counts documents, each label up to :data:`COUNTED_TO` + 1.

    Args:
        documents_of: whose documents.
        items_of: whose items; the same owner's.
        dialect: of the database.

    Returns:
        Selects one row: ``all``, then a column for each label.
    """
    # In the order of an index, so that it is walked as far as is counted, not gathered whole.
    order = newest_first(documents, documents_of.within).by()
    parts = {"all": sa.select(documents.c.id).where(*documents_of.where).order_by(*order)}
    for label in Label:
        order = list_order(label, items_of).by()
        part = sa.select(queue_items.c.id).where(*shown_as(label, items_of, dialect)).order_by(*order)
        parts[label.value] = looked_up(part) if label is Label.RUNNING else part
    return sa.select(
        *(
            sa.select(sa.func.count())
            .select_from(part.limit(COUNTED_TO + 1).subquery())
            .scalar_subquery()
            .label(name)
            for name, part in parts.items()
        )
    )
