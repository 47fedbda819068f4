"""What the pages say is true: code runs, links lead somewhere, no policy is left out."""

import ast
import contextlib
import inspect
import io
import re
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path

import pytest
from documents import Block, anchors, blocks, links, name, pages
from source_tree import ROOT

import balancers
from balancers import compose
from balancers.policies import registered, registry

SECTIONS = ["Guarantees", "Use when", "Avoid when", "Cost", "Source"]
CODE_PAGES = [page for page in pages() if any(b.language == "python" for b in blocks(page))]
README = ROOT / "README.md"


@pytest.mark.parametrize("page", CODE_PAGES, ids=name)
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The Python blocks of a page run in order, in one namespace, in an empty directory.

    A ``text`` block that follows a Python block is what that block prints; a block that
    prints is followed by one.
    """
    monkeypatch.chdir(tmp_path)
    for known in ("_policies", "_names"):  # what a page registers ends with it
        monkeypatch.setattr(registry, known, dict(getattr(registry, known)))
    namespace: dict[str, object] = {"__name__": "__page__"}
    found = list(blocks(page))
    for block, after in zip(found, [*found[1:], Block("", "", 0)], strict=True):
        if block.language != "python":
            continue
        # Blank lines before the code make a traceback name the line of the page.
        code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        expected = after.text if after.language == "text" else ""
        assert printed.getvalue() == expected, f"{name(page)}, line {block.line}"


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_lead_somewhere(page: Path):
    """A relative link names a file that exists, and a heading in it if it names one.

    A link to a test file is written with the name of a test that is in that file.
    """
    for text, target in links(page):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        where = page if not path else (page.parent / path)
        assert where.exists(), f"{name(page)}: {target}"
        if anchor:
            assert anchor in anchors(where), f"{name(page)}: {target}"
        if where.suffix == ".py" and where.resolve().is_relative_to(ROOT / "tests"):
            source = where.read_text("utf-8")
            assert re.search(rf"\b(def|class) {re.escape(text.strip('`'))}\b", source), (
                f"{name(page)}: {where.name} has no {text}"
            )


@pytest.mark.parametrize("policy", registered().values(), ids=registered())
def test_policy_essays(policy: type):
    """A policy's module says what it guarantees, when to use it and not, its cost and source."""
    text = inspect.getdoc(inspect.getmodule(policy)) or ""
    found = re.findall(rf"^({'|'.join(SECTIONS)}):$", text, re.MULTILINE)

    assert found == SECTIONS
    for part in re.split(rf"^(?:{'|'.join(SECTIONS)}):$", text, flags=re.MULTILINE)[1:]:
        assert textwrap.dedent(part).strip()


@pytest.mark.parametrize("policy", registered())
@pytest.mark.parametrize("page", ["README.md", "docs/explanation/choosing.md"])
def test_choosers_name_every_policy(page: str, policy: str):
    """README's chooser and the page on choosing mention each policy by its class name."""
    assert f"`{policy}`" in (ROOT / page).read_text("utf-8")


@pytest.mark.parametrize("policy", registered())
def test_guarantees_name_every_policy(policy: str):
    """Each policy has a row in README's table of guarantees, and the row links to a test."""
    _, _, rest = README.read_text("utf-8").partition("## Guarantees")
    table, _, _ = rest.partition("\n## ")
    rows = [line for line in table.splitlines() if f"`{policy}`" in line[: line.find("|", 1)]]

    assert rows
    assert all("](tests/" in row for row in rows)


def test_reference_names_everything_public():
    """Each public name of the root is described on a page of the reference."""
    text = "".join(page.read_text("utf-8") for page in (ROOT / "docs/reference").glob("*.md"))
    described = set(re.findall(r"(?:auto\w+|py:data):: balancers\.(\w+)", text))
    described |= set(re.findall(r"\{\{ class (\w+) \}\}", text))
    for mark, names in {"policies": registered(), "composites": compose.__all__}.items():
        if f"{{{{ {mark} }}}}" in text:
            described |= set(names)
    if "automodule:: balancers.errors" in text:
        described |= set(balancers.errors.__all__)

    assert described >= set(balancers.__all__)


@cache
def _help(command: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "balancers", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


def _command_lines() -> list[tuple[str, str]]:
    found = []
    for page in pages():
        for block in blocks(page):
            if block.language in ("console", "sh"):
                joined = block.text.replace("\\\n", " ")
                found += [(name(page), line.lstrip("$ ")) for line in joined.splitlines()]
    return found


@pytest.mark.parametrize(("page", "line"), _command_lines())
def test_commands_exist(page: str, line: str):
    """Commands, options and nox sessions that the pages show are there."""
    for part in re.split(r"&&|\|", line):
        words = part.split("#")[0].split()
        if words[:3] == ["python", "-m", "nox"]:
            tree = ast.parse((ROOT / "noxfile.py").read_text("utf-8"))
            sessions = {f.name for f in ast.walk(tree) if isinstance(f, ast.FunctionDef)}
            asked = words[words.index("-s") + 1 :]
            assert set(asked[: asked.index("--")] if "--" in asked else asked) <= sessions
        if words[:1] == ["balancers"] or words[:3] == ["python", "-m", "balancers"]:
            command, *rest = words[words.index("balancers") + 1 :]
            options = [w.partition("=")[0] for w in rest if w.startswith("--")]
            missing = [o for o in options if o not in _help(command)]
            assert not missing
        if words[:3] == ["python", "-m", "benchmarks"]:
            assert (ROOT / "benchmarks" / f"{words[3]}.py").exists()


def test_the_two_commands():
    """README and the CI script run the tests by the same command, letter by letter."""
    command = "python -m pip install nox && python -m nox -s tests"

    assert command in README.read_text("utf-8").splitlines()
    assert command in (ROOT / ".ci" / "run").read_text("utf-8")
    assert command.replace("tests", "compare") in README.read_text("utf-8").splitlines()
