"""Users, links, sessions and keys on both databases."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from jobs import accounts
from jobs.model import Role
from jobs.tables import api_keys, sessions, sign_in_links, users


def test_the_first_admin_is_made_once(engine):
    assert accounts.ensure_admin(engine) == accounts.ensure_admin(engine)
    assert [user.name for user in accounts.list_users(engine)] == ["admin"]


def test_a_link_signs_in_exactly_once(engine):
    token = accounts.make_sign_in_link(engine)
    assert accounts.redeem_sign_in_link(engine, token).is_admin
    assert accounts.redeem_sign_in_link(engine, token) is None
    assert accounts.redeem_sign_in_link(engine, "guess") is None


def test_an_expired_link_is_refused(engine):
    assert accounts.redeem_sign_in_link(engine, accounts.make_sign_in_link(engine, hours=-1)) is None


def test_passwords(engine):
    user = accounts.create_user(engine, "Anna", "correct horse battery", Role.MEMBER)
    assert accounts.check_password(engine, "ANNA", "correct horse battery") == user
    assert accounts.check_password(engine, "anna", "wrong") is None
    assert accounts.check_password(engine, "nobody", "correct horse battery") is None
    accounts.ensure_admin(engine)
    assert accounts.check_password(engine, "admin", "") is None
    with pytest.raises(accounts.AccountError, match="already"):
        accounts.create_user(engine, " anna ", None, Role.MEMBER)
    with pytest.raises(accounts.AccountError, match="12"):
        accounts.set_password(engine, user.id, "short")


def test_a_session_can_be_revoked(engine):
    user = accounts.ensure_admin(engine)
    first, second, third = (accounts.create_session(engine, user.id, 1) for _ in range(3))
    assert accounts.session_user(engine, first) == user
    accounts.end_session(engine, first)
    assert accounts.session_user(engine, first) is None
    accounts.end_all_sessions(engine, user.id)
    assert accounts.session_user(engine, second) is accounts.session_user(engine, third) is None
    assert accounts.session_user(engine, accounts.create_session(engine, user.id, -1)) is None


def test_a_key_works_until_it_is_revoked(engine):
    user = accounts.ensure_admin(engine)
    other = accounts.create_user(engine, "ben", None, Role.MEMBER)
    key = accounts.create_api_key(engine, user.id, "crm")
    assert accounts.api_key_user(engine, key) == user
    assert accounts.api_key_user(engine, key[:-1]) is None
    assert accounts.api_key_user(engine, "dq_x_y") is None
    (listed,) = accounts.list_api_keys(engine, user.id)
    assert listed.last_used_at is None
    accounts.note_api_key_use(engine, key)
    (noted,) = accounts.list_api_keys(engine, user.id)
    assert noted.last_used_at is not None
    accounts.note_api_key_use(engine, key)
    assert accounts.list_api_keys(engine, user.id) == [noted]
    assert accounts.revoke_api_key(engine, other.id, listed.id) is False
    assert accounts.revoke_api_key(engine, user.id, listed.id) is True
    assert accounts.api_key_user(engine, key) is None


def test_no_secret_is_stored(engine):
    user = accounts.create_user(engine, "anna", "correct horse battery", Role.ADMIN)
    secrets = [
        accounts.create_session(engine, user.id, 1),
        accounts.make_sign_in_link(engine, "anna"),
        accounts.create_api_key(engine, user.id, "x").rsplit("_", 1)[1],
        "correct horse battery",
    ]
    with engine.connect() as connection:
        stored = "".join(
            str(connection.execute(sa.select(table)).all())
            for table in (users, sessions, sign_in_links, api_keys)
        )
    assert not any(secret in stored for secret in secrets)
