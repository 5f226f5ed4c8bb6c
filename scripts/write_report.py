"""Fill docs/report.md with tables, figures and sentences from results, and make a page of it.

    python scripts/write_report.py [NAME=]RESULTS ... [--data DATA] [--root FOLDER]

RESULTS are folders that ``anycell compare`` wrote (called representations, networks, zoom,
learning or simulation, or named so), folders with the JSON files of the benchmarks, or folders
that hold such folders; with NAME+=RESULTS the contenders in RESULTS take the place of the same
ones in what is kept of NAME.  What the report needs is kept in docs/results, so that without
arguments the report is made anew from the repository alone.  What was not run says so, with its
command.  What a person has written outside of the marks stays as it is.
"""

from __future__ import annotations

import argparse
import re
from base64 import b64encode
from collections.abc import Callable
from html import escape
from pathlib import Path

import report_blocks as blocks
import report_tables as tables
from report_results import COMPARISONS, take, take_data

from anycell.errors import FormatError
from anycell.methods import METHODS
from anycell.networks import NETWORKS
from anycell.report import need_plots

MARK = re.compile(r"<!-- ([a-z]+): ([\w -]+?) -->\n(.*?)<!-- /\1 -->", re.DOTALL)
STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf7; --ink: #1d2327; --soft: #66707a;
  --line: #dedcd4; --accent: #0b6e75; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181b; --ink: #e7e9ea;
  --soft: #98a3ab; --line: #2b3339; --accent: #59c3c3; } }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 2rem; letter-spacing: -.02em; } h2 { margin-top: 2.6rem; }
a { color: var(--accent); } em { color: var(--soft); }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .86rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .55rem; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; } tr:last-child td { border-bottom: 0; }
img { max-width: 100%; background: #fff; border-radius: .5rem; border: 1px solid var(--line); }
code { font-size: .88em; overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: .8rem; border: 1px solid var(--line); border-radius: .5rem; }
nav { columns: 2 18rem; font-size: .92rem; }
"""


def contents(kept: blocks.Kept, folder: Path) -> dict[str, Callable[[str], str]]:
    """Kind of a mark -> what gives its text, by what the mark names."""
    others = {
        "published": tables.published,
        "data": tables.data,
        "decoders": tables.decoders,
        "runtimes": tables.runtimes,
        "slides": tables.slides,
        "seams": tables.seams,
        "challenge": tables.challenge,
        "status": tables.status,
        "for and against": blocks.for_and_against,
    }

    def any_table(name: str) -> str:
        if name in ("not kept", "int8"):
            return tables.not_kept() if name == "not kept" else tables.int8()
        return others[name](kept) if name in others else blocks.ranking(kept, known(name))

    def any_card(name: str) -> str:
        if name.startswith("network ") and name[8:] in NETWORKS:
            return blocks.network_card(kept, name[8:])
        if name not in METHODS:
            raise FormatError(f"a card of {name!r}", expected="a method, or network NAME")
        return blocks.method_card(kept, name)

    def any_words(name: str) -> str:
        return tables.remarks() if name == "experiments" else blocks.words(kept, known(name))

    return {
        "table": any_table,
        "groups": lambda name: blocks.by_group(kept, known(name)),
        "figure": lambda name: blocks.figure(kept, known(name), folder),
        "words": any_words,
        "card": any_card,
    }


def known(name: str) -> str:
    """A name that begins with that of a comparison."""
    if name.partition(" ")[0] not in COMPARISONS:
        raise FormatError(f"a mark for {name!r}", expected=f"one of {', '.join(COMPARISONS)}")
    return name


def fill(text: str, kinds: dict[str, Callable[[str], str]]) -> str:
    """Replace what stands between marks."""
    opened = len(re.findall(r"<!-- [a-z]+: ", text))
    if opened != len(MARK.findall(text)):
        raise FormatError(
            "a mark of the report is not closed", expected="<!-- /table --> and so on"
        )

    def put(found: re.Match[str]) -> str:
        kind, name = found[1], found[2]
        if kind not in kinds:
            raise FormatError(f"a mark of the kind {kind!r}", expected=", ".join(kinds))
        return f"<!-- {kind}: {name} -->\n\n{kinds[kind](name)}\n\n<!-- /{kind} -->"

    return MARK.sub(put, text)


def page(text: str, folder: Path) -> str:
    """The same as one page of HTML, with its figures inside."""
    from markdown_it import MarkdownIt

    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    body = body.replace("<table>", '<div class="wide"><table>').replace(
        "</table>", "</table></div>"
    )
    names: list[str] = []

    def titled(found: re.Match[str]) -> str:
        names.append(found[1])
        return f'<h2 id="part-{len(names)}">{found[1]}</h2>'

    def inside(found: re.Match[str]) -> str:
        path = folder / found[1]
        uri = f"data:image/{path.suffix[1:]};base64," + b64encode(path.read_bytes()).decode()
        return f'src="{uri}"'

    body = re.sub(r"<h2>(.*?)</h2>", titled, body)
    body = re.sub(r'src="(figures/[^"]+)"', inside, body)
    links = "".join(f'<li><a href="#part-{k}">{v}</a></li>' for k, v in enumerate(names, 1))
    body = body.replace("</h1>", f"</h1>\n<nav><ul>{links}</ul></nav>", 1)
    title = escape(text.lstrip().partition("\n")[0].lstrip("# "))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def write(root: Path, sources: list[str], data: Path | None) -> Path:
    """Take results, fill the report, make the page; give the path of the report."""
    need_plots()
    docs = root / "docs"
    if data is not None:
        take_data(data, docs / "results")
    take(sources, docs / "results")
    report = docs / "report.md"
    kinds = contents(blocks.Kept(docs / "results"), docs / "figures")
    text = fill(report.read_text(encoding="utf-8"), kinds)
    report.write_text(text, encoding="utf-8")
    (docs / "report.html").write_text(page(text, docs), encoding="utf-8")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="*", metavar="[NAME=]RESULTS")
    parser.add_argument("--data", type=Path, help="folder with manifest.csv")
    parser.add_argument("--root", type=Path, default=blocks.ROOT, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    print(f"-> {write(asked.root, asked.results, asked.data)}")


if __name__ == "__main__":
    main()
