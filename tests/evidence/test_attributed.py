"""For whom, from trials to the snapshot: what is read of trials, and what the ledger says of it."""

import random
from collections.abc import Iterable

import msgspec
import pytest

from harness.core.attributes import IN_FLIGHT, AttributeReader
from harness.core.labels import Design
from harness.core.redact import Redactor
from harness.core.values import Headers
from harness.evidence.attributed import attributed
from harness.evidence.bets import TrialBets, bets_of, decode_bets, encode_bets
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.evidence.snapshot import Evidence, Snapshot
from tests.sim.world import Answer, Three, compared

RIGHT: Three = ("1", "1", "1")
WRONG: Three = ("1", "1", "2")
NOISY: Three = ("1", "3", "2")


def seen(seq: int, answer: Answer, headers: Headers = (), *, every: int = 1, in_flight: int = 1) -> TrialBets:
    """As a comparing process tells it."""
    one, comparison = compared(seq, answer)
    one = msgspec.structs.replace(one, request=msgspec.structs.replace(one.request, headers=headers), in_flight=in_flight)
    return attributed(bets_of(one, comparison), one, AttributeReader(Redactor(b"key"), every=every))


def asked(entry: int, values: Three, *, pass_index: int = 0, design: Design = Design.THREE_ARM) -> Answer:
    return Answer(entity=f"/items/{entry}", entry=entry, values={"$.x": values}, pass_index=pass_index, fresh=True, design=design)


def folded(trials: Iterable[TrialBets]) -> Ledger:
    ledger = Ledger(Policy(), endpoints=("GET /items/{int}",))
    for one in trials:
        ledger.fold(one)
    return ledger


def region(entry: int) -> Headers:
    return (("X-Region", ("EU", "US", "BR", "JP")[entry % 4]),)


def run_of(passes: int = 9, size: int = 60) -> list[TrialBets]:
    """A capture whose requests from Japan differ in two places, and one from Brazil with them in none."""
    return [
        seen(
            index * size + entry,
            Answer(
                entity=f"/items/{entry}",
                entry=entry,
                values={"$.total": WRONG if entry % 4 == 3 else RIGHT, "$.tax": WRONG if entry % 4 == 3 else RIGHT},
                pass_index=index,
                fresh=True,
                at_s=(index * size + entry) * 0.05,
            ),
            region(entry),
        )
        for index in range(passes)
        for entry in range(size)
    ]


def by_path(snapshot: Snapshot) -> dict[str, Evidence]:
    return {finding.path: finding for finding in snapshot.findings}


def test_a_trial_in_the_sample_has_its_attributes_and_another_only_where_the_candidate_stands_alone() -> None:
    reader = AttributeReader(Redactor(b"key"), every=16)
    weights = {reader.weight(seq) for seq in range(64)}
    assert weights == {0, 16}
    for seq in range(64):
        weight = reader.weight(seq)
        for values, shows in ((RIGHT, False), (NOISY, False), (WRONG, True)):
            said = seen(seq, Answer(values={"$.x": values}), every=16)
            assert (said.sampled, bool(said.attributes)) == (weight, bool(weight) or shows)


def test_later_passes_say_the_load_only_unless_they_differ() -> None:
    first, later = seen(0, asked(1, RIGHT)), seen(60, asked(1, RIGHT, pass_index=1), in_flight=5)
    assert len(first.attributes) > 2
    assert later.attributes == ((IN_FLIGHT, "4"),)
    assert len(seen(60, asked(1, WRONG, pass_index=1)).attributes) > 2


def test_a_repeat_is_no_part_of_the_traffic() -> None:
    assert seen(0, Answer(repeat=True, values={"$.x": WRONG})).attributes == ()


def test_what_is_stored_reads_the_same() -> None:
    said = seen(0, asked(1, WRONG), region(3))
    assert decode_bets(encode_bets(said)) == said


def test_bets_stored_before_attributes_were_read_are_still_read() -> None:
    said = seen(0, asked(1, WRONG))
    fields = msgspec.to_builtins(said)
    names = TrialBets.__struct_fields__
    old = fields[: names.index("attributes")]
    assert msgspec.convert(old, TrialBets).attributes == ()
    assert folded([msgspec.convert(old, TrialBets)]).snapshot().findings[0].slice is None


def test_for_each_finding_the_snapshot_says_for_whom() -> None:
    findings = by_path(folded(run_of()).snapshot())
    found = findings["$.total"].slice
    assert found is not None
    assert found.sentence == "differs for header x-region: JP, in 15 of 15 requests; 0 of 45 elsewhere"


def test_a_finding_everywhere_has_no_slice() -> None:
    run = [seen(n, asked(n, WRONG), region(n)) for n in range(60)]
    assert by_path(folded(run).snapshot())["$.x"].slice is None


def test_findings_that_share_one_cause_are_grouped_under_one_root() -> None:
    findings = by_path(folded(run_of()).snapshot())
    heads = [finding for finding in findings.values() if finding.root is None]
    assert len(findings) == 2
    assert len(heads) == 1
    assert {finding.root for finding in findings.values()} == {None, heads[0].id}


def test_findings_of_different_requests_are_not_grouped() -> None:
    run = [
        seen(n, Answer(entity=f"/{n}", entry=n, values={"$.a": WRONG if n % 2 else RIGHT, "$.b": RIGHT if n % 2 else WRONG}))
        for n in range(60)
    ]
    assert [finding.root for finding in folded(run).snapshot().findings] == [None, None]


def test_judging_again_says_the_same_bit_for_bit() -> None:
    run = run_of()
    first = folded(run).snapshot()
    again = folded(decode_bets(encode_bets(one)) for one in run).snapshot()
    assert msgspec.json.encode(first) == msgspec.json.encode(again)


def test_looking_changes_nothing() -> None:
    run = run_of(3)
    watched = Ledger(Policy(), endpoints=("GET /items/{int}",))
    for one in run:
        watched.fold(one)
        if one.seq % 20 == 0:
            watched.snapshot()
    assert watched.snapshot() == folded(run).snapshot()


@pytest.mark.parametrize("fresh", [True, False])
def test_nothing_of_the_verdict_hangs_on_attributes(*, fresh: bool) -> None:
    rng = random.Random(3)
    run = [
        seen(n, Answer(entity=f"/{n % 80}", entry=n % 80, pass_index=n // 80, fresh=fresh, values={"$.x": rng.choice([WRONG, RIGHT])}))
        for n in range(400)
    ]
    bare = [msgspec.structs.replace(one, attributes=(), sampled=0) for one in run]
    left, right = folded(run).snapshot(), folded(bare).snapshot()
    assert left.gate_log10 == right.gate_log10
    assert [msgspec.structs.replace(one, slice=None) for one in left.findings] == list(right.findings)


def test_secrets_never_come_near_a_stored_bet() -> None:
    said = seen(0, asked(1, WRONG), (("Authorization", "Bearer hunter2hunter2"), ("X-Api-Key", "hunter2hunter2")))
    assert b"hunter2" not in encode_bets(said)
    assert dict(said.attributes)["header.x-api-key"].startswith("redacted-")


def test_a_trial_without_an_answer_has_the_attributes_of_its_request() -> None:
    one, comparison = compared(0, Answer(status=(0, 0, 200)))
    said = attributed(bets_of(one, comparison), one, AttributeReader(Redactor(b"key")))
    assert dict(said.attributes)["method"] == "GET"
