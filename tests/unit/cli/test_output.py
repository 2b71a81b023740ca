"""Tables on a terminal of eighty columns."""

import pytest

from cli.channels.tables import list_table
from cli.output import print_table
from shared.domain.templates import CHINA

KEY = "expo26-shanghai-hall-b-2026"


def row(key: str, name: str) -> dict:
    return {
        "channel": key,
        "name": name,
        "state": f"qd_{key}",
        "status": "state changed",
        "staff": ["lin.qiao", "zhou.yi", "wang.fang"],
        "party": [2],
        "created_at": 1_760_000_000,
    }


@pytest.mark.parametrize("columns", ["80", "40", "200"])
def test_what_people_copy_is_never_broken(monkeypatch, capsys, columns):
    """Keys, states and dates stay whole where the terminal is too narrow for all; names are put on several lines."""
    monkeypatch.setenv("COLUMNS", columns)
    print_table(list_table([row(KEY, "上海国际展会 2026 秋季 B 馆"), row("xhs", "小红书")], CHINA))
    said = capsys.readouterr().out
    for whole in (KEY, f"qd_{KEY}", "qd_xhs", "2025-10-09", "state changed"):
        assert whole in said


def test_a_table_that_fits_is_no_wider_than_the_terminal(monkeypatch, capsys):
    """Short keys leave room for all."""
    monkeypatch.setenv("COLUMNS", "100")
    print_table(list_table([row("xhs", "小红书")], CHINA))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100
