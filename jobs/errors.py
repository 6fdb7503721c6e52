"""Every error this program raises on purpose.

The tree::

    DocQueueError
    ├── IntakeError            the caller's fault; nothing was stored
    │   ├── EmptyUpload
    │   ├── UploadTooLarge
    │   ├── UnsupportedOperation
    │   ├── UnknownQueue
    │   ├── DuplicateDocument
    │   ├── KeyInFlight        the Idempotency-Key's first request is still being answered
    │   ├── KeyReused          the Idempotency-Key was used for another request
    │   ├── InvalidBulk
    │   └── StorageFull        not the caller's fault, yet nothing was stored either
    ├── StateError             the row is not in the state the call needs
    │   ├── DocumentNotFound
    │   ├── ItemNotFound
    │   ├── LeaseLost
    │   ├── IllegalTransition
    │   └── AlreadyQueued
    ├── ProcessingError        what a stage may raise; decides between retry and failure
    │   ├── Transient          try again after a backoff, or after ``retry_after``
    │   │   └── Throttled      asked to wait: put back without counting
    │   ├── Permanent          trying again cannot help
    │   └── Cancelled          the person who waits asked to stop
    ├── DeliveryError          Redis did not take the message; the sweep rings later
    └── ConfigurationError     a setting is wrong; the message says which and what to do

``public_message`` is shown to people; the traceback goes to the attempt row only.
"""

from __future__ import annotations


class DocQueueError(Exception):
    """Root of the tree.

    Args:
        public_message: one sentence a person understands, without internals.
    """

    code = "error"
    retryable = False

    def __init__(self, public_message: str) -> None:
        super().__init__(public_message)
        self.public_message = public_message


class IntakeError(DocQueueError):
    """The upload was refused and nothing was stored."""

    code = "refused"


class EmptyUpload(IntakeError):
    """The file has no bytes, or the request has no file."""

    code = "empty_upload"


class UploadTooLarge(IntakeError):
    """The file is larger than ``MAX_UPLOAD_BYTES``."""

    code = "too_large"


class UnsupportedOperation(IntakeError):
    """The operation's name is not registered."""

    code = "unsupported_operation"


class UnknownQueue(IntakeError):
    """No queue of this name is set up."""

    code = "unknown_queue"


class DuplicateDocument(IntakeError):
    """The owner already has a document with these bytes, and asked to be told.

    Args:
        public_message: one sentence for people.
        document_id: the document that has them.
    """

    code = "duplicate"

    def __init__(self, public_message: str, document_id: str) -> None:
        super().__init__(public_message)
        self.document_id = document_id


class KeyInFlight(IntakeError):
    """The first request with this Idempotency-Key is still being answered."""

    code = "idempotency_key_in_flight"
    retryable = True


class KeyReused(IntakeError):
    """This Idempotency-Key was used for a request that said something else."""

    code = "idempotency_key_reused"


class InvalidBulk(IntakeError):
    """A bulk operation's filter or arguments cannot be meant."""

    code = "invalid_bulk"


class StorageFull(IntakeError):
    """The data folder cannot take the bytes."""

    code = "storage_full"
    retryable = True


class StateError(DocQueueError):
    """The row is gone or not in the state that the call needs."""

    code = "state"


class DocumentNotFound(StateError):
    """There is no such document, or it belongs to somebody else."""

    code = "document_not_found"


class ItemNotFound(StateError):
    """There is no such queue item, or it belongs to somebody else."""

    code = "item_not_found"


class LeaseLost(StateError):
    """A settle or renewal changed no row: another attempt holds the item now."""

    code = "lease_lost"


class IllegalTransition(StateError):
    """The state machine has no such step from the item's present state."""

    code = "illegal_transition"


class AlreadyQueued(StateError):
    """The document already has an open item for this operation.

    Args:
        public_message: one sentence for people.
        item_id: the open item's id.
    """

    code = "already_queued"

    def __init__(self, public_message: str, item_id: str) -> None:
        super().__init__(public_message)
        self.item_id = item_id


class ProcessingError(DocQueueError):
    """What a stage raises to say how its attempt ended.

    Args:
        public_message: one sentence for the person who waits.
        code: a short machine-readable cause, snake_case; the class's own when ``None``.
    """

    code = "processing"

    def __init__(self, public_message: str, *, code: str | None = None) -> None:
        super().__init__(public_message)
        if code is not None:
            self.code = code


class Transient(ProcessingError):
    """Another try may succeed.

    Args:
        public_message: one sentence for the person who waits.
        code: a short machine-readable cause, snake_case.
        retry_after: seconds that the other side asked us to wait, or ``None``.
    """

    code = "transient"
    retryable = True

    def __init__(
        self,
        public_message: str,
        *,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(public_message, code=code)
        self.retry_after = retry_after


class Throttled(Transient):
    """Something outside is too busy for us: the item goes back uncounted.

    Args:
        public_message: one sentence for the person who waits.
        key: what is busy, e.g. ``"model"``; items that need it wait as well. ``None`` when only this one.
        retry_after: seconds to wait, or ``None`` when nobody said.
    """

    code = "throttled"

    def __init__(self, public_message: str, *, key: str | None, retry_after: float | None) -> None:
        super().__init__(public_message, retry_after=retry_after)
        self.key = key


class Permanent(ProcessingError):
    """Another try would end the same way."""

    code = "permanent"


class Cancelled(ProcessingError):
    """A person asked to stop; the attempt ends without a failure."""

    code = "cancelled"


class DeliveryError(DocQueueError):
    """Redis did not take the message."""

    code = "delivery"
    retryable = True


class ConfigurationError(DocQueueError):
    """A setting is wrong; the message names it and says what to do."""

    code = "configuration"
