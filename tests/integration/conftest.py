"""The fixtures of the web's and the command's tests, for every module here that asks for them."""

from tests.support.command import docqueue, started_docqueue
from tests.support.web import admin, app, key_headers, member, program, stranger

__all__ = ["admin", "app", "docqueue", "key_headers", "member", "program", "started_docqueue", "stranger"]
