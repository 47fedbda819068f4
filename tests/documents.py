"""The pages people read, as data: fenced blocks, links and headings of README and docs."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from source_tree import ROOT

FENCE = re.compile(r"^(?P<fence>`{3,}|:{3,})(?P<info>.*)$")
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, text and the line its first line of text is on."""

    language: str
    text: str
    line: int


def pages() -> list[Path]:
    """Return README.md and every page of the documentation."""
    found = (ROOT / "docs").rglob("*.md")
    return [ROOT / "README.md", *sorted(p for p in found if "_build" not in p.parts)]


def name(page: Path) -> str:
    """Return the page's path from the root of the project."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page, outermost ones alone."""
    fence: str | None = None
    language = ""
    start = 0
    held: list[str] = []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        found = FENCE.match(line)
        if fence is None:
            if found and found["fence"][0] == "`":
                fence, language, start, held = found["fence"], found["info"].strip(), number + 1, []
        elif found and found["fence"].startswith(fence) and not found["info"].strip():
            yield Block(language, "\n".join(held) + "\n", start)
            fence = None
        else:
            held.append(line)
    if fence is not None:
        raise ValueError(f"{name(page)}: the fence opened before line {start} is never closed")


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Yield text and target of every link outside fenced blocks and code spans."""
    text = page.read_text("utf-8")
    for block in blocks(page):
        text = text.replace(block.text, "")
    for found in LINK.finditer(re.sub(r"(?<!\[)`[^`\n]*`(?!\])", "", text)):
        yield found["text"], found["target"]


def anchors(page: Path) -> set[str]:
    """Return what a link may name after ``#``: the headings, as forges and MyST write them."""
    found = set()
    for line in page.read_text("utf-8").splitlines():
        if line.startswith("#"):
            heading = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            found.add(heading.replace(" ", "-"))
    return found
