"""The fixtures of the web's tests, for every module here that asks for them."""

from tests.support.web import admin, app, key_headers, member, program, stranger

__all__ = ["admin", "app", "key_headers", "member", "program", "stranger"]
