"""Numbers that are to be looked up, in the page: a table, and the words for a range."""

from collections.abc import Iterable


def table(header: Iterable[object], rows: Iterable[Iterable[object]], align: str = "left"):
    """A table for a page, as an IPython `HTML`, which scrolls sideways where it is wider than that.

    Args:
        header: names of the columns; "" for a column that needs none.
        rows: what stands in them, one after the other. Text counts as HTML.
        align: "left", or "right" for columns of numbers.
    """
    from IPython.display import HTML

    def line(cells: Iterable[object], tag: str) -> str:
        style = f'style="padding: 0.15em 0.6em; text-align: {align}"'
        return f"<tr>{''.join(f'<{tag} {style}>{cell}</{tag}>' for cell in cells)}</tr>"

    head, body = line(header, "th"), "".join(line(row, "td") for row in rows)
    whole = f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
    return HTML(f'<div style="overflow-x: auto">{whole}</div>')


def spread(values: Iterable[float], digits: int = 2) -> str:
    """Say from where to where values go: "0.97 to 0.99", "0.98" if they are alike so far, "–" if there are none."""
    values = list(values)
    if not values:
        return "–"
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"
