"""The project's chores; ``python -m nox -l`` lists them.

Each session makes an environment of its own, so a machine needs Python and pip alone, and
only the interpreter that runs nox is used. Sessions that run the library install the built
wheel and start from a temporary directory, so that the working tree is never imported.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "virtualenv"  # comes with nox; needs no ensurepip
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "docs", "tests"]

ROOT = Path(__file__).parent
REPORT = ROOT / "report"
PYPROJECT = nox.project.load_toml("pyproject.toml")


def _install(session: nox.Session, *groups: str, package: str | None = ".") -> None:
    """Install dependency groups of pyproject.toml and, built as a wheel, the package."""
    requirements = nox.project.dependency_groups(PYPROJECT, *groups) if groups else ()
    session.install(*requirements, *([package] if package else []))


def _pytest(session: nox.Session, *arguments: str, live: str = "0") -> None:
    """Run pytest from a temporary directory over the tests of the working tree.

    ``live`` is how many seconds each test of a live fleet may take; 0 leaves them out.
    """
    session.chdir(session.create_tmp())
    session.run(
        "pytest",
        f"--rootdir={ROOT}",
        f"--config-file={ROOT / 'pyproject.toml'}",
        *arguments,
        env={
            "BALANCERS_INSTALLED": "1",
            "BALANCERS_LIVE": live,
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )


@nox.session
def tests(session: nox.Session) -> None:
    """Run every test against the installed wheel, on the same examples each time, on all cores."""
    _install(session, "tests")
    where = [str(ROOT / "tests")] if not session.posargs else []
    _pytest(
        session,
        "--benchmark-disable",
        "--hypothesis-profile=ci",
        *("--numprocesses=auto", "--dist=worksteal"),
        *where,
        *_rooted(session.posargs),
    )


@nox.session
def properties_deep(session: nox.Session) -> None:
    """Run the property and stateful tests on 2,000 fresh examples each."""
    _install(session, "tests")
    where = [str(ROOT / "tests" / folder) for folder in ("properties", "stateful")]
    _pytest(
        session,
        "--benchmark-disable",
        "--hypothesis-profile=deep",
        *(_rooted(session.posargs) or where),
    )


@nox.session
def live(session: nox.Session) -> None:
    """Kill and restart fifty real servers for a minute, with each prober."""
    _install(session, "tests")
    where = str(ROOT / "tests" / "live")
    _pytest(session, "--benchmark-disable", *(_rooted(session.posargs) or [where]), live="60")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    _install(session, "lint", package=None)
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check types: mypy strict, the API as two checkers see it, and its completeness."""
    _install(session, "types")
    session.run("mypy")
    session.run("pyright", "tests/typing")
    session.run("pyright", "--ignoreexternal", "--verifytypes", "balancers")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed; arguments go to pytest."""
    _install(session, "bench")
    # ``python -m`` puts the root on the path: the suites share ``benchmarks.floors``.
    session.run("python", "-m", "pytest", "benchmarks", *session.posargs)
    for table in ("cycles", "memory", "hashing", "composites", "health", "threads", "peers"):
        session.run("python", "-m", "benchmarks", table)


@nox.session
def compare(session: nox.Session) -> None:
    """Play every scenario and write the report; other arguments go to ``balancers compare``."""
    _install(session)
    REPORT.mkdir(exist_ok=True)
    options = session.posargs or ["--scenario=all", "--requests=10000", "--seeds=3", "--progress"]
    # A plain run writes a table and a plot, scenarios a page.
    endings = {"json": "json", "csv": "csv", "plot": "svg"}
    if any(option.startswith("--scenario") for option in options):
        endings = {"json": "json", "html": "html", "markdown": "md"}
    outputs = [f"--{form}={REPORT / f'compare.{ending}'}" for form, ending in endings.items()]
    session.run("balancers", "compare", *options, *outputs)
    session.log(f"the report is in {REPORT}")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, every warning an error, and run its doctests."""
    _install(session, "docs", package=".[testing]")
    for builder in ("html", "doctest"):
        session.run(
            "sphinx-build", "-W", "--keep-going", "-n", "-q", "-b", builder, "-d",
            "docs/_build/doctrees", "docs", f"docs/_build/{builder}", *session.posargs,
        )  # fmt: skip


@nox.session
def dist(session: nox.Session) -> None:
    """Build sdist and wheel, check both, and import the wheel in a fresh environment."""
    _install(session, "dist", package=None)
    out = ROOT / "dist"
    shutil.rmtree(out, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(out))
    wheel, sdist = next(out.glob("*.whl")), next(out.glob("*.tar.gz"))
    session.run("twine", "check", "--strict", str(wheel), str(sdist))
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    if "balancers/py.typed" not in names:
        session.error("the wheel lacks py.typed: its types would be ignored")
    strangers = [n for n in names if not n.startswith(("balancers/", "balancers-"))]
    if strangers:
        session.error(f"the wheel holds files that are not the package: {strangers}")
    fresh = Path(session.create_tmp()).resolve() / "fresh"
    session.run("python", "-m", "virtualenv", "--quiet", "--clear", str(fresh))
    python = str(fresh / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    session.run(python, "-m", "pip", "install", "--quiet", str(wheel), external=True)
    session.chdir(fresh)
    session.run(
        python,
        "-W",
        "error",
        "-c",
        "import balancers; print(*balancers.__all__)",
        external=True,
    )


def _rooted(arguments: list[str]) -> list[str]:
    """Return the arguments, paths of the working tree made absolute."""
    return [
        str(ROOT / a) if not a.startswith("-") and (ROOT / a.split("::")[0]).exists() else a
        for a in arguments
    ]
