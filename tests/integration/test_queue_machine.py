"""A Hypothesis state machine over the real service: claims, crashes, zombies, people, in any order.

The model knows which token is the right one; every call with any other token must change nothing.
The same machine over a service without the fence must fail: that shows that it bites.
"""

from __future__ import annotations

import os

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from jobs.database import Clock
from jobs.errors import AlreadyQueued, IllegalTransition, LeaseLost
from jobs.ids import new_id
from jobs.model import (
    Artifact,
    CancelAcknowledged,
    Completed,
    Crashed,
    Failed,
    Released,
    Snoozed,
    Status,
)
from jobs.queue_service import DocumentQueueService
from jobs.tables import attempts, events, queue_items, results
from tests.support.items import add_document, expire_lease, make_due


class WithoutFence(DocumentQueueService):
    """What most queues do: guard by id and state, not by attempt."""

    def _token(self, lease):
        return (queue_items.c.id == lease.item.id, queue_items.c.status == Status.IN_PROGRESS)


def machine_for(service, engine, settings):
    class QueueMachine(RuleBasedStateMachine):
        items = Bundle("items")
        leases = Bundle("leases")

        def __init__(self):
            super().__init__()
            with engine.begin() as connection:
                for table in (results, attempts, events, queue_items):
                    connection.execute(sa.delete(table))
            self.holder = {}
            self.attempt = {}
            self.accepted = 0
            self.accepted_before = service.get_queue_stats()["accepted"]
            self.purged_before = service.get_queue_stats()["purged"]
            service.resume_queue("documents", "anna")
            self.paused = False

        def status(self, item_id):
            with engine.connect() as connection:
                return connection.execute(
                    sa.select(queue_items.c.status).where(queue_items.c.id == item_id)
                ).scalar()

        @rule(target=items)
        def enqueue(self):
            item = service.enqueue(add_document(engine, settings))
            self.accepted += 1
            self.holder[item.id] = None
            self.attempt[item.id] = 0
            return item

        @rule(target=leases, item=items)
        def claim(self, item):
            return self.claim_due(item)

        def claim_due(self, item):
            make_due(engine, item.id)
            expected = self.status(item.id) == Status.PENDING and not self.paused
            lease = service.claim(item.id, f"worker-{new_id()}")
            assert (lease is not None) == expected
            return self.take(lease)

        @rule(target=leases)
        def claim_the_best(self):
            # Whatever its backoff: the machine must not depend on how fast it runs.
            with engine.begin() as connection:
                connection.execute(sa.update(queue_items).values(due_at=Clock(engine.dialect.name).after(-1)))
            service.stage_due()
            line = [] if self.paused else service.get_pending_items(1000)
            lease = service.claim_next("documents", f"worker-{new_id()}")
            assert (lease is not None) == bool(line)
            if lease is not None:
                assert lease.item.id in {one.id for one in line}
            return self.take(lease)

        def take(self, lease):
            if lease is None:
                return multiple()
            assert lease.attempt == self.attempt[lease.item.id] + 1, "attempt numbers only grow"
            assert self.holder[lease.item.id] is None, "two leases at once"
            self.attempt[lease.item.id] = lease.attempt
            self.holder[lease.item.id] = lease
            return lease

        @rule(lease=leases, progress=st.floats(0, 1))
        def renew(self, lease, progress):
            self.with_token(
                lease, lambda: service.renew(lease, stage="extract", progress=progress), ends=False
            )

        @rule(lease=leases)
        def checkpoint(self, lease):
            artifact = Artifact(
                id=new_id(), stage="extract", cache_key="k" * 64, engine="e", engine_version="1",
                body={"by": lease.lease_id}, meta={}, created_at=None,
            )  # fmt: skip
            self.with_token(
                lease, lambda: service.checkpoint(lease, "extract", artifact, reused=False), ends=False
            )

        @rule(
            lease=leases,
            outcome=st.sampled_from(
                [
                    Completed(),
                    Failed("x", "x", permanent=False),
                    Failed("x", "x", permanent=True),
                    Snoozed(1, "x"),
                    Released("x"),
                    CancelAcknowledged(),
                    Crashed("x"),
                ]
            ),
        )
        def settle(self, lease, outcome):
            self.with_token(lease, lambda: service.settle(lease, outcome), ends=True)

        def with_token(self, lease, call, *, ends):
            item_id = lease.item.id
            valid = self.holder.get(item_id) is lease
            before = self.footprint(item_id)
            try:
                call()
            except LeaseLost:
                assert not valid, "the right token was refused"
                assert self.footprint(item_id) == before, "a refused call changed something"
                return
            except Exception:  # noqa: BLE001
                # A settle repeated after the item was cleared finds nothing; it must change nothing either.
                assert not valid
                assert self.footprint(item_id) == before
                return
            if not valid:
                # Only a settle that had already landed with this very token may be answered again.
                assert ends
                assert self.footprint(item_id) == before, "a stale call changed something"
            elif ends:
                self.holder[item_id] = None

        def footprint(self, item_id):
            with engine.connect() as connection:
                return [
                    connection.execute(
                        sa.select(table)
                        .where((table.c.id if table is queue_items else table.c.item_id) == item_id)
                        .order_by(*table.primary_key.columns)
                    ).all()
                    for table in (queue_items, attempts, results, events)
                ]

        @rule(item=items)
        def worker_dies_and_the_sweep_rescues(self, item):
            held = self.holder.get(item.id)
            expire_lease(engine, item.id)
            service.mark_suspects()
            expire_lease(engine, item.id)
            rescued = service.rescue()
            assert [one.id for one in rescued] == ([item.id] if held is not None else [])
            if held is not None:
                assert rescued[0].status in {Status.PENDING, Status.FAILED, Status.CANCELLED}
                self.holder[item.id] = None

        @rule(item=items)
        def sweep_without_a_death(self, item):
            service.mark_suspects()
            assert service.rescue() == []

        @rule(seconds=st.sampled_from([-86_400.0, -100.0, 100.0, 86_400.0]))
        def clock_jumps_and_live_workers_renew(self, seconds):
            with engine.begin() as connection:
                connection.execute(
                    sa.update(queue_items)
                    .where(queue_items.c.status == Status.IN_PROGRESS)
                    .values(lease_expires_at=queue_items.c.lease_expires_at - seconds)
                )
            service.mark_suspects()
            assert service.rescue() == [], "rescued in one phase"
            for lease in self.holder.values():
                if lease is not None:
                    service.renew(lease)
            with engine.begin() as connection:
                connection.execute(
                    sa.update(queue_items).values(suspect_at=queue_items.c.suspect_at - abs(seconds))
                )
            assert service.rescue() == [], "a live lease was taken"

        @rule(item=items)
        def horse_dies(self, item):
            held = self.holder.get(item.id)
            taken = [] if held is None else service.report_horse_death(held.worker, "signal 9")
            assert len(taken) == (held is not None)
            self.holder[item.id] = None

        @rule(target=leases, lease=leases)
        def another_takes_over(self, lease):
            """The holder is taken for dead and somebody else claims: from now on the holder is a zombie."""
            if self.holder.get(lease.item.id) is not lease:
                return multiple()
            service.report_horse_death(lease.worker, "signal 9")
            self.holder[lease.item.id] = None
            return self.claim_due(lease.item)

        @rule(item=items, priority=st.integers(-100, 100))
        def change_priority(self, item, priority):
            before = self.status(item.id)
            if before is None:
                return
            try:
                service.change_priority(item.id, priority, "anna")
            except IllegalTransition:
                assert before != Status.PENDING
            else:
                assert before == Status.PENDING

        @rule(paused=st.booleans())
        def pause_or_resume(self, paused):
            if paused:
                service.pause_queue("documents", "anna", "x")
            else:
                service.resume_queue("documents", "anna")
            self.paused = paused

        @rule(item=items)
        def prune(self, item):
            before = self.status(item.id)
            with engine.begin() as connection:
                gone = service.purge_in(connection, [item.id])
            assert gone == (before in {Status.COMPLETED, Status.FAILED, Status.CANCELLED})

        @rule()
        def sweep(self):
            service.stage_due()
            service.fold_counts()

        @rule(item=items)
        def cancel(self, item):
            before = self.status(item.id)
            if before is None:
                return
            try:
                service.cancel(item.id, "anna")
            except IllegalTransition:
                assert before not in {Status.PENDING, Status.IN_PROGRESS}

        @rule(item=items)
        def retry(self, item):
            before = self.status(item.id)
            if before is None:
                return
            try:
                service.retry(item.id, "anna")
            except (IllegalTransition, AlreadyQueued):
                assert before not in {Status.FAILED, Status.CANCELLED}

        @rule()
        def clear(self):
            service.clear_ended(0, "anna")

        @invariant()
        def a_lease_exists_exactly_where_the_model_says(self):
            with engine.connect() as connection:
                held = {
                    row.id: row.lease_id
                    for row in connection.execute(
                        sa.select(queue_items.c.id, queue_items.c.lease_id).where(
                            queue_items.c.lease_id.is_not(None)
                        )
                    )
                }
            assert held == {
                item_id: lease.lease_id for item_id, lease in self.holder.items() if lease is not None
            }

        @invariant()
        def every_accepted_item_is_somewhere(self):
            stats = service.get_queue_stats()
            with engine.connect() as connection:
                real = dict(
                    connection.execute(
                        sa.select(queue_items.c.status, sa.func.count()).group_by(queue_items.c.status)
                    ).all()
                )
            assert {status.value: stats[status] for status in Status if stats[status]} == real
            assert stats["accepted"] - self.accepted_before == self.accepted
            assert self.accepted == stats["total"] + stats["purged"] - self.purged_before

        @invariant()
        def an_item_completes_at_most_once(self):
            with engine.connect() as connection:
                twice = connection.execute(
                    sa.select(events.c.item_id)
                    .where(events.c.kind == "completed")
                    .group_by(events.c.item_id)
                    .having(sa.func.count() > 1)
                ).all()
            assert twice == []

    return QueueMachine


def run(service, engine, settings, examples, phases=tuple(Phase), without=()):
    machine = machine_for(service, engine, settings)
    run_state_machine_as_test(
        type("Machine", (machine,), dict.fromkeys(without)),
        settings=hypothesis_settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
            derandomize="MACHINE_EXAMPLES" not in os.environ,
            database=None,
        ),
    )


class Dice:
    """The same jitter always: a machine that is to be repeated must not be lucky."""

    def random(self):
        return 0.5


def test_the_queue_holds_its_invariants_in_any_order(engine, settings):
    service = DocumentQueueService(engine, settings, Dice())
    run(service, engine, settings, examples=int(os.environ.get("MACHINE_EXAMPLES", "30")))


def test_the_machine_bites_when_the_fence_is_gone(engine, settings):
    # Without the steps that have nothing to do with it, a zombie's word comes soon.
    beside = (
        "change_priority", "pause_or_resume", "prune", "sweep", "cancel", "retry", "clear", "claim_the_best",
        "sweep_without_a_death", "clock_jumps_and_live_workers_renew",
    )  # fmt: skip
    with pytest.raises(AssertionError):
        run(
            WithoutFence(engine, settings, Dice()), engine, settings,
            examples=1000, phases=(Phase.generate,), without=beside,
        )  # fmt: skip
