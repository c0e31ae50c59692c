"""Prepared statements for the busiest requests: compiled once by SQLAlchemy, run on the psycopg2 cursor.

SQLAlchemy spends more time on a small query than PostgreSQL does. Tenant isolation stays in one place: the
conditions come from `core.access.actors.visible_deliveries`. Rows are plain tuples, with enums as their text.
"""

import itertools
import re
from collections.abc import MutableMapping
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.orm import Session

from core.database.engine import driver_cursor

_FIELD = re.compile(r"%(?:\((\w+)\))?s")
_PREPARED: MutableMapping[Any, set[str]] = WeakKeyDictionary()  # names, by connection
Rows = list[tuple[Any, ...]]


class Named:
    """SQL with ``%(name)s`` or ``%s`` placeholders, prepared once per connection.

    Planning such a query costs more than running it. A session-pooling proxy before the server is fine; one
    that changes servers within a session (transaction pooling) is not.
    """

    def __init__(self, name: str, sql: str) -> None:
        self.name = name
        self.source = sql
        self.fields = _FIELD.findall(sql)  # "" for a field without a name
        numbers = {field: number for number, field in enumerate(dict.fromkeys(self.fields), 1) if field}
        places = itertools.count(1)
        self._sql = _FIELD.sub(lambda match: f"${numbers.get(match[1]) or next(places)}", sql)
        arguments = [f"%({field})s" for field in numbers] or ["%s"] * len(self.fields)
        self._call = f"EXECUTE {name} ({', '.join(arguments)})"

    def call(self, cursor: Any, values: Any) -> str:
        """Return the SQL of one execution, which can be sent together with other statements."""
        known = _PREPARED.setdefault(cursor.connection, set())
        if self.name not in known:
            cursor.execute(f"PREPARE {self.name} AS {self._sql}")
            known.add(self.name)
        text: str = cursor.mogrify(self._call, values).decode()
        return text


class Prepared:
    """A SQLAlchemy statement that is compiled at its first run; parameters are passed by name."""

    def __init__(self, name: str, statement: Executable) -> None:
        self._name = name
        self._statement = statement

    @cached_property
    def named(self) -> Named:
        compiled = self._statement.compile(dialect=PGDialect_psycopg2())  # type: ignore[attr-defined, no-untyped-call]
        return Named(self._name, str(compiled))

    def run(self, session: Session, **values: Any) -> Rows:
        with driver_cursor(session.connection()) as cursor:
            cursor.execute(self.named.call(cursor, values))
            rows: Rows = cursor.fetchall()
            return rows
