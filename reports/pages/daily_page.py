"""A company's daily report as a page. Pure."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from core.reporting.daily_figures import ProblemDelivery, Reason, Share, Tally
from core.reporting.daily_report import Daily
from core.rules.enums import Status
from reports.charts import day_charts, svg
from reports.pages import tables, templates, words
from reports.pages.clock import Clock, distance, duration, weekday_words

MAXIMUM_SHARES = 60
MAXIMUM_REASONS = 10


def html(daily: Daily) -> str:
    return templates.render("daily.html", _values(daily))


def _values(daily: Daily) -> dict[str, Any]:
    clock = Clock(daily.time_zone, [daily.starts_at, daily.ends_at])
    figures, total = daily.figures, daily.figures.total
    has_rate = total.on_time_percent is not None
    return {
        "title": f"Deliveries of {daily.day.isoformat()} · {daily.company_name}",
        "company": daily.company_name,
        "kind": "Daily report",
        "made": clock.both(daily.made_at),
        "zone": clock.title,
        "day": weekday_words(daily.day),
        "so_far": _is_so_far(daily),
        "length_note": _length_note(daily),
        "facts_shown": _facts(daily),
        "outcomes": day_charts.outcomes(total),
        "ring": day_charts.on_time_ring(total.on_time_percent),
        "by_hour": day_charts.by_hour(figures.hours, clock) if total.deliveries else None,
        "keys": day_charts.key(),
        "reason_headings": tables.headings("w:Why", "Outcome", "n:Deliveries", ""),
        "reasons": _reasons(figures.reasons),
        "has_rate": has_rate,
        "groups": [
            _group("Drivers", figures.drivers, "with deliveries under way", has_rate=has_rate),
            _group("Vehicles", figures.vehicles, "all day", has_rate=has_rate),
        ],
        "problem_headings": tables.headings("t:Ended", "w:Delivery", "Outcome", "n:Late", "w:Reason"),
        "problems": [_problem(problem, clock) for problem in figures.problems],
        "problems_left_out": figures.problems_left_out,
    }


def _facts(daily: Daily) -> list[dict[str, str]]:
    figures, total = daily.figures, daily.figures.total
    percent = total.on_time_percent
    facts = [
        _fact("delivery ended" if total.deliveries == 1 else "deliveries ended", f"{total.deliveries:,}"),
        _fact("delivered", f"{total.delivered:,}", "good" if total.delivered else ""),
        _fact("failed or returned", f"{total.failed + total.returned:,}", "bad" if total.failed else ""),
        _fact("had an agreed time", "None")
        if percent is None
        else _fact(f"on time, of {total.with_window:,} agreed", f"{percent:g} %"),
        _fact("driven", distance(figures.distance_m)),
    ]
    if total.late:
        facts.append(_fact("late on average, of the late", duration(total.late_seconds / total.late), "late"))
    when = "now" if _is_so_far(daily) else "at its end"
    return [
        *facts,
        _fact("planned for the day", f"{figures.planned:,}"),
        _fact(f"under way {when}", f"{figures.under_way:,}"),
        _fact(f"overdue {when}", f"{figures.overdue:,}", "bad" if figures.overdue else ""),
    ]


def _is_so_far(daily: Daily) -> bool:
    return daily.made_at < daily.ends_at


def _fact(name: str, value: str, tone: str = "") -> dict[str, str]:
    return {"name": name, "value": value, "tone": tone}


def _length_note(daily: Daily) -> str | None:
    hours = round((daily.ends_at - daily.starts_at).total_seconds() / 3600)
    return None if hours == 24 else f"The clocks were changed: this day had {hours} hours."


def _group(name: str, shares: Sequence[Share], driven: str, *, has_rate: bool) -> dict[str, Any]:
    """Build a table, without a rate if no delivery had an agreed time: it would be a column of dashes."""
    rate = ("n:On time", "") if has_rate else ()
    return {
        "name": name,
        "headings": tables.headings(
            f"w:{name[:-1]}", "n:Deliveries", "n:Delivered", *rate, f"n:Driven, {driven}"
        ),
        "rows": [_share(share, has_rate=has_rate) for share in shares[:MAXIMUM_SHARES]],
        "left_out": max(len(shares) - MAXIMUM_SHARES, 0),
    }


def _share(share: Share, *, has_rate: bool) -> dict[str, Any]:
    return tables.row(
        share.name,
        f"{share.tally.deliveries:,}",
        f"{share.tally.delivered:,}",
        *(_on_time(share.tally) if has_rate else ()),
        distance(share.distance_m),
    )


def _on_time(tally: Tally) -> tuple[str, Markup]:
    percent = tally.on_time_percent
    if percent is None:
        return "–", Markup("")  # noqa: RUF001
    return f"{percent:.0f} %", day_charts.meter(percent / 100, svg.GOOD if percent >= 90 else svg.LATE)


def _reasons(reasons: Sequence[Reason]) -> list[dict[str, Any]]:
    most = max((len(reason.delivery_ids) for reason in reasons), default=1)
    return [
        tables.row(
            reason.reason,
            words.STATUS[reason.status],
            str(len(reason.delivery_ids)),
            day_charts.meter(len(reason.delivery_ids) / most, words.COLOURS[reason.status]),
        )
        for reason in reasons[:MAXIMUM_REASONS]
    ]


def _problem(problem: ProblemDelivery, clock: Clock) -> dict[str, Any]:
    outcome = "Late" if problem.status is Status.DELIVERED else words.STATUS[problem.status]
    return tables.row(
        clock.time(problem.ended_at),
        problem.reference,
        outcome,
        duration(problem.late_seconds) if problem.late_seconds else "",
        words.cut(problem.reason or "", 160),
    )
