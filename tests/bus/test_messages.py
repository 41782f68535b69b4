"""What goes over the bus comes out as it went in, and nothing else is taken for it."""

from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bus import messages
from harness.bus.messages import ENCODER, EffectsOrders, Message, Recorded, Result, decode_message, decode_recorded, decode_results
from harness.core.labels import Aspect, Kind, Role
from harness.core.values import Comparison, Difference, Effect
from tests.app.support import exchange, get

KINDS = get_args(Message)


WHOLE = st.integers(-(2**63), 2**64 - 1)
FIELDS: dict[object, st.SearchStrategy[Any]] = {
    int: WHOLE,
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=20),
    str: st.text(max_size=20),
    tuple[int, ...]: st.lists(WHOLE, max_size=5).map(tuple),
    EffectsOrders | None: st.none() | st.builds(EffectsOrders, wait_ns=WHOLE, delay_ns=WHOLE, ordered=st.just(("http *",))),
    tuple[tuple[str, Role, Effect], ...]: st.lists(
        st.tuples(
            st.text(max_size=9),
            st.sampled_from(Role),
            st.builds(Effect, collector=st.just("http"), operation=st.text(max_size=9), document=st.binary(max_size=9)),
        ),
        max_size=3,
    ).map(tuple),
    tuple[tuple[int, str], ...]: st.lists(st.tuples(WHOLE, st.text(max_size=9)), max_size=5).map(tuple),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_message_survives_the_way(kind: type[Message]) -> None:
    @given(message=st.builds(kind, **{name: FIELDS[hint] for name, hint in get_type_hints(kind).items() if name in kind.__struct_fields__}))
    def survives(message: Message) -> None:
        assert decode_message(ENCODER.encode(message)) == message

    survives()


def test_every_message_is_described() -> None:
    assert messages.__doc__ is not None
    said = {word.strip(",;.") for word in messages.__doc__.split()}
    assert {kind.__name__ for kind in KINDS} <= said


def test_results_and_records_survive_the_way() -> None:
    comparison = Comparison(trial="t3", seq=3, stable_candidate=(Difference(Aspect.BODY, "$.price", Kind.VALUE),))
    results = [Result(1, b"bets", comparison, b"trial"), Result(2, b"", comparison)]
    assert decode_results(ENCODER.encode(results)) == results
    recorded = Recorded(get("/a"), exchange("/a", b"{}"))
    assert decode_recorded(ENCODER.encode(recorded)) == recorded


@given(data=st.binary(max_size=60), decode=st.sampled_from([decode_message, decode_results, decode_recorded]))
def test_garbage_is_refused_with_one_kind_of_error(data: bytes, decode: Callable[[bytes], object]) -> None:
    try:
        decode(data)
    except msgspec.MsgspecError:
        pass
    except UnicodeDecodeError:
        pytest.fail("an error that a link does not take for garbage")
