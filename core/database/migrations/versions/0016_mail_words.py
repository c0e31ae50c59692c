"""e-mails that failed for a fault of ours are tried again; our words for an agreed window are replaced

Only values change. The version before can send both: what it does not know, ``delivery.window``, is empty.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

BEFORE = (
    "{% if delivery.window_end %}"
    "Agreed: {{ delivery.window_start | datetime }} to {{ delivery.window_end | datetime }}\n"
    "{% endif %}"
)
NOW = "{% if delivery.window %}Agreed: {{ delivery.window }}\n{% endif %}"
# A window with one end read "Agreed:  to …" in the templates that tenants began from ours.
REPLACE = sa.text(
    "UPDATE notification_template SET text = replace(text, :before, :now) WHERE position(:before IN text) > 0"
)
# The day a notification is worth telling bounds what is read, by the BRIN index on ``created_at``.
TRY_AGAIN = sa.text(
    "UPDATE notification SET state = 'queued', finished_at = NULL, next_attempt_at = now()"
    " WHERE state = 'failed' AND webhook_id IS NULL AND recipient IS NOT NULL AND expires_at > now()"
    " AND created_at > now() - interval '2 days' AND error LIKE 'the e-mail cannot be written: %'"
)


def upgrade() -> None:
    op.get_bind().execute(REPLACE, {"before": BEFORE, "now": NOW})
    op.get_bind().execute(TRY_AGAIN)


def downgrade() -> None:
    op.get_bind().execute(REPLACE, {"before": NOW, "now": BEFORE})
