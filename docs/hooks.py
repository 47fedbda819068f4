"""What Sphinx is taught about this project: homes of names, generated text, our docstrings."""

from __future__ import annotations

import argparse
import enum
import importlib
import os
import pkgutil
import re
import sys
from collections.abc import Mapping
from typing import Any

import health_states
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import find_pending_xref_condition

import balancers
from balancers import compose
from balancers.__main__ import COMMANDS
from balancers.policies import registered

ROOMS = [
    f"balancers{room}"
    for room in ("", ".policies", ".compose", ".health", ".core", ".structures", ".testing")
]
"""Packages that publish names, in the order in which a name's home is looked for."""

MEMBERS = "   :members:\n   :undoc-members:\n"
COLON = "\N{MODIFIER LETTER COLON}"


def homes() -> dict[str, str]:
    """Return where each public name is documented: last part to full name."""
    found: dict[str, str] = {}
    for room in ROOMS:
        for name in importlib.import_module(room).__all__:
            found.setdefault(name, f"{room}.{name}")
    return found


def internals() -> set[str]:
    """Return the names that any file of the library defines or imports."""
    found = pkgutil.walk_packages(balancers.__path__, "balancers.")
    modules = [importlib.import_module(m.name) for m in found if "adapters." not in m.name]
    return {name for module in modules for name in vars(module)}


HOMES = homes()
INTERNAL = internals()


def unlink(app: Sphinx, document: nodes.document) -> None:
    """Leave names of the standard library as text, before Sphinx looks for likenesses of ours.

    Its search takes the end of a name for the name: ``random.Random`` for our ``Random``.
    """
    for node in list(document.findall(pending_xref)):
        if str(node.get("reftarget")).partition(".")[0] in sys.stdlib_module_names:
            short = find_pending_xref_condition(node, "resolved")
            node.replace_self(short.children if short is not None else node.children)


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.Node | None:
    """Link a name that annotations know by the file that defines it to its public home.

    A name of the library that is not public stays plain text; one that does not exist is left
    for Sphinx to complain of.
    """
    if node.get("refdomain") != "py":
        return None
    name = str(node["reftarget"]).rpartition(".")[2]
    docname = node.get("refdoc", env.docname)
    if name in HOMES:
        domain = env.domains.python_domain
        found = domain.resolve_xref(env, docname, app.builder, "obj", HOMES[name], node, content)
        if found is not None:
            return found
    return content if name in INTERNAL else None


def described(name: str, options: str = "") -> str:
    """Return the entry of a public class, under the name it is published by."""
    return f".. autoclass:: {HOMES[name]}\n{options}"


def essays(classes: Mapping[str, type]) -> str:
    """Return the entries of balancers: what the module says, then the class."""
    parts = []
    for name, balancer in classes.items():
        parts += [
            f"## {name}\n",
            "```{eval-rst}",
            f".. automodule:: {balancer.__module__}",
            "   :no-index:",
            "",
            described(name),
            "```\n",
        ]
    return "\n".join(parts)


def policies() -> str:
    """Return the entries of every registered policy."""
    return essays(registered())


def composites() -> str:
    """Return the entries of every composite."""
    public = {name: getattr(compose, name) for name in compose.__all__}
    return essays(
        {
            name: found
            for name, found in public.items()
            if isinstance(found, type)
            and issubclass(found, compose.Composite)
            and found is not compose.Composite
        }
    )


def commands() -> str:
    """Return the help of every command of the command line."""
    os.environ["COLUMNS"] = "88"
    parser = argparse.ArgumentParser(prog="balancers")
    subparsers = parser.add_subparsers()
    for register in COMMANDS:
        register(subparsers)
    return "\n".join(
        f"## balancers {name}\n\n```text\n{command.format_help()}```\n"
        for name, command in subparsers.choices.items()
    )


FILLED = {
    "{{ policies }}": policies,
    "{{ composites }}": composites,
    "{{ commands }}": commands,
    "{{ health drawing }}": health_states.drawing,
    "{{ health states }}": health_states.states,
    "{{ health listing }}": health_states.listing,
    "{{ health guards }}": health_states.guards,
}
"""What a page may ask for by a line of its own, so that it is never out of date."""


def fill(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put generated text where a page asks for it."""
    for mark, text in FILLED.items():
        if mark in source[0]:
            source[0] = source[0].replace(mark, text())
    source[0] = re.sub(
        r"\{\{ class (\w+) \}\}",
        lambda found: f"```{{eval-rst}}\n{described(found[1], MEMBERS)}\n```",
        source[0],
    )


def spare(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep two habits of our docstrings from being read as markup.

    ``|x|`` is an absolute value, not a substitution; a colon in the docstring of an attribute
    is a colon, not the end of a type.
    """
    literal: int | None = None
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if literal is not None and line.strip() and indent <= literal:
            literal = None
        if literal is None:
            parts = line.split("``")
            parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
            lines[i] = "``".join(parts)
            if line.rstrip().endswith("::"):
                literal = indent
    if what in ("attribute", "property", "data") and lines:
        lines[0] = lines[0].replace(":", COLON)


def restore(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Undo what ``spare`` did to colons, once napoleon is done."""
    lines[:] = [line.replace(COLON, ":") for line in lines]


def signatures(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, result: str
) -> tuple[str | None, str] | None:
    """Write an empty mapping that is a default as ``{}``, and what nobody constructs without."""
    if signature is None:
        return None
    if isinstance(obj, enum.EnumType) or getattr(obj, "_is_protocol", False):
        return "", result
    signature = signature.replace("rng: Random", "rng: random.Random")  # not balancers.Random
    return re.sub(r"<factory>|mappingproxy\(\{\}\)", "{}", signature), result


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the hooks."""
    app.connect("doctree-read", unlink)
    app.connect("missing-reference", resolve)
    app.connect("source-read", fill)
    app.connect("autodoc-process-signature", signatures)
    app.connect("autodoc-process-docstring", spare, priority=400)  # napoleon's is 500
    app.connect("autodoc-process-docstring", restore, priority=600)
    return {"parallel_read_safe": True}
