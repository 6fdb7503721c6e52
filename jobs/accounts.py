"""Users, their sessions, one-time sign-in links and API keys.

Every secret is random, shown once, and kept only as its SHA-256; passwords are kept as Argon2id.
"""

from __future__ import annotations

import functools
import hmac
import secrets
import threading
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from jobs.database import Clock, reading
from jobs.errors import DocQueueError
from jobs.ids import new_id
from jobs.model import Role, User, UserId
from jobs.rows import to_user
from jobs.tables import api_keys, sessions, sign_in_links, users

SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 256
_KEY_PREFIX = "dq"

# How exactly the last use of a key is known.
KEY_USE_SECONDS = 60.0
# Made once: to build a statement anew costs more than to run it.
_KEY_HOLDER = (
    sa.select(users, api_keys.c.secret_sha256)
    .join(api_keys, api_keys.c.user_id == users.c.id)
    .where(api_keys.c.id == sa.bindparam("key_id"), api_keys.c.revoked_at.is_(None))
)

# Argon2 takes 64 MiB and a core for each check; more than two at once would be a way to stop the service.
_hashing = threading.BoundedSemaphore(2)


class AccountError(DocQueueError):
    """A name, password or key cannot be accepted; the message says why."""

    code = "account"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as its owner sees it later: without its secret."""

    id: str
    name: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


# Users.


def ensure_admin(engine: sa.Engine) -> User:
    """Return the first admin, made (without a password) when there is none."""
    statement = (
        sa.select(users).where(users.c.role == Role.ADMIN).order_by(users.c.created_at, users.c.id).limit(1)
    )
    with engine.begin() as connection:
        row = connection.execute(statement).one_or_none()
        if row is not None:
            return to_user(row)
    try:
        return create_user(engine, "admin", None, Role.ADMIN)
    except AccountError:
        # Another process of the same first start was faster.
        with reading(engine) as connection:
            return to_user(connection.execute(statement).one())


def create_user(engine: sa.Engine, name: str, password: str | None, role: Role) -> User:
    """Make a user.

    Args:
        engine: the database.
        name: 1 to 80 characters, unique whatever its case.
        password: at least 12 characters; ``None`` for one who signs in by link.
        role: member or admin.

    Raises:
        AccountError: the name is taken or unusable, or the password too short.
    """
    cleaned = name.strip().lower()
    if not 1 <= len(cleaned) <= 80 or not cleaned.isprintable():
        raise AccountError("A name has 1 to 80 printable characters.")
    hashed = None if password is None else _hash(password)
    row = {
        "id": new_id(),
        "name": cleaned,
        "role": role,
        "password_hash": hashed,
        "created_at": Clock(engine.dialect.name).now,
    }
    try:
        with engine.begin() as connection:
            return to_user(connection.execute(sa.insert(users).values(row).returning(*users.c)).one())
    except sa.exc.IntegrityError as error:
        raise AccountError(f"There is already a user named {cleaned!r}.") from error


def list_users(engine: sa.Engine) -> list[User]:
    """Return every user by name."""
    with reading(engine) as connection:
        return [to_user(row) for row in connection.execute(sa.select(users).order_by(users.c.name))]


def user_by_id(engine: sa.Engine, user_id: UserId) -> User | None:
    """Return a user, or ``None``."""
    with reading(engine) as connection:
        row = connection.execute(sa.select(users).where(users.c.id == user_id)).one_or_none()
    return None if row is None else to_user(row)


def user_by_name(engine: sa.Engine, name: str) -> User | None:
    """Return a user, or ``None``."""
    statement = sa.select(users).where(users.c.name == name.strip().lower())
    with reading(engine) as connection:
        row = connection.execute(statement).one_or_none()
    return None if row is None else to_user(row)


def check_password(engine: sa.Engine, name: str, password: str) -> User | None:
    """Return the user whose name and password these are, or ``None``.

    An unknown name costs as much time as a wrong password.
    """
    statement = sa.select(users).where(users.c.name == name.strip().lower())
    with reading(engine) as connection:
        row = connection.execute(statement).one_or_none()
    stored = None if row is None else row.password_hash
    with _hashing:
        try:
            _hasher().verify(stored or _decoy(), password[:LONGEST_PASSWORD])
        except (VerificationError, InvalidHashError):
            return None
    if row is None or stored is None:
        return None
    if _hasher().check_needs_rehash(stored):
        set_password(engine, UserId(row.id), password)
    return to_user(row)


def set_password(engine: sa.Engine, user_id: UserId, password: str) -> None:
    """Give a user a new password.

    Raises:
        AccountError: the password is too short or too long.
    """
    hashed = _hash(password)
    with engine.begin() as connection:
        connection.execute(sa.update(users).where(users.c.id == user_id).values(password_hash=hashed))


# One-time links.


def make_sign_in_link(engine: sa.Engine, user_name: str = "admin", *, hours: float = 24.0) -> str:
    """Make a token that signs a user in once.

    Args:
        engine: the database.
        user_name: whom; ``"admin"`` falls back to the first admin whatever the name.
        hours: how long it is good for.

    Raises:
        AccountError: there is no such user.
    """
    user = user_by_name(engine, user_name)
    if user is None and user_name == "admin":
        user = ensure_admin(engine)
    if user is None:
        raise AccountError(f"There is no user named {user_name!r}.")
    token = secrets.token_urlsafe(32)
    clock = Clock(engine.dialect.name)
    with engine.begin() as connection:
        connection.execute(sa.delete(sign_in_links).where(sign_in_links.c.expires_at < clock.now))
        connection.execute(
            sa.insert(sign_in_links).values(
                token_sha256=_digest(token), user_id=user.id, expires_at=clock.after(hours * 3600)
            )
        )
    return token


def redeem_sign_in_link(engine: sa.Engine, token: str) -> User | None:
    """Use a link up.

    Returns:
        Its user, or ``None`` when it is unknown, used or too old.
    """
    clock = Clock(engine.dialect.name)
    statement = (
        sa.update(sign_in_links)
        .where(
            sign_in_links.c.token_sha256 == _digest(token),
            sign_in_links.c.used_at.is_(None),
            sign_in_links.c.expires_at > clock.now,
        )
        .values(used_at=clock.now)
        .returning(sign_in_links.c.user_id)
    )
    with engine.begin() as connection:
        user_id = connection.execute(statement).scalar()
    return None if user_id is None else user_by_id(engine, UserId(user_id))


# Sessions.


def create_session(engine: sa.Engine, user_id: UserId, hours: float) -> str:
    """Begin a session.

    Args:
        engine: the database.
        user_id: whose.
        hours: how long it lasts.

    Returns:
        The token for the cookie; it is not kept.
    """
    token = secrets.token_urlsafe(32)
    clock = Clock(engine.dialect.name)
    with engine.begin() as connection:
        connection.execute(sa.delete(sessions).where(sessions.c.expires_at < clock.now))
        connection.execute(
            sa.insert(sessions).values(
                token_sha256=_digest(token),
                user_id=user_id,
                data={},
                created_at=clock.now,
                expires_at=clock.after(hours * 3600),
            )
        )
    return token


def session_user(engine: sa.Engine, token: str) -> User | None:
    """Return a session's user, or ``None`` when it is unknown, ended or expired."""
    clock = Clock(engine.dialect.name)
    statement = (
        sa.select(users)
        .join(sessions, sessions.c.user_id == users.c.id)
        .where(sessions.c.token_sha256 == _digest(token), sessions.c.expires_at > clock.now)
    )
    with reading(engine) as connection:
        row = connection.execute(statement).one_or_none()
    return None if row is None else to_user(row)


def end_session(engine: sa.Engine, token: str) -> None:
    """End a session."""
    with engine.begin() as connection:
        connection.execute(sa.delete(sessions).where(sessions.c.token_sha256 == _digest(token)))


def end_all_sessions(engine: sa.Engine, user_id: UserId) -> None:
    """End every session of a user."""
    with engine.begin() as connection:
        connection.execute(sa.delete(sessions).where(sessions.c.user_id == user_id))


# API keys.


def create_api_key(engine: sa.Engine, user_id: UserId, name: str) -> str:
    """Make an API key.

    Args:
        engine: the database.
        user_id: on whose behalf it acts.
        name: what it is for, 1 to 80 characters.

    Returns:
        ``dq_<id>_<secret>``, to be shown once; only the secret's hash is kept.

    Raises:
        AccountError: the name is empty or too long.
    """
    cleaned = name.strip()
    if not 1 <= len(cleaned) <= 80:
        raise AccountError("An API key's name has 1 to 80 characters.")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    with engine.begin() as connection:
        connection.execute(
            sa.insert(api_keys).values(
                id=key_id,
                user_id=user_id,
                name=cleaned,
                secret_sha256=_digest(secret),
                created_at=Clock(engine.dialect.name).now,
            )
        )
    return f"{_KEY_PREFIX}_{key_id}_{secret}"


def api_key_user(engine: sa.Engine, presented: str) -> User | None:
    """Return the user an API key acts for, or ``None`` when it is unknown or revoked."""
    key_id, secret = _parts_of_key(presented)
    if not secret:
        return None
    with reading(engine) as connection:
        row = connection.execute(_KEY_HOLDER, {"key_id": key_id}).one_or_none()
    if row is None or not hmac.compare_digest(row.secret_sha256, _digest(secret)):
        return None
    return to_user(row)


def note_api_key_use(engine: sa.Engine, presented: str) -> None:
    """Write down that a good key was used just now, unless that was done within the last minute."""
    clock = Clock(engine.dialect.name)
    statement = (
        sa.update(api_keys)
        .where(
            api_keys.c.id == _parts_of_key(presented)[0],
            sa.or_(
                api_keys.c.last_used_at.is_(None),
                api_keys.c.last_used_at < clock.after(-KEY_USE_SECONDS),
            ),
        )
        .values(last_used_at=clock.now)
    )
    with engine.begin() as connection:
        connection.execute(statement)


def _parts_of_key(presented: str) -> tuple[str, str]:
    """Return a key's id and secret; the secret is empty when it is no key of ours."""
    prefix, _, rest = presented.partition("_")
    key_id, _, secret = rest.partition("_")
    return key_id, secret if prefix == _KEY_PREFIX else ""


def list_api_keys(engine: sa.Engine, user_id: UserId) -> list[ApiKey]:
    """Return a user's keys, newest first."""
    statement = (
        sa.select(api_keys).where(api_keys.c.user_id == user_id).order_by(api_keys.c.created_at.desc())
    )
    with reading(engine) as connection:
        return [
            ApiKey(row.id, row.name, row.created_at, row.last_used_at, row.revoked_at)
            for row in connection.execute(statement)
        ]


def revoke_api_key(engine: sa.Engine, user_id: UserId, key_id: str) -> bool:
    """Revoke a key.

    Returns:
        Whether the user had such a key that was still good.
    """
    statement = (
        sa.update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.user_id == user_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=Clock(engine.dialect.name).now)
    )
    with engine.begin() as connection:
        return connection.execute(statement).rowcount == 1


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


@functools.cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()


@functools.cache
def _decoy() -> str:
    """A hash that no password is known for."""
    return _hasher().hash(secrets.token_urlsafe(32))


def _hash(password: str) -> str:
    if len(password) < SHORTEST_PASSWORD:
        raise AccountError(f"A password has at least {SHORTEST_PASSWORD} characters.")
    if len(password) > LONGEST_PASSWORD:
        raise AccountError(f"A password has at most {LONGEST_PASSWORD} characters.")
    with _hashing:
        return _hasher().hash(password)
