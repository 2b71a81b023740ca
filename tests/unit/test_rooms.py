"""The house is in order: a file is where its name says, and a name means one thing."""

import ast
import re
from collections import defaultdict
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("cli", "simulator", "ingress", "workers", "shared")
MODULES = sorted(chain.from_iterable((ROOT / room).rglob("*.py") for room in PRODUCT))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def _name(path: Path) -> str:
    return path.stem.removeprefix("test_")


def prefixed(path: Path) -> str:
    """Return what *path* should be a folder for, or nothing: its room's name, or a neighbour's, begins its own."""
    neighbours = {_name(other) for other in path.parent.iterdir() if other != path and other.stem != "__init__"}
    rooms = {path.parent.name, path.parent.name.removesuffix("s")}
    return next((name for name in sorted(rooms | neighbours) if _name(path).startswith(f"{name}_")), "")


def test_a_family_of_files_is_a_folder():
    """No file is told apart from its neighbours by a prefix that repeats a name."""
    files = [*MODULES, *TESTS]
    assert {str(path.relative_to(ROOT)): prefixed(path) for path in files if prefixed(path)} == {}


def test_a_prefix_is_found(tmp_path):
    """A neighbour's name, or the room's in the singular, in front of a file's own is found out."""
    room = tmp_path / "channels"
    room.mkdir()
    for name in ("file.py", "file_lock.py", "channel_plans.py", "plans.py"):
        (room / name).touch()
    found = {path.stem: prefixed(path) for path in room.iterdir()}
    assert found == {"file": "", "file_lock": "file", "channel_plans": "channel", "plans": ""}


def test_no_two_public_classes_have_one_name():
    """Whoever reads a class's name anywhere knows which one is meant."""
    places = defaultdict(list)
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_a_room_s_init_is_its_docstring():
    """A re-export would drag I/O into pure code unnoticed; the simulator, which others import, is the exception."""
    longer = []
    for path in MODULES:
        if path.stem == "__init__":
            docstring, *rest = ast.parse(path.read_text(encoding="utf-8")).body
            assert isinstance(docstring, ast.Expr), path
            longer += [path.parent.name] if rest else []
    assert longer == ["simulator"]


def test_the_documents_name_files_that_are_there():
    """A path in a document leads somewhere, and so does a link."""
    lost = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "simulator/README.md"]:
        text = page.read_text(encoding="utf-8")
        paths = re.findall(r"`((?:cli|ingress|workers|shared|simulator|tests|docs)/[\w./-]*)", text)
        lost += [f"{page.name}: {path}" for path in paths if not (ROOT / path).exists()]
        links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
        lost += [f"{page.name}: {link}" for link in links if not (page.parent / link).exists()]
    assert lost == []


def test_the_map_shows_every_room():
    """A folder of code that the map leaves out would be found by chance alone."""
    text = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
    rooms = {path.parent for path in MODULES if path.stem == "__init__"}
    unnamed = [room for room in rooms if f"{room.relative_to(ROOT)}/" not in text and f"`{room.name}/`" not in text]
    assert unnamed == []
