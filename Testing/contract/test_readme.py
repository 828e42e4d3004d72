"""The README names every command, and its commands and Python lines are real."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
import spineseg
from project_tree import ROOT
from spineseg.cli import app
from typer.main import get_command

README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(command: object, name: str) -> Iterator[tuple[str, object]]:
    """Yield every command line below a click command that does something."""
    below = getattr(command, "commands", None)
    if not below:
        yield name, command
        return
    for child, inner in below.items():
        if not inner.hidden:
            yield from commands(inner, f"{name} {child}")


COMMANDS = dict(commands(get_command(app), "spineseg"))


@pytest.mark.parametrize("name", COMMANDS)
def test_readme_names_the_command(name: str) -> None:
    assert name in README


def test_readme_invents_no_command_and_no_option() -> None:
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", README, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    used = [line for line in lines if line.startswith("spineseg ")]
    assert used
    for line in used:
        name = next((n for n in COMMANDS if line.startswith(n)), None)
        assert name is not None, line
        known = {option for p in COMMANDS[name].params for option in p.opts}  # type: ignore[attr-defined]
        given = set(re.findall(r"(?<!\S)--?[a-z][\w-]*", line.partition("#")[0]))
        assert given <= known, line


def test_readme_names_what_dev_does() -> None:
    assert "python3 dev.py demo" in README
    assert "python3 dev.py test" in README
    assert "not a medical device" in README.lower()


def test_python_lines_of_the_readme_use_what_exists() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    tree = ast.parse(blocks[0])
    assert len([line for line in blocks[0].splitlines() if line.strip()]) <= 5
    used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)
            and isinstance(n.value, ast.Name) and n.value.id == "spineseg"}  # fmt: skip
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)
                and n.module == "spineseg" for a in n.names}  # fmt: skip
    assert {"read_volume", "segment", "save"} <= used | imported
    assert all(hasattr(spineseg, name) for name in used | imported)
