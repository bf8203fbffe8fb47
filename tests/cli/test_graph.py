"""A saga is drawn: every step, every arrow, the point of no return."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

import pytest

from sagaflow import Replies, Saga
from sagaflow.cli.graph import HEIGHT, mermaid, svg
from tests.cli.conftest import Sagaflow

SVG = "{http://www.w3.org/2000/svg}"

voyage = Saga("voyage", str, version=2)


@voyage.step("travel.hold_seat")
def hold_seat(city: str, replies: Replies) -> str:
    return city


@voyage.step("hotels.hold_room", after=[])
def hold_room(city: str, replies: Replies) -> str:
    return city


@voyage.pivot("bank.pay", after=[hold_seat, hold_room])
def pay(city: str, replies: Replies) -> str:
    return city


@voyage.step("post.send_ticket")
def send_ticket(city: str, replies: Replies) -> str:
    return city


def test_mermaid_has_every_step_and_every_arrow() -> None:
    lines = [line.strip() for line in mermaid(voyage.plan).splitlines()]
    assert lines[:4] == ["---", "title: voyage, version 2", "---", "flowchart LR"]
    assert [line for line in lines if "-->" in line] == ["s0 --> s2", "s1 --> s2", "s2 --> s3"]
    assert 's2{{"bank.pay<br/><small>point of no return</small>"}}:::pivot' in lines
    assert 's3["post.send_ticket<br/><small>retried until it is done</small>"]:::retriable' in lines


def test_a_picture_has_every_step_and_every_arrow() -> None:
    root = ElementTree.fromstring(svg(voyage.plan))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts[0] == "voyage, version 2"
    assert {"travel.hold_seat", "hotels.hold_room", "bank.pay", "post.send_ticket"} <= set(texts)
    assert len([path for path in root.iter(f"{SVG}path") if path.get("marker-end")]) == 3


def test_no_box_of_a_picture_lies_on_another_or_outside() -> None:
    root = ElementTree.fromstring(svg(voyage.plan))
    boxes = [box for box in root.iter(f"{SVG}rect") if box.get("rx")]
    assert len(boxes) == 4
    places = [tuple(float(box.get(name, "")) for name in ("x", "y", "width")) for box in boxes]
    for (x1, y1, width, *_), (x2, y2, *_) in combinations(places, 2):
        assert abs(x1 - x2) >= width or abs(y1 - y2) >= HEIGHT
    for x, y, width in places:
        assert x + width <= float(root.get("width", ""))
        assert y + HEIGHT <= float(root.get("height", ""))


def test_a_saga_is_drawn_by_its_name(sagaflow: Sagaflow) -> None:
    said = sagaflow("graph", "tests.cli.test_graph:voyage")
    assert (said.code, said.errors) == (0, "")
    assert said.output == mermaid(voyage.plan)
    assert sagaflow("graph", "tests.cli.test_graph:voyage", "--format", "svg").output == svg(voyage.plan)


@pytest.mark.parametrize(("format_", "code"), [("mermaid", 0), ("svg", 2)])
def test_of_several_sagas_there_is_no_single_picture(sagaflow: Sagaflow, format_: str, code: int) -> None:
    said = sagaflow("graph", "tests.cli.test_graph:SEVERAL", "--format", format_)
    assert said.code == code
    assert said.output.count("flowchart") == (0 if code else 2)
    assert said.errors.count("\n") == (1 if code else 0)


SEVERAL = [voyage, voyage]
