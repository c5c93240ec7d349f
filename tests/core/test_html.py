"""Tables for notebooks: every cell is escaped."""

from lineshaft.core.html import html_table


def test_a_table_has_its_caption_header_and_rows():
    assert html_table("T", ["a", "b"], [(1, "x"), (None, 2.5)]) == (
        "<table><caption>T</caption><thead><tr><th>a</th><th>b</th></tr></thead>"
        "<tbody><tr><td>1</td><td>x</td></tr><tr><td>None</td><td>2.5</td></tr></tbody></table>"
    )


def test_nothing_in_a_table_is_markup():
    evil = "<script>alert('x')</script>&\""
    shown = html_table(evil, [evil], [[evil]])
    assert "<script>" not in shown and shown.count("&lt;script&gt;") == 3
    assert '"' not in shown


def test_no_rows_are_an_empty_body():
    assert html_table("T", [], []).endswith("<tbody></tbody></table>")
