"""Charts are sound SVG, show every point in its place, and escape all text."""

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strict_page import assert_self_contained, read

from lineshaft.ui.chart import COLOURS, HEIGHT, PALE, WIDTH, lines, reliability

EVIL = '"><script>alert(1)</script>'


def polylines(svg):
    return [[tuple(map(float, p.split(","))) for p in a["points"].split()] for a in read(svg).all("polyline")]


def test_nothing_to_draw_is_nothing():
    assert lines({}, "x", "y") == lines({"a": []}, "x", "y") == lines({"a": [(1, math.nan)]}, "x", "y") == ""
    assert reliability([]) == ""


def test_a_line_goes_from_corner_to_corner():
    (points,) = polylines(lines({"loss": [(1, 0.0), (2, 5.0), (3, 10.0)]}, "epoch", "loss"))
    (left, bottom), (middle, half), (right, top) = points
    assert left < middle < right
    assert bottom > half > top  # SVG counts from the top
    assert middle - left == pytest.approx(right - middle, abs=0.2)
    assert bottom - half == pytest.approx(half - top, abs=0.2)


def test_lines_share_their_axes():
    low, high = polylines(lines({"low": [(0, 0), (1, 1)], "high": [(0, 10), (1, 10)]}, "x", "y"))
    assert high[0][1] == high[1][1] < low[1][1] < low[0][1]


def test_all_text_is_escaped():
    svg = lines({EVIL: [(0, 0), (1, 1)], "one & point": [(0, 0.5)]}, EVIL, EVIL)
    page = read(svg)
    assert_self_contained(page)
    assert page.text("text").count(EVIL) == 3  # the key and both axes
    assert page.text("title") == [EVIL, "one & point"]


def test_one_point_is_seen_and_so_is_a_level_line():
    assert read(lines({"a": [(1, 0.5)]}, "x", "y")).all("circle")
    (points,) = polylines(lines({"a": [(1, 0.5), (2, 0.5)]}, "x", "y"))
    assert points[0][1] == points[1][1]


def test_what_is_not_finite_is_left_out():
    (points,) = polylines(lines({"a": [(1, 1.0), (2, math.inf), (3, math.nan), (4, 2.0)]}, "x", "y"))
    assert len(points) == 2


def test_the_bold_are_in_colour_with_a_key_and_the_others_pale():
    svg = lines({"a": [(0, 0), (1, 1)], "b": [(0, 1), (1, 0)], "c": [(0, 1), (1, 1)]}, "x", "y", bold=["b"])
    page = read(svg)
    strokes = {a["points"]: a["stroke"] for a in page.all("polyline")}
    assert sorted(strokes.values()) == sorted([PALE, PALE, COLOURS[0]])
    assert "b" in page.text("text") and "a" not in page.text("text")
    assert read(lines({"a": [(0, 0), (1, 1)], "b": [(0, 1), (1, 0)]}, "x", "y")).text("text")[-2:] == ["a", "b"]


def test_a_long_name_is_cut_in_the_key_and_whole_where_one_points():
    page = read(lines({"n" * 300: [(0, 0), (1, 1)]}, "x", "y"))
    assert page.text("text")[-1] == "n" * 67 + "…"
    assert page.text("title") == ["n" * 300]


def test_a_key_for_each_line_has_room():
    svg = lines({f"line {n}": [(0, n), (1, n)] for n in range(20)}, "x", "y")
    height = float(re.search(r'viewBox="0 0 \d+ (\d+)"', svg)[1])
    assert height == HEIGHT + 20 * 14
    assert max(float(a["y"]) for a in read(svg).all("text")) < height


BIN = st.fixed_dictionaries(
    {"rows": st.integers(1, 10**6), "confidence": st.floats(0.1, 1), "accuracy": st.floats(0, 1)}
)


@settings(max_examples=50, deadline=None)
@given(st.lists(BIN, min_size=1, max_size=10))
def test_a_reliability_plot_holds_every_bin_within_its_frame(bins):
    page = read(reliability(bins))
    discs = page.all("circle")
    assert len(discs) >= len(bins)
    for disc in discs:
        assert 0 <= float(disc["cx"]) <= WIDTH
        assert 0 <= float(disc["cy"]) <= HEIGHT
        assert 0 < float(disc["r"]) <= 12
    assert {f"{bin_['rows']} rows" for bin_ in bins} <= set(page.text("title"))


def test_calibrated_bins_lie_on_the_dashes_and_large_ones_are_large():
    svg = reliability([
        {"rows": 1, "confidence": 0.6, "accuracy": 0.6},
        {"rows": 99, "confidence": 0.9, "accuracy": 0.9},
    ])  # fmt: skip
    page = read(svg)
    small, large = page.all("circle")
    assert float(small["r"]) < float(large["r"])
    dashes = next(a["d"] for a in page.all("path") if "stroke-dasharray" in a)
    x1, y1, x2, y2 = map(float, re.fullmatch(r"M([\d.]+),([\d.]+) L([\d.]+),([\d.]+)", dashes).groups())
    for disc in (small, large):
        on_line = y1 + (float(disc["cx"]) - x1) / (x2 - x1) * (y2 - y1)
        assert float(disc["cy"]) == pytest.approx(on_line, abs=0.3)
