"""Plain SVG: boxes, arrows, cells and words, for house.py and diagrams.py. The same picture is the same text."""

from collections.abc import Iterable
from html import escape

INK, PAPER, SOFT, ACCENT, WARM = "#1f2933", "#ffffff", "#e4e7eb", "#0f766e", "#c2410c"
FILLS = {"plain": "#f8fafc", "code": "#ccfbf1", "words": "#ffedd5", "net": "#e0e7ff"}
_HEAD = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    f'<path d="M0 0 L8 4 L0 8 z" fill="{INK}"/></marker></defs>'
)


def picture(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    """A whole SVG file on white paper, so that it is legible on dark pages too; `title` is read out to the blind."""
    begin = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" font-family="system-ui, sans-serif" font-size="13">'
    )
    paper = f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{PAPER}"/>'
    return "\n".join([begin, f"<title>{escape(title)}</title>", _HEAD, paper, *parts, "</svg>", ""])


def words(x: float, y: float, text: str, at: str = "middle", color: str = INK, size: int = 13) -> str:
    """A line of text around (x, y)."""
    return f'<text x="{x:g}" y="{y + 4:g}" text-anchor="{at}" fill="{color}" font-size="{size}">{escape(text)}</text>'


def box(x: float, y: float, width: float, height: float, text: str, fill: str = "plain") -> str:
    """A rectangle with lines of text in its middle; (x, y) is its upper left corner."""
    lines = text.split("\n")
    first = y + height / 2 - 8 * (len(lines) - 1)
    rect = (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{FILLS[fill]}" stroke="{INK}"/>'
    )
    return rect + "".join(words(x + width / 2, first + 16 * number, line) for number, line in enumerate(lines))


def cell(x: float, y: float, size: float, fill: str, stroke: str = INK) -> str:
    """A small square."""
    return f'<rect x="{x:g}" y="{y:g}" width="{size:g}" height="{size:g}" fill="{fill}" stroke="{stroke}"/>'


def arrow(x: float, y: float, to_x: float, to_y: float, color: str = INK) -> str:
    """A straight line with a tip."""
    return (
        f'<line x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}" stroke="{color}" stroke-width="1.3" '
        f'marker-end="url(#tip)"/>'
    )


def curve(x: float, y: float, to_x: float, to_y: float) -> str:
    """A line down that leaves and arrives upright, with a tip."""
    middle = (y + to_y) / 2
    path = f"M{x:g} {y:g} C{x:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {to_y:g}"
    return f'<path d="{path}" fill="none" stroke="{INK}" stroke-opacity="0.6" marker-end="url(#tip)"/>'
