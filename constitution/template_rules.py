"""What a template may be made of: text, values, two filters for what is judged, `if`, and nothing that could run long.

Without loops, arithmetic, calls and attributes a template's time and size are linear in what it is given, and it can
reach nothing but its values. A text to be judged appears only through the filter that keeps it in its slot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jinja2 import nodes

MAX_CHARACTERS = 20_000
SLOT_FILTERS = {"prompt": "transcript", "answer": "fenced", "first": "fenced", "second": "fenced"}
"""Values that hold text from elsewhere, and the filter each must pass through, directly."""
PLAIN_FILTERS = ("trim", "lower", "upper", "capitalize")

_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Filter,
    nodes.If,
    nodes.CondExpr,
)
_ALLOWED += (nodes.Const, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Concat)


def structure_problems(tree: nodes.Template, slots: Mapping[str, str] = SLOT_FILTERS) -> Iterator[str]:
    """Each part of a parsed template that is not allowed, as the end of a sentence that begins with "it".

    Args:
        tree: the template as Jinja2 parses it.
        slots: the values that must pass through a filter, and through which.
    """
    held: set[int] = set()
    for node in [tree, *tree.find_all(nodes.Node)]:
        at = f"at line {node.lineno} of the template"
        if not isinstance(node, _ALLOWED):
            yield f"uses {type(node).__name__} {at}; expected only text, {{{{ values }}}}, filters and if"
        elif isinstance(node, nodes.Filter):
            yield from (f"{problem}, {at}" for problem in _filter_problems(node, slots))
            held.add(id(node.node))
        elif isinstance(node, nodes.Name) and node.name in slots and id(node) not in held:
            wanted = f"{{{{ {node.name} | {slots[node.name]} }}}}"
            yield f"uses {node.name} bare {at}; expected {wanted}, so that the text cannot leave its slot"


def _filter_problems(node: nodes.Filter, slots: Mapping[str, str]) -> Iterator[str]:
    known = (*dict.fromkeys(slots.values()), *PLAIN_FILTERS)
    if node.name not in known:
        yield f"uses the filter {node.name}; expected one of {', '.join(known)}"
    elif node.args or node.kwargs or node.dyn_args or node.dyn_kwargs:
        yield f"gives the filter {node.name} arguments; expected none"
    elif not isinstance(node.node, nodes.Name):
        yield f"uses the filter {node.name} on something else; expected a value's name before it"
    elif node.name != slots.get(node.node.name, node.name):
        yield f"passes {node.node.name} through {node.name}; expected {slots[node.node.name]}"
    elif node.name in slots.values() and node.node.name not in slots:
        yield f"passes {node.node.name} through {node.name}; expected it on {', '.join(slots)} alone"
