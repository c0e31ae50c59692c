"""Check the groups against the database in two loops: `CatchUp` and `Guard`.

`CatchUp` reads missed facts, `Guard` checks permissions. Both log a database that is away and try again.
Meanwhile only live facts are sent, and a fact is published only after its commit.
"""

import asyncio
import logging
from collections.abc import Mapping

import msgspec
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.live.reader import DatabaseReader
from api.live.watchers import fan_out
from api.live.watchers.groups import Group, Groups, refusal
from core.accounts import token_holders
from core.backoff import Backoff
from core.deliveries import missed_statuses, watched
from core.rules.facts import StatusFact

CHECK_INTERVAL_S = 2.0

log = logging.getLogger(__name__)


class Now(msgspec.Struct, frozen=True):
    missed: list[StatusFact]
    targets: dict[int, watched.WatchedDelivery]


class CatchUp:
    """Read the present state of outdated groups and, for groups that are behind, the statuses they missed."""

    def __init__(self, groups: Groups, reader: DatabaseReader) -> None:
        self._groups = groups
        self._reader = reader

    async def run(self) -> None:
        backoff = Backoff(limit_s=5)
        while True:
            await self._groups.outdated.wait()
            groups = self._groups.take_outdated()
            try:
                await self._catch_up(groups)
                backoff.reset()
            except SQLAlchemyError as error:
                log.warning("the database did not answer groups=%d error=%s", len(groups), error)
                await asyncio.sleep(backoff.next())
                for group in groups:
                    self._groups.mark_outdated(group)

    async def _catch_up(self, groups: list[Group]) -> None:
        if not groups:
            return
        last = {
            g.delivery: g.last_checkpoint for g in groups if g.is_behind and g.last_checkpoint is not None
        }
        now = await self._reader.read(_read_now, last, [group.delivery for group in groups])
        for fact in now.missed:
            fan_out.send_status(self._groups, fact)
        for target in now.targets.values():
            self._groups.refresh(target)
            if target.position is not None:
                fan_out.send_position(self._groups, target.position)
        for group in groups:
            self._groups.caught_up(group)


class Guard:
    """Close the sockets of users who were disabled or changed, or who may no longer see a delivery."""

    def __init__(self, groups: Groups, reader: DatabaseReader) -> None:
        self._groups = groups
        self._reader = reader

    async def run(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            try:
                await self.check()
            except SQLAlchemyError as error:
                log.warning("rights could not be checked error=%s", error)

    async def check(self) -> None:
        # Listed before the reads: a watcher that joins during them must not be judged by older data.
        watching = self._groups.watching()
        if not watching:
            return
        people = await self._reader.read(token_holders.people, {member.holder for member, _ in watching})
        targets = await self._reader.read(watched.targets, {delivery for _, delivery in watching})
        for member, delivery in watching:
            code = refusal(member, people.get(member.holder), targets.get(delivery))
            if code is not None:
                member.mailbox.close(code)
        for target in targets.values():
            self._groups.refresh(target)


def _read_now(session: Session, last: Mapping[int, int], deliveries: list[int]) -> Now:
    return Now(missed_statuses.missed_by(session, last) if last else [], watched.targets(session, deliveries))
