"""The distribution: its metadata, and that the tests run against it."""

import importlib.metadata
import importlib.resources
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from source_tree import ROOT

import balancers

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
METADATA = importlib.metadata.metadata("balancers")


@pytest.mark.skipif(
    "BALANCERS_INSTALLED" not in os.environ, reason="only where the built wheel is under test"
)
def test_the_installed_wheel_is_tested():
    """Under nox, the library comes from site-packages and not from the working tree."""
    site = Path(sysconfig.get_path("purelib")).resolve()

    assert Path(balancers.__file__).resolve().is_relative_to(site)
    assert not Path(balancers.__file__).resolve().is_relative_to(ROOT / "balancers")


def test_metadata():
    """Name, version, licence and Python are those of pyproject.toml, by PEP 639."""
    assert METADATA["Name"] == "balancers"
    assert METADATA["Version"] == PROJECT["version"]
    assert METADATA["License-Expression"] == "MIT"
    assert METADATA["Requires-Python"] == ">=3.11"
    assert not [c for c in METADATA.get_all("Classifier", []) if c.startswith("License")]


def test_runtime_dependencies():
    """Without an extra, the library needs mmh3 and sortedcontainers and nothing else."""
    needed = [r for r in importlib.metadata.requires("balancers") or [] if "extra ==" not in r]

    assert {re.split(r"[<>=!~ ;\[]", r, maxsplit=1)[0] for r in needed} == {
        "mmh3",
        "sortedcontainers",
    }


def test_types_are_shipped():
    """``py.typed`` is beside the package, so that checkers read its annotations."""
    assert importlib.resources.files("balancers").joinpath("py.typed").is_file()


def test_import_is_lean():
    """``import balancers`` needs no optional package, event loop, socket or simulator."""
    code = (
        "import sys, balancers; "
        "print(*(sys.modules.keys() & {'numpy', 'matplotlib', 'hypothesis', 'asyncio', 'socket', "
        "'ssl', 'argparse', 'balancers.testing', 'balancers.simulation', 'balancers.adapters'}))"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )

    assert (ran.returncode, ran.stdout.split(), ran.stderr) == (0, [], "")


def test_changelog_names_the_version():
    """The version of the distribution has its entry in the changelog."""
    changelog = (ROOT / "docs" / "changelog.md").read_text("utf-8")

    assert re.search(rf"^## {re.escape(PROJECT['version'])}\b", changelog, re.MULTILINE)
