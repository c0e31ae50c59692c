"""The role, the grants and the policies of row-level security (see `database.row_security`).

`apply_policies` visits every table of the schema: a new table with a ``company_id`` gets its policy from the
next `schema.migrate`, and one without it is closed to the API. It changes only tables whose policy or grants
differ from those wanted, so that a running service does not wait for its locks.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from core.database.errors import INSUFFICIENT_PRIVILEGE, sqlstate
from core.database.row_security import ROLE, SETTING
from core.errors import DomainError

POLICY = "own_company"
OURS = f"nullif(current_setting('{SETTING}', true), '')::int"
ALL = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
# Records are append-only, and a tenant is created on the command line. Tables not named here get `ALL`.
GRANTS = {
    "company": frozenset({"SELECT", "UPDATE"}),
    "position": frozenset({"SELECT", "INSERT"}),
    "delivery_checkpoint": frozenset({"SELECT", "INSERT"}),
    "audit_entry": frozenset({"SELECT", "INSERT"}),
    "delivery_proof": frozenset({"SELECT", "INSERT"}),
    "proof_image": frozenset({"SELECT", "INSERT"}),
    "quarantine_count": frozenset({"SELECT"}),
}
_MADE_MEANWHILE = frozenset({"42710", "23505"})  # by a migration of another database in the cluster
_SET_OPTION_SINCE = 160_000

_OWNED = """
SELECT c.table_name, c.column_name FROM information_schema.columns c
JOIN pg_class t ON t.oid = format('%I.%I', c.table_schema, c.table_name)::regclass
WHERE c.table_schema = current_schema() AND t.relkind IN ('r', 'p') AND NOT t.relispartition
  AND (c.column_name = 'company_id' OR (c.table_name, c.column_name) = ('company', 'id'))
ORDER BY 1
"""
_HAS_POLICY = """
SELECT t.relrowsecurity AND EXISTS (
    SELECT FROM pg_policy p WHERE p.polrelid = t.oid AND p.polname = :policy
) FROM pg_class t WHERE t.oid = to_regclass(:table)
"""
_PRIVILEGES = """
SELECT a.privilege_type FROM pg_class t, aclexplode(t.relacl) a
WHERE t.oid = to_regclass(:table) AND a.grantee = to_regrole(:role)
"""


class RoleNeeded(DomainError):
    """The database user may not create the role or SET it; ``detail`` is the SQL for an administrator."""

    title = "Row-level security needs a role that this database user cannot make"


def apply_policies(connection: Connection) -> None:
    """Create the role, then the policy and grants of every tenant's table. Raises `RoleNeeded`."""
    _make_role(connection)
    _take_part(connection)
    _open_schema(connection)
    owned = connection.execute(text(_OWNED)).all()
    for table, column in owned:
        _add_policy(connection, table, column)
        _grant(connection, table)
    _grant(connection, "position")  # has no policy: it is read only joined to `vehicle`, which has one


def remove_policies(connection: Connection) -> None:
    """Drop all policies and grants."""
    # The role is kept: other databases of the cluster may use it.
    for table, _column in connection.execute(text(_OWNED)).all():
        _do(
            connection,
            f'DROP POLICY IF EXISTS {POLICY} ON "{table}"',
            f'ALTER TABLE "{table}" DISABLE ROW LEVEL SECURITY',
            f'REVOKE ALL ON "{table}" FROM {ROLE}',
        )
    _do(connection, f"REVOKE ALL ON position FROM {ROLE}")


def _add_policy(connection: Connection, table: str, column: str) -> None:
    if connection.scalar(text(_HAS_POLICY), {"table": f'"{table}"', "policy": POLICY}):
        return
    condition = f"({column} = {OURS})"
    _do(
        connection,
        f'DROP POLICY IF EXISTS {POLICY} ON "{table}"',
        f'CREATE POLICY {POLICY} ON "{table}" TO {ROLE} USING {condition} WITH CHECK {condition}',
        f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY',
    )


def _grant(connection: Connection, table: str) -> None:
    """Give the role the table's privileges in `GRANTS`, unless it has exactly those."""
    # The sequence of an identity column needs no privilege of its own.
    wanted = GRANTS.get(table, ALL)
    present = connection.scalars(text(_PRIVILEGES), {"table": f'"{table}"', "role": ROLE})
    if set(present) != wanted:
        _do(
            connection,
            f'REVOKE ALL ON "{table}" FROM {ROLE}',
            f'GRANT {", ".join(sorted(wanted))} ON "{table}" TO {ROLE}',
        )


def _make_role(connection: Connection) -> None:
    """Create the role unless it exists."""
    # Roles belong to the whole cluster, so the migration of another database may have created it.
    if connection.scalar(text("SELECT to_regrole(:role) IS NULL"), {"role": ROLE}):
        _try(connection, f"CREATE ROLE {ROLE} NOLOGIN", harmless=_MADE_MEANWHILE)


def _take_part(connection: Connection) -> None:
    """Make the database user a member of the role, so that it can SET ROLE."""
    # Since PostgreSQL 16 a membership needs the SET option, and the creator of a role does not have it.
    version = connection.scalar(text("SELECT current_setting('server_version_num')::int")) or 0
    has_set_option = version >= _SET_OPTION_SINCE
    right = "SET" if has_set_option else "MEMBER"
    if connection.scalar(text("SELECT pg_has_role(:role, :right)"), {"role": ROLE, "right": right}):
        return
    options = " WITH INHERIT FALSE, SET TRUE" if has_set_option else ""
    _try(connection, f"GRANT {ROLE} TO CURRENT_USER{options}")


def _open_schema(connection: Connection) -> None:
    """Grant USAGE on the schema and TEMPORARY on the database where the role lacks them."""
    # PUBLIC has both by default; an administrator may have revoked them.
    schema, database, may_use, may_create_temporary = connection.execute(
        text(
            "SELECT quote_ident(current_schema()), quote_ident(current_database()),"
            " has_schema_privilege(:role, current_schema(), 'USAGE'),"
            " has_database_privilege(:role, current_database(), 'TEMPORARY')"
        ),
        {"role": ROLE},
    ).one()
    if not may_use:
        _try(connection, f"GRANT USAGE ON SCHEMA {schema} TO {ROLE}")
    if not may_create_temporary:
        _try(connection, f"GRANT TEMPORARY ON DATABASE {database} TO {ROLE}")


def _try(connection: Connection, statement: str, harmless: Iterable[str] = ()) -> None:
    """Run a statement that may need an administrator. Raises `RoleNeeded` if it is not permitted."""
    try:
        with connection.begin_nested():
            connection.execute(text(statement))
    except DBAPIError as error:
        code = sqlstate(error)
        if code == INSUFFICIENT_PRIVILEGE:
            raise RoleNeeded(_for_administrators(connection, statement)) from None
        if code not in harmless:
            raise


def _for_administrators(connection: Connection, refused: str) -> str:
    user = connection.scalar(text("SELECT quote_ident(current_user)"))
    statements = [refused.replace("CURRENT_USER", str(user))]
    if refused.startswith("CREATE ROLE"):
        statements.append(f"GRANT {ROLE} TO {user}")
    return f"let a superuser of the database run: {'; '.join(statements)};"


def _do(connection: Connection, *statements: str) -> None:
    """Run the statements one by one."""
    # They contain only table and column names of the catalogue and text of this module, so no injection.
    for statement in statements:
        connection.execute(text(statement))
