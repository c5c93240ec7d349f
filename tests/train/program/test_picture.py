from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import cases, spilled_case
from test_price import UNITS, costs_of

from lineshaft.errors import UsageError
from lineshaft.train.program.actions import LANES, Action, Object, Span
from lineshaft.train.program.generate import resident
from lineshaft.train.program.picture import COLOURS, LEFT, WIDTH, diagram, gantt
from lineshaft.train.program.place import place
from lineshaft.train.program.price import price
from lineshaft.train.spill.execute import Executor

SVG = "{http://www.w3.org/2000/svg}"
F, B, S = Action("F", 0, 0, graph=True), Action("B", 0, 0), Action("S", 0)
LOAD, WRITE = Action("L", 1, what="p", drops=(Object(0, "p"),)), Action("W", 0, what="s")
STEP = [Span(F, 0, 3), Span(LOAD, 1, 10, 2048), Span(B, 5, 10), Span(S, 10, 12), Span(WRITE, 12, 20, 512)]


def parts(svg, tag):
    return ET.fromstring(svg).iter(f"{SVG}{tag}")  # noqa: S314 - our own drawing


def titles(svg):
    return [title.text for title in parts(svg, "title")]


def bars(svg):
    """Return title -> (left, width) in pixels."""
    return {
        group.find(f"{SVG}title").text: tuple(float(group.find(f"{SVG}rect").get(what)) for what in ("x", "width"))
        for group in parts(svg, "g")
    }


# in letters


def test_a_lane_per_line_under_a_ruler():
    assert diagram(STEP, width=9 + 41).splitlines() == [
        "s        0         5         10        15",
        "in         |L1p(0p)----------|",
        "compute  |F0.0+|   |B0.0-----|S0-|",
        "out                              |W0s------------|",
    ]


def test_shorter_names_where_there_is_less_room():
    lines = [diagram(STEP, width=9 + cells).splitlines() for cells in (81, 31, 17, 9)]
    assert [line[2].split("|")[1].strip("-") for line in lines] == ["F0.0+", "F00", "F", ""]
    assert [line[1].split("|")[1].strip("-") for line in lines] == ["L1p(0p)", "L1p(0p)", "L1p", "L1p"]


def test_two_digits_are_told_apart_by_a_point():
    for shard, micro, label in ((1, 2, "F12"), (11, 2, "F--"), (1, 11, "F--")):
        assert f"|{label}|" in diagram([Span(Action("F", shard, micro), 0, 1)], width=9 + 5)


def test_time_begins_with_the_first_action():
    late = [dataclasses.replace(span, start=span.start + 1e6, end=span.end + 1e6) for span in STEP]
    assert diagram(late) == diagram(STEP)
    assert gantt(late) == gantt(STEP)


@pytest.mark.parametrize(("unit", "name"), [(1.0, "s"), (1e-3, "ms"), (1e-6, "us")])
def test_the_unit_fits_the_time(unit, name):
    spans = [dataclasses.replace(span, start=span.start * unit, end=span.end * unit) for span in STEP]
    assert diagram(spans).splitlines()[0].split()[:3] == [name, "0", "5"]
    assert f">{name}</text>" in gantt(spans)


def test_the_example_of_two_buffers():
    priced = price(spilled_case(shards=3, micros=2, room=6, commit=True).steady(), UNITS)
    assert diagram(priced.spans, width=9 + 28 * 4 + 1) == (
        "s        0                   5                   10                  15                  20                  25\n"
        "in                   |L2p|L2s(0p)|                               |L0p|L0s(2p)|\n"
        "compute  |F00|F01|F10|F11|F20|B2.0---|F21|B2.1---|S2-|R10|B1.0---|R11|B1.1---|S1-|R00|B0.0---|R01|B0.1---|S0-|\n"
        "out                                                  |W2p|W2s----|               |W1p|W1s----|"
        "               |W0p|W0s----|"
    )


def test_a_width_without_room():
    with pytest.raises(UsageError, match="more than 9 letters for the names of its lanes, not width=9"):
        diagram(STEP, width=9)


def test_nothing_to_draw():
    assert [line.split()[0] for line in diagram([]).splitlines()[1:]] == list(LANES)
    assert not bars(gantt([]))
    assert not bars(gantt({}))


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(10, 130))
def test_no_line_is_wider_than_asked_for(case, width):
    priced = price(case.steady(1), costs_of(case, read=0.3, write=0.2))
    lines = diagram(priced.spans, width).splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= width


# as a drawing


def test_a_bar_where_and_as_long_as_the_action():
    pixels = (WIDTH - LEFT - 10) / 20
    assert bars(gantt(STEP)) == {
        "F0.0+: 3 s, from 0 s": pytest.approx((LEFT, 3 * pixels)),
        "L1p(0p): 9 s, from 1 s, 2.05 KB": pytest.approx((LEFT + pixels, 9 * pixels)),
        "B0.0: 5 s, from 5 s": pytest.approx((LEFT + 5 * pixels, 5 * pixels)),
        "S0: 2 s, from 10 s": pytest.approx((LEFT + 10 * pixels, 2 * pixels)),
        "W0s: 8 s, from 12 s, 512 bytes": pytest.approx((LEFT + 12 * pixels, 8 * pixels)),
    }


def test_a_stall_is_seen():
    assert [title for title in titles(gantt(STEP)) if title.startswith("stall")] == ["stall: 2 s, from 3 s"]
    late = [Span(LOAD, 0, 1), Span(F, 1, 2)]
    assert [title for title in titles(gantt(late)) if title.startswith("stall")] == ["stall: 1 s, from 0 s"]


@settings(max_examples=60, deadline=None)
@given(cases(), st.booleans())
def test_every_action_has_its_bar_and_its_colour(case, shared):
    priced = price(case.steady(1), costs_of(case, read=0.3, write=0.2, shared=shared))
    svg = gantt(priced.spans, "step")
    groups = list(parts(svg, "g"))
    assert len(groups) == len(priced.spans)
    for group in groups:
        kind = group.find(f"{SVG}title").text[0]
        assert group.find(f"{SVG}rect").get("fill") == COLOURS[kind][0]


def test_predicted_above_measured_on_one_scale():
    slower = [dataclasses.replace(span, start=span.start * 2, end=span.end * 2) for span in STEP]
    svg = gantt({"predicted": STEP, "measured": slower}, "a step")
    drawn = bars(svg)
    assert drawn["F0.0+: 6 s, from 0 s"][1] == pytest.approx(2 * drawn["F0.0+: 3 s, from 0 s"][1])
    texts = [text.text for text in parts(svg, "text")]
    assert texts.index("predicted: 20 s") < texts.index("measured: 40 s")
    downs = {title.text[0]: [] for title in parts(svg, "title")}
    for group in parts(svg, "g"):
        downs[group.find(f"{SVG}title").text[0]].append(float(group.find(f"{SVG}rect").get("y")))
    assert all(len(set(values)) == 2 for kind, values in downs.items() if kind in "FBSLW")


def test_names_are_escaped():
    hostile = "</title><script>alert('1')</script>&\""
    svg = gantt({hostile: STEP}, hostile)
    assert "<script" not in svg
    texts = [text.text for text in parts(svg, "text")]
    assert hostile in texts
    assert f"{hostile}: 20 s" in texts


def test_nothing_is_fetched_or_run():
    svg = gantt({"predicted": STEP}, "a step")
    assert re.findall(r"(?:href|src|url|style|on\w+)\s*[=(]", svg) == []
    assert re.findall(r"https?://[^\"]+", svg) == ["http://www.w3.org/2000/svg"]


def test_the_legend_names_what_is_drawn():
    texts = {text.text for text in parts(gantt(STEP), "text")}
    assert {"forward", "backward", "step", "load", "write", "stall", *LANES} <= texts
    assert not {"norm", "commit", "forward again"} & texts


def test_the_same_spans_give_the_same_drawing():
    assert gantt(STEP) == gantt(list(STEP))
    assert gantt({"": STEP}) == gantt(STEP)


def test_a_measured_trace_is_drawn():
    program = place(resident(1, 2), {Object(0, "p"): 1, Object(0, "s"): 2}, 3, commit=True)
    executor = Executor(lambda _: None, lambda _: 7, lambda _: 9)
    try:
        trace = executor.run(program)
        executor.settle()
    finally:
        executor.close()
    assert len(bars(gantt(trace.spans, "measured"))) == len({str(a) for a in program.actions})
    assert len(diagram(trace.spans).splitlines()) == 4
