import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Role
from harness.evidence.snapshot import TargetLatency
from harness.report.plots import WIDTH, Scale, flow_bar, latency_strip, rate_bar, scale_for

LATENCIES = st.floats(min_value=0, max_value=1e7)
TARGETS = {Role.STABLE: TargetLatency(5, 8, 20), Role.CANDIDATE: TargetLatency(6, 9, 40)}


@given(st.lists(LATENCIES, min_size=1, max_size=8))
def test_a_scale_holds_every_value_in_order(values: list[float]) -> None:
    scale = scale_for([{Role.STABLE: TargetLatency(value, value, value)} for value in values])
    positions = [scale.x(value) for value in sorted(values)]
    assert positions == sorted(positions)
    assert all(0 <= position <= WIDTH for position in positions)
    assert 1 <= len(scale.ticks()) <= 12


def test_ticks_are_round() -> None:
    assert Scale(3, 70).ticks() == [2, 5, 10, 20, 50, 100]
    assert scale_for([]).ticks()[0] == 1


def test_a_strip_is_an_image_with_a_text_twin() -> None:
    image = ET.fromstring(latency_strip('GET /a"><script>', TARGETS, scale_for([TARGETS])))
    assert image.attrib["role"] == "img"
    assert image.attrib["aria-label"] == (
        'Latency of GET /a"><script>: stable p50 5.0 ms, p90 8.0 ms, p99 20.0 ms; candidate p50 6.0 ms, p90 9.0 ms, p99 40.0 ms'
    )
    groups = [element.attrib["class"] for element in image if element.tag.endswith("}g")]
    assert groups == ["stable", "candidate"]


def test_seconds_on_the_axis() -> None:
    slow = {Role.STABLE: TargetLatency(900, 1500, 9000)}
    assert ">1 s</text>" in latency_strip("GET /", slow, scale_for([slow]))


def test_bars_stay_inside() -> None:
    image = ET.fromstring(rate_bar(1.7, -0.3, 2.0, 0.5))
    xs = [float(value) for element in image.iter() for key, value in element.attrib.items() if key in ("x1", "x2", "cx")]
    assert all(2 <= x <= 158 for x in xs)
    widths = [float(element.attrib["width"]) for element in ET.fromstring(flow_bar([("compared", 3), ("shed", 1), ("refused", 0)]))]
    assert widths == [75.0, 25.0]
    assert len(ET.fromstring(flow_bar([("compared", 0)]))) == 0
