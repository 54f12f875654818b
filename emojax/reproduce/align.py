"""Which operation of one step stands for which of another's, whose code may be of another version.

Operations of a scope are a sequence; two sequences are aligned by what their operations have in common (primitive,
function, shapes; lines shift), and so are those of the loops that stand for each other.
"""

from collections import defaultdict
from collections.abc import Sequence
from difflib import SequenceMatcher

from emojax.reproduce.operations import Written


def align(a: Written, b: Written) -> dict[int, int]:
    """Numbers of `b`'s operations by those of `a`'s."""
    inside = [_by_scope(each) for each in (a, b)]
    scopes = [{(scope.parent, scope.role): n for n, scope in enumerate(each.scopes)} for each in (a, b)]
    found: dict[int, int] = {}
    waiting = [(0, 0)]
    while waiting:
        one, other = waiting.pop()
        here, there = inside[0][one], inside[1][other]
        for n, m in _aligned([a.operations[n].like() for n in here], [b.operations[m].like() for m in there]):
            found[here[n]] = there[m]
            roles = [role for parent, role in scopes[0] if parent == here[n]]
            both = [(scopes[0][here[n], role], scopes[1].get((there[m], role))) for role in roles]
            waiting += [(mine, its) for mine, its in both if its is not None]
    return found


def _by_scope(written: Written) -> dict[int, list[int]]:
    """Numbers of the operations of each scope, in order."""
    found: dict[int, list[int]] = defaultdict(list)
    for n, each in enumerate(written.operations):
        found[each.scope].append(n)
    return found


def _aligned(here: Sequence[tuple], there: Sequence[tuple]) -> list[tuple[int, int]]:
    if here == there:
        return [(n, n) for n in range(len(here))]
    blocks = SequenceMatcher(None, here, there, autojunk=False).get_matching_blocks()
    return [(block.a + n, block.b + n) for block in blocks for n in range(block.size)]
