"""The template language of companies' e-mails: text with ``{{ facts }}`` and ``{% if %}``; a subset of Jinja.

An allowlist of nodes is checked when a template is saved, which refuses everything else that Jinja can do:
loops, calls, arithmetic, includes. Rendering therefore takes time and memory in proportion to the template,
reads nothing but the given facts, and cannot fail. A missing or null fact renders as empty.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import ChainableUndefined, Template, TemplateSyntaxError, nodes, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

from core.errors import DomainError
from core.notifications.content.times import Moments

MAXIMUM_PLACEHOLDERS = 200
MAXIMUM_DEPTH = 20
MOMENTS = "$moments"  # no template can name it; the filters ``date``, ``time`` and ``datetime`` read it
_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Getattr,
    nodes.If,
    nodes.Const,
    nodes.Filter,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
)
_COMPARISONS = frozenset({"eq", "ne"})
_LONGEST_MIN = 1e9  # anything longer is no plausible duration


class TemplateProblem(DomainError):
    """The detail names the line and the problem: ``line 3: …``."""

    status_code = 422
    title = "The template cannot be used"


class _Environment(SandboxedEnvironment):
    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return members of facts only, so that a template never reads a Python attribute."""
        return obj.get(attribute) if isinstance(obj, dict) else None


def _at(form: str) -> Callable[[Context, Any], str]:
    @pass_context
    def shown(context: Context, instant: Any) -> str:
        """Return an ISO 8601 text in the company's time zone; anything else unchanged."""
        moments: Moments = context[MOMENTS]
        return moments.words(instant, form)

    return shown


def _words(value: Any) -> str:
    """Return ``in_transit`` as a person would write it."""
    return str(value or "").replace("_", " ")


# These follow "your delivery".
_PHRASES = {
    "pending": "is waiting to be picked up",
    "pickup_in_progress": "is being picked up",
    "in_transit": "is on its way",
    "delivered": "has been delivered",
    "returned": "has been returned to the sender",
    "failed": "could not be delivered",
}


def _phrase(status: Any) -> str:
    """Return a status as the rest of a sentence; an unknown status is named."""
    return _PHRASES.get(str(status), f"is now {_words(status)}")


def _duration(minutes: Any) -> str:
    """Return minutes in words; anything else unchanged."""
    if not isinstance(minutes, int | float) or isinstance(minutes, bool) or not 0 <= minutes < _LONGEST_MIN:
        return str(minutes if minutes is not None else "")
    days, rest = divmod(round(minutes), 24 * 60)
    parts = ((days, "day"), (rest // 60, "hour"), (rest % 60, "minute"))
    words = [f"{number} {unit}{'' if number == 1 else 's'}" for number, unit in parts if number]
    return " ".join(words[:2]) or "less than a minute"


def _environment(*, is_html: bool) -> SandboxedEnvironment:
    environment = _Environment(
        autoescape=is_html,
        undefined=ChainableUndefined,
        finalize=lambda value: "" if value is None else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    kept = {name: environment.filters[name] for name in ("upper", "lower", "capitalize")}
    times = {"date": _at("%Y-%m-%d"), "time": _at("%H:%M"), "datetime": _at("%Y-%m-%d %H:%M")}
    environment.filters = {**kept, **times, "words": _words, "phrase": _phrase, "duration": _duration}
    environment.tests.clear()
    environment.globals.clear()
    return environment


_ENVIRONMENTS = {is_html: _environment(is_html=is_html) for is_html in (False, True)}


def check(source: str, facts: Mapping[str, Any], *, is_html: bool = False) -> None:
    """Raise `TemplateProblem` unless ``source`` is within the language and names only known facts."""
    try:
        tree = _ENVIRONMENTS[is_html].parse(source)
        _check_nodes(tree, facts)
        _compiled(source, is_html)
    except TemplateSyntaxError as error:
        raise TemplateProblem(f"line {error.lineno}: {error.message}") from None
    except (RecursionError, SyntaxError, MemoryError, ValueError):
        raise TemplateProblem("line 1: it is nested too deeply, or holds a number that is too long") from None


def render(source: str, facts: Mapping[str, Any], time_zone: str = "UTC", *, is_html: bool = False) -> str:
    """Render ``source``, which must have passed `check`."""
    return _compiled(source, is_html).render({**facts, MOMENTS: Moments(facts, time_zone)})


@lru_cache(maxsize=256)
def _compiled(source: str, is_html: bool) -> Template:
    return _ENVIRONMENTS[is_html].from_string(source)


def _check_nodes(tree: nodes.Template, facts: Mapping[str, Any]) -> None:
    placeholders = 0
    for node, depth in _walk(tree):
        if depth > MAXIMUM_DEPTH:
            raise TemplateProblem(f"line {node.lineno}: it is nested too deeply")
        if not isinstance(node, _ALLOWED):
            raise TemplateProblem(f"line {node.lineno}: {_name(node)} is not part of this language")
        if isinstance(node, nodes.Compare) and not {operand.op for operand in node.ops} <= _COMPARISONS:
            raise TemplateProblem(f"line {node.lineno}: values are compared by == and != only")
        if isinstance(node, nodes.Filter):
            _check_filter(node)
        if isinstance(node, nodes.Name):
            placeholders += 1
    _check_paths(tree, facts)
    if placeholders > MAXIMUM_PLACEHOLDERS:
        raise TemplateProblem(f"line 1: it has more than {MAXIMUM_PLACEHOLDERS} placeholders")


def _walk(tree: nodes.Node) -> Iterator[tuple[nodes.Node, int]]:
    """Yield every node with its depth, without recursion."""
    waiting = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        waiting += [(child, depth + 1) for child in node.iter_child_nodes()]


def _check_filter(node: nodes.Filter) -> None:
    if node.args or node.kwargs or node.dyn_args or node.dyn_kwargs:
        raise TemplateProblem(f"line {node.lineno}: the filter {node.name} takes no values")


def _check_paths(tree: nodes.Template, facts: Mapping[str, Any]) -> None:
    """Check names with all their members, such as ``delivery.reference``."""
    inner = {id(node.node) for node, _ in _walk(tree) if isinstance(node, nodes.Getattr)}
    for node, _ in _walk(tree):
        if isinstance(node, nodes.Name | nodes.Getattr) and id(node) not in inner:
            path = _path(node)
            if not _is_known(path, facts):
                raise TemplateProblem(f"line {node.lineno}: there is no {'.'.join(path)} here")


def _path(node: nodes.Node) -> list[str]:
    names: list[str] = []
    while isinstance(node, nodes.Getattr):
        names.insert(0, node.attr)
        node = node.node
    return [getattr(node, "name", "?"), *names]


def _is_known(path: list[str], facts: Mapping[str, Any]) -> bool:
    found: Any = facts
    for name in path:
        if not isinstance(found, Mapping) or name not in found:
            return False
        found = found[name]
    return not isinstance(found, Mapping)


def _name(node: nodes.Node) -> str:
    return {"For": "a loop", "Call": "a call", "Getitem": "[…]"}.get(
        type(node).__name__, type(node).__name__.lower()
    )
