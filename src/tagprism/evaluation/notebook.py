"""A comparison as a table of HTML, as notebooks show what ends a cell. The style is that of the notebook."""

from __future__ import annotations

from html import escape

from tagprism.evaluation.table import Layout


def as_html(layout: Layout) -> str:
    """The table and the sentences below it; every word is escaped."""
    titles = "".join(f"<th>{escape(column)}</th>" for column in layout.columns)
    rows = "".join(
        f"<tr><th>{escape(row.name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in row.cells)}</tr>"
        for row in layout.rows
    )
    captions = "".join(f"<p><small>{escape(caption)}</small></p>" for caption in layout.captions)
    return f"<table><thead><tr><th>percent</th>{titles}</tr></thead><tbody>{rows}</tbody></table>{captions}"
