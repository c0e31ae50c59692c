"""Fill in search words of deliveries that lack them: rows of 0.1.0, of a restore, or of manual SQL.

`Delivery.search_words_of` is a hash of the texts that the words were made from. A partial index
(`WORDS_OUTDATED`) holds exactly the rows whose hash differs, whatever wrote them; the list finds those
through `Delivery.search` until this job has made their words.
"""

from datetime import datetime

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from core.models.delivery import SEARCHED, WORDS_OUTDATED, words_hash
from core.rules.text import search_words

BATCH = 500
# Only the partial index has this order. PostgreSQL cannot estimate how few such rows there are, and would
# otherwise scan the table.
_OUTDATED = f"""
SELECT id, company_id, {", ".join(SEARCHED)} FROM delivery WHERE {WORDS_OUTDATED}
ORDER BY company_id, search_words_of LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
"""  # noqa: S608  # our constants
_ANY_OUTDATED = f"""
SELECT id FROM delivery WHERE company_id = :company_id AND {WORDS_OUTDATED} ORDER BY search_words_of LIMIT 1
"""  # noqa: S608  # our constants
_SET = f"""
UPDATE delivery d SET search_words_of = {words_hash()},
    search_words = array_to_tsvector(ARRAY(SELECT jsonb_array_elements_text(made.words)))
FROM jsonb_to_recordset(CAST(:made AS jsonb)) AS made(id int, words jsonb) WHERE d.id = made.id
"""  # noqa: S608  # our constants


def fill(session: Session, _now: datetime, limit: int = BATCH) -> int:
    """Make the search words of up to ``limit`` rows; return how many, 0 when none is outdated."""
    rows = session.execute(text(_OUTDATED), {"limit": limit}).all()
    if rows:
        made = msgspec.json.encode([_made(row) for row in rows]).decode()
        session.execute(text(_SET), {"made": made})
    return len(rows)


def is_any_outdated(session: Session, company_id: int) -> bool:
    """Return whether some delivery of the company must still be searched through `Delivery.search`."""
    return session.scalar(text(_ANY_OUTDATED), {"company_id": company_id}) is not None


def _made(row: Row[int, int, str, str, str]) -> dict[str, int | list[str]]:
    row_id, company_id, *texts = row
    return {"id": row_id, "words": search_words.lexemes(texts, company_id)}
