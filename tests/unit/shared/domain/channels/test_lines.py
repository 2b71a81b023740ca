"""Find the lines of keys in TOML."""

import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.channels.lines import KeyPath, key_lines, line_of

TEXT = '''# a comment = 1
top = "x # no comment" # [not.a.table]

[defaults]
remark = """
[looks.like] = "a table"
""\\"" and = more
"""
literal = \'\'\'
x = 1
\'\'\'\'
list = [
  "a", # ]
  ["b"],
  { c = "}" },
]
after = \'it]s\'

[channels . "展会 26" ]
name = "a\\"b"
a.b . c = 1
inline = { welcome = "x", tags = ["y"] }

[[channels.x.attachments]]
title = 1
[[channels.x.attachments]]
title = 2
[channels.x.attachments.deep]
key = 3
\'quoted key\' = 4
empty = ""
last = "no line break at the end"'''


def test_keys_are_found_where_they_stand():
    """Every key has its line, whatever strings, comments and brackets stand around it."""
    lines = key_lines(TEXT)
    expected: dict[KeyPath, int] = {
        ("top",): 2,
        ("defaults",): 4,
        ("defaults", "remark"): 5,
        ("defaults", "literal"): 9,
        ("defaults", "list"): 12,
        ("defaults", "after"): 17,
        ("channels",): 19,
        ("channels", "展会 26"): 19,
        ("channels", "展会 26", "name"): 20,
        ("channels", "展会 26", "a"): 21,
        ("channels", "展会 26", "a", "b"): 21,
        ("channels", "展会 26", "a", "b", "c"): 21,
        ("channels", "展会 26", "inline"): 22,
        ("channels", "x"): 24,
        ("channels", "x", "attachments"): 24,
        ("channels", "x", "attachments", 0): 24,
        ("channels", "x", "attachments", 0, "title"): 25,
        ("channels", "x", "attachments", 1): 26,
        ("channels", "x", "attachments", 1, "title"): 27,
        ("channels", "x", "attachments", 1, "deep"): 28,
        ("channels", "x", "attachments", 1, "deep", "key"): 29,
        ("channels", "x", "attachments", 1, "deep", "quoted key"): 30,
        ("channels", "x", "attachments", 1, "deep", "empty"): 31,
        ("channels", "x", "attachments", 1, "deep", "last"): 32,
    }
    assert lines == expected
    assert tomllib.loads(TEXT)["channels"]["x"]["attachments"][1]["deep"]["key"] == 3


def test_what_has_no_line_has_that_of_the_table_around_it():
    """A key inside an inline table, or one that is missing, is looked for around it."""
    lines = key_lines(TEXT)
    assert line_of(("channels", "展会 26", "inline", "welcome"), lines) == 22
    assert line_of(("channels", "x", "name"), lines) == 24
    assert line_of(("nowhere",), lines) == 1


def _paths(value: object, path: KeyPath = ()) -> set[KeyPath]:
    found = {path} if path else set()
    if isinstance(value, dict):
        for key, inner in value.items():
            found |= _paths(inner, (*path, key))
    return found


strings = st.sampled_from(
    ['"a"', "'b'", '"""c\n[x]\ny=1"""', "'''d\n'''", '"\\"#"', "''", '""', "[1, 2]", '[\n"]",#]\n]', "1"]
)
parts = st.sampled_from(["a", "b-1", '"c d"', "'e'", '"[f"'])


@settings(deadline=None)  # the machine may be busy
@given(st.dictionaries(parts, st.dictionaries(parts, strings, min_size=1, max_size=4), min_size=1, max_size=4))
def test_the_same_keys_as_tomllib(tables):
    """The scanner finds exactly the keys that tomllib reads, and each on its own line."""
    written = []
    for table, entries in tables.items():
        written += [f"[{table}]", *(f"{key} = {value} # [c]" for key, value in entries.items())]
    text = "\n".join(written)
    lines = key_lines(text)
    assert set(lines) == _paths(tomllib.loads(text))
    for path, line in lines.items():
        assert str(path[-1]) in text.split("\n")[line - 1]
