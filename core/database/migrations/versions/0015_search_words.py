"""deliveries' search words, made by us; those of present rows are made by a job

The generated column ``search`` stays, for the version before.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# As `core.models.base` had it when this was written.
OUTDATED = (
    "search_words_of IS DISTINCT FROM"
    " hashtextextended(reference || chr(10) || pickup_address || chr(10) || dropoff_address, 1)"
)
INDEXES = {
    "ix_delivery_search_words": "USING gin (search_words)",
    "ix_delivery_words_outdated": f"(company_id, search_words_of) WHERE {OUTDATED}",
}


def upgrade() -> None:
    with _writers_go_on() as concurrently:
        # Done again after a crash half-way: what is there may be unfinished.
        op.execute("ALTER TABLE delivery ADD COLUMN IF NOT EXISTS search_words tsvector")
        op.execute("ALTER TABLE delivery ADD COLUMN IF NOT EXISTS search_words_of bigint")
        for name, definition in INDEXES.items():
            op.execute(f"DROP INDEX IF EXISTS {name}")
            op.execute(f"CREATE INDEX {concurrently} {name} ON delivery {definition}")


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, table_name="delivery")
    op.drop_column("delivery", "search_words_of")
    op.drop_column("delivery", "search_words")


@contextmanager
def _writers_go_on() -> Iterator[str]:
    """A restore works in one transaction, alone on its tables: there it is a plain CREATE INDEX."""
    context = op.get_context()
    if context.config is not None and context.config.attributes.get("connection") is not None:
        yield ""
        return
    with context.autocommit_block():
        yield "CONCURRENTLY"
