"""Alembic migrations; :func:`jobs.database.upgrade` runs them."""
