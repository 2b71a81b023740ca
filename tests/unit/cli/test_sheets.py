"""CSV files for spreadsheets."""

import csv
import stat

import pytest

from cli.sheets import sheet
from shared.domain.errors import ConfigurationError


def test_a_sheet_opens_right_in_a_spreadsheet(tmp_path):
    """A byte order mark, a heading, and cells with commas, quotes and line breaks that come back as they were."""
    path = tmp_path / "a.csv"
    with sheet(path, ["name", "count"]) as add:
        add(['娜娜, "x"\ny', 3])
    assert path.read_bytes().startswith(b'\xef\xbb\xbf"name","count"\r\n')
    with path.open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file)) == [["name", "count"], ['娜娜, "x"\ny', "3"]]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("text", "shown"), [("x;=cmd()", "x;'=cmd()"), ("a; +1\t@b", "a; '+1\t'@b"), ("a;b=c;d", "a;b=c;d")]
)
def test_no_cell_of_a_sheet_parted_by_semicolons_is_taken_for_a_formula(tmp_path, text, shown):
    """Half of Europe's spreadsheets part cells there, and what follows would be one that they compute."""
    with sheet(tmp_path / "a.csv", ["name"]) as add:
        add([text])
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file))[1] == [shown]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "＝1", "=cmd|' /C calc'!A0"])
def test_no_cell_is_taken_for_a_formula(tmp_path, text):
    """A name that a spreadsheet would compute is marked as text."""
    path = tmp_path / "a.csv"
    with sheet(path, ["name"]) as add:
        add([text])
    with path.open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file))[1] == [f"'{text}"]


def test_an_unfinished_sheet_is_not_left_behind(tmp_path):
    """When something goes wrong meanwhile there is no file, and an old one stays as it was."""
    path = tmp_path / "a.csv"
    path.write_text("old")

    def break_off() -> None:
        with sheet(path, ["name"]) as add:
            add(["x"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.csv", "old")]


def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path):
    """A folder that is missing, and a folder in the place of the file, are refused before anything is done."""
    for path in (tmp_path / "no" / "a.csv", tmp_path):
        with pytest.raises(ConfigurationError, match=str(path)), sheet(path, ["name"]):
            pytest.fail("must not begin")
