"""A comparison as one page of HTML with its plots: it opens without a network."""

import html
import math
from collections.abc import Mapping, Sequence

from emojax.reproduce.compare import Comparison
from emojax.reproduce.tell import lines

WIDTH, HEIGHT, EDGE = 640, 220, 48
_COLOURS = ("#1f5fa8", "#c0392b", "#2e7d32", "#7b4fa3", "#b07b12", "#00838f")
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
pre{background:#f6f6f6;padding:.8rem;overflow-x:auto}svg{max-width:100%;height:auto}text{font:11px system-ui,sans-serif}
@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}pre{background:#222}text{fill:#ddd}}"""


def page(found: Mapping[str, Comparison], names: tuple[str, str]) -> str:
    """Of each stage that was compared."""
    title = f"{names[0]} and {names[1]}"
    body = [f"<h1>{html.escape(title)}</h1>"]
    for stage, comparison in found.items():
        if stage:
            body.append(f"<h2>{html.escape(stage)}</h2>")
        body.append(f"<pre>{html.escape(chr(10).join(lines(comparison, names)))}</pre>")
        steps = [gap.step for gap in comparison.gaps]
        body.append(plot("Distance of the weights / distance moved", steps, {"": [g.ratio for g in comparison.gaps]}))
        if any(gap.tokens for gap in comparison.gaps):
            shares = [g.tokens.other / max(g.tokens.captions, 1) if g.tokens else 0.0 for g in comparison.gaps]
            body.append(plot("Share of captions with another token", steps, {"": shares}, log=False))
        for name in ("reward", "loss"):
            two = [[g.metrics[name][n] if name in g.metrics else math.nan for g in comparison.gaps] for n in (0, 1)]
            if any(map(math.isfinite, two[0])):
                body.append(plot(name, steps, dict(zip(names, two, strict=True)), log=False))
    return whole(title, body)


def whole(title: str, body: Sequence[str]) -> str:
    """A page of these parts."""
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
    return f"{head}<style>{_STYLE}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"


def plot(title: str, xs: Sequence[float], curves: Mapping[str, Sequence[float]], log: bool = True) -> str:
    """Curves over `xs` as SVG; on a logarithmic axis zeros have no point."""
    drawn = {
        name: [
            (x, math.log10(y) if log else y)
            for x, y in zip(xs, ys, strict=True)
            if math.isfinite(y) and (y > 0 or not log)
        ]
        for name, ys in curves.items()
    }
    points = [point for curve in drawn.values() for point in curve]
    if not points:
        return f"<p>{html.escape(title)}: zero throughout.</p>"
    left, right = min(xs), max(max(xs), min(xs) + 1)
    low, high = min(y for _, y in points), max(y for _, y in points)
    if log:
        low, high = math.floor(low), max(math.ceil(high), math.floor(low) + 1)
    high = high if high > low else low + 1

    def at(x: float, y: float) -> str:
        across = EDGE + (x - left) / (right - left) * (WIDTH - 2 * EDGE)
        return f"{across:.1f},{HEIGHT - EDGE / 2 - (y - low) / (high - low) * (HEIGHT - EDGE):.1f}"

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">']
    parts.append(f'<text x="{EDGE}" y="14">{html.escape(title)}</text>')
    for y in (low, (low + high) / 2, high):
        x, height = at(left, y).split(",")
        label = f"{10**y:.0e}" if log else f"{y:.3g}"
        parts.append(f'<text x="{float(x) - 4}" y="{height}" text-anchor="end">{label}</text>')
        parts.append(f'<path d="M{x},{height}H{WIDTH - EDGE}" stroke="#8884" fill="none"/>')
    for x in (left, right):
        parts.append(f'<text x="{at(x, low).split(",")[0]}" y="{HEIGHT - 6}" text-anchor="middle">{x:g}</text>')
    for (name, curve), colour in zip(drawn.items(), _COLOURS * len(drawn), strict=False):
        way = " ".join(at(x, y) for x, y in curve)
        parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        if name and curve:
            x, y = at(*curve[-1]).split(",")
            parts.append(f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="end">{html.escape(name)}</text>')
    return "".join([*parts, "</svg>"])
