"""The HTML of all report pages: head with styles, small elements, writing the file."""

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

from avjax.runtime import metric_info
from avjax.runtime.atomic import write_atomic

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:">
<title>TITLE</title><style>
:root { color-scheme: light dark; --page: #fbfbfa; --card: #fff; --ink: #22252a;
  --soft: #666d76; --line: #e3e5e8; --right: #1a9a4b; --wrong: #d4483f; --query: #2f81f7;
  --same: #a87b00 }
@media (prefers-color-scheme: dark) { :root { --page: #16181c; --card: #1e2126; --ink: #e4e6ea;
  --soft: #9aa2ad; --line: #33373e; --right: #3cc774; --wrong: #f0716a; --query: #62a5ff;
  --same: #e0b341 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 76rem; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .8rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--line) }
h3, h4 { margin: 1.6rem 0 .5rem; font-size: 1rem }
.note, .none, .rank { color: var(--soft); margin: .2rem 0 .8rem; font-size: .87rem }
.none { border-left: 3px solid var(--line); padding-left: .8rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .28rem 1rem .28rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere }
.wide { overflow-x: auto } .wide td + td, .wide th + th { text-align: right; white-space: nowrap }
.wide td:first-child { white-space: nowrap } th { color: var(--soft); font-weight: 500 }
td small { color: var(--soft) } .wide th[colspan] { color: var(--ink); padding-top: 1rem }
a { color: var(--query) }
abbr { text-decoration: underline dotted var(--soft); text-underline-offset: 3px; cursor: help }
.lead { margin: .2rem 0 1rem } code { overflow-wrap: anywhere; font-size: .85em }
.cards, .facts { display: grid; gap: .7rem; margin: .9rem 0;
  grid-template-columns: repeat(auto-fit, minmax(9.4rem, 1fr)) }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .7rem .8rem; max-width: 17rem }
.card p { margin: 0; font-size: .8rem; color: var(--soft) }
.card p.value { font-size: 1.55rem; line-height: 1.4; color: var(--ink) }
.bar { position: relative; height: 6px; margin: .3rem 0 .5rem; border-radius: 3px;
  background: var(--line) } .bar i, .bar u { position: absolute; top: 0; height: 6px }
.bar i { left: 0; border-radius: 3px; background: var(--query) }
.bar u { width: 2px; background: var(--ink) }
.facts { grid-template-columns: repeat(auto-fill, minmax(min(15rem, 45%), 1fr)) }
.facts div { overflow-wrap: anywhere } .facts .whole { grid-column: 1 / -1 }
.facts dt { color: var(--soft); font-size: .8rem } .facts dd { margin: 0 }
.findings li { margin: .35rem 0 } .findings { padding-left: 1.2rem; max-width: 60rem }
.panels { display: grid; gap: .9rem; margin: .9rem 0;
  grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)) }
.panels.middle { grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)) }
.panels.large { grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)) }
.panel { margin: 0; padding: .7rem .8rem .4rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 8px }
.panel figcaption { font-weight: 600; font-size: .87rem; overflow-wrap: anywhere }
.panel svg { width: 100%; height: auto; display: block }
svg * { stroke-linejoin: round } svg text { font-family: inherit }
.line { display: flex; flex-wrap: wrap; gap: .5rem; align-items: flex-start;
  padding: .6rem 0; border-top: 1px solid var(--line) }
.line .rank { flex-basis: 100%; margin: 0 }
.tile { margin: 0; width: 8.6rem } .tile div { display: flex; gap: 3px; padding: 3px;
  border: 3px solid var(--line); border-radius: 6px; align-items: flex-end }
.tile.query { margin-right: 1rem } .tile.query div { border-color: var(--query) }
.tile.right div { border-color: var(--right) } .tile.wrong div { border-color: var(--wrong) }
.tile.right b { color: var(--right) } .tile.wrong b { color: var(--wrong) }
.tile.query b { color: var(--query) } .tile.same b { color: var(--same) }
.tile.same div { border-color: var(--same); border-style: dashed }
.tile.right div { border-style: double; border-width: 5px; padding: 1px }
.tile small { color: var(--soft); display: block }
.tile img { display: block; border-radius: 2px; min-width: 0 }
.tile img.main { width: 62% } .tile img.aside { width: 38%; opacity: .75 }
.tile img.half { width: 50% } .pair { display: flex; flex-wrap: wrap; gap: .2rem; width: 18rem }
.pair .note { flex-basis: 100%; margin: 0 }
.tile figcaption { font-size: .74rem; line-height: 1.3; overflow-wrap: anywhere }
.tile img.whole { width: 100% } .tile img.strip { width: 100%; height: 3rem }
.panel .tile div { flex-wrap: wrap } .tile audio { width: 100%; height: 2rem; margin-top: .3rem }
.panel .tile { flex: 1 1 8.6rem } .panel .tile figcaption { font-weight: 400 }
.columns { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; align-items: flex-start }
.columns > * { max-width: 100% } svg.matrix { fill: currentColor; display: block }
.bars { display: grid; gap: .4rem 1.4rem; margin: .9rem 0;
  grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)) }
.bars dt { font-size: .82rem; overflow-wrap: anywhere } .bars small { color: var(--soft) }
.bars dd { display: flex; gap: .5rem; align-items: center; margin: 0; line-height: 1.1 }
.bars .bar { flex: 1; margin: 0 } .bars dd small { width: 2rem; text-align: right }
.results td:first-child { position: sticky; left: 0; background: var(--page) }
ol.note { padding-left: 1.4rem }
.wide + .none, .wide + ol { margin-top: .8rem }
.panel > figcaption small { font-weight: 400; color: var(--soft); display: block }
.gap { align-self: center; color: var(--soft) }
details { margin: 1rem 0 } summary { cursor: pointer; color: var(--soft) }
@media (max-width: 40rem) {
  body { padding: 1.2rem .9rem 3rem }
  th, td { padding-right: .6rem } 
  .wide td:first-child { white-space: normal; min-width: 8.2rem; position: sticky; left: 0;
    background: var(--page) }
  .stack tr { display: flex; flex-wrap: wrap; gap: 0 .8rem; padding: .4rem 0;
    border-bottom: 1px solid var(--line) }
  .stack td { border: 0; padding: 0 } .stack td:last-child { flex-basis: 100% }
  .stack td.bar-cell, .stack tr:has(th) { display: none } .tile { width: 7.4rem } }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1rem;
  overflow-x: auto; font-size: .8rem }
</style></head><body>
"""


def write_page(path: Path, title: str, parts: list[str]) -> Path:
    """Writes a page atomically and returns its path.

    File names that are not UTF-8 contain surrogates; their bytes are shown as \\xe9.

    Args:
      path: the file.
      title: of the page.
      parts: HTML.
    """
    page = "\n".join([HEAD.replace("TITLE", escape(title)), *parts, "</body></html>\n"])
    page = re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", page)
    write_atomic(path, page.encode("utf-8", "backslashreplace"))
    return path


def tooltip(text: str, meaning: str) -> str:
    """Returns text with a tooltip, as HTML.

    Args:
      text: escaped here.
      meaning: the tooltip; "" for none.
    """
    return f'<abbr title="{escape(meaning)}">{escape(text)}</abbr>' if meaning else escape(text)


def bullet_list(sentences: list[str]) -> str:
    """Returns sentences as an HTML list."""
    return f"<ul class=findings>{''.join(f'<li>{escape(s)}</li>' for s in sentences)}</ul>"


def collapsible(summary: str, content: str) -> str:
    """Returns HTML that is hidden until its summary is clicked.

    Args:
      summary: text, escaped here.
      content: HTML.
    """
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def note(text: str) -> str:
    """Returns a remark as HTML."""
    return f"<p class=none>{escape(text)}</p>"


def header_row(names: list[str]) -> str:
    """Returns the first row of a table as HTML."""
    return f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in names)}</tr>"


def table_row(name: str, cells: list[str], meaning: str = "") -> str:
    """Returns a row of a table as HTML.

    Args:
      name: text of the first cell.
      cells: HTML.
      meaning: tooltip of the name.
    """
    return (
        f"<tr><td>{tooltip(name, meaning)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    )


def glossary(names: Iterable[str]) -> str:
    """Returns explanations of metrics, one per kind, as HTML.

    Args:
      names: of the metrics.
    """
    found = {}
    for name in names:
        pattern, metric = metric_info.match(name)
        if metric.meaning:
            found.setdefault(pattern, (metric.title.split(",")[0], metric.meaning))
    found["chance"] = (
        "chance",
        "The result of guessing: for retrieval, a random test record; for classes, always the most "
        "frequent ones of the test records; for pairs, 50 %.",
    )
    lines = "".join(
        f"<div><dt>{escape(title)}</dt><dd>{escape(meaning)}</dd></div>"
        for title, meaning in found.values()
    )
    return f"<dl class=facts>{lines}</dl>"
