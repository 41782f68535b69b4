import msgspec

from harness.core.effect_paths import effect_place
from harness.core.labels import Role
from harness.core.values import Effect
from harness.report.effect_layout import EffectRow, columns_of, differing, effect_rows, table_cards
from harness.report.exemplars import build_exemplar
from harness.report.model import Exemplar
from tests.report import samples
from tests.report.effect_samples import EFFECTS, doings, effect

BY_FINDING = {exemplar.finding: exemplar for exemplar in samples.exemplars()}


UUIDS = ("2c2b3c92-71d2-4a38-9d0e-5a1f3c8e7b10", "b7e0a3d4-90aa-4c1b-8f52-0e6d9a7c3f21", "5d8f1e07-c41f-4e6b-b2a9-7c3d0f4e8a65")


def charge(amount: int, key: str) -> Effect:
    return effect("http", "POST a.test/charge", {"amount": amount, "key": key})


def exemplar(stable: tuple[Effect, ...], candidate: tuple[Effect, ...], secondary: tuple[Effect, ...]) -> Exemplar:
    bare = samples.trial("x", "POST /orders", samples.POST_ORDER, samples.response(201, {}), samples.response(201, {}))
    trial = samples.doing(bare, stable, candidate, secondary)
    return build_exemplar(samples.FINDINGS[6], trial, None, stable=samples.STABLE, candidate=samples.CANDIDATE)


def said(row: EffectRow) -> dict[str, str]:
    return {cell.role.value: cell.says for cell in row.cells}


def test_rows_say_what_the_candidate_does_otherwise() -> None:
    rows = effect_rows(BY_FINDING["f1c0ffee07"])
    assert [row.operation for row in rows] == [
        "GET prices.test/skus/{sku}",
        "POST payments.test/charge",
        "POST payments.test/charge",
        "INSERT public.orders",
        "SET cart:{int}",
    ]
    assert [row.same for row in rows] == [True, False, False, False, True]
    assert said(rows[1]) == {"stable": "", "candidate": "other generated values", "secondary": "other generated values"}
    assert said(rows[2]) == {"stable": "", "candidate": "once more than stable", "secondary": ""}
    assert rows[2].cells[0].view is None
    assert [cell.alone for cell in rows[2].cells] == [False, True, False]
    assert not any(cell.alone for row in rows for cell in row.cells if row is not rows[2])
    assert differing(rows) == 1


def test_what_is_not_done_has_an_empty_cell() -> None:
    rows = effect_rows(exemplar(doings("k"), doings("k")[:-1], doings("k")))
    assert said(rows[-1]) == {"stable": "", "candidate": "not done", "secondary": ""}
    assert rows[-1].cells[1].view is None
    assert [cell.alone for cell in rows[-1].cells] == [False, True, False]
    assert differing(rows) == 1
    as_well = effect_rows(exemplar(doings("k"), doings("k")[:-1], doings("k")[:-1]))
    assert said(as_well[-1])["secondary"] == "not done"
    assert differing(as_well) == 0, "the secondary does not do it either: noise"
    assert as_well[-1].noise


def test_what_only_the_candidate_lacks_is_its_difference_though_ids_differ_at_the_secondary() -> None:
    (row,) = effect_rows(exemplar((charge(1, UUIDS[0]),), (), (charge(1, UUIDS[1]),)))
    assert said(row) == {"stable": "", "candidate": "not done", "secondary": "other generated values"}
    assert [cell.alone for cell in row.cells] == [False, True, False]
    assert not row.noise
    assert differing([row]) == 1


def test_generated_values_are_told_from_others() -> None:
    one, two, three = UUIDS
    (other,) = effect_rows(exemplar((charge(1, one),), (charge(2, two),), (charge(1, three),)))
    assert said(other) == {"stable": "", "candidate": "another value", "secondary": "other generated values"}
    assert other.cells[1].alone
    (both,) = effect_rows(exemplar((charge(1, one),), (charge(2, two),), (charge(3, three),)))
    assert said(both) == {"stable": "", "candidate": "another value", "secondary": "another value"}
    assert (both.noise, differing([both])) == (True, 0)
    (steady,) = effect_rows(exemplar((charge(1, one),), (charge(1, two),), (charge(1, one),)))
    assert said(steady) == {"stable": "", "candidate": "another value", "secondary": ""}
    assert steady.cells[1].alone, "the secondary has stable's very value: it is not made anew"


def test_the_same_change_of_other_values_is_no_difference() -> None:
    before, after = (effect("sqlite", "UPDATE a", {"changed": {"n": n}, "row": {"n": n - 2}}) for n in (990, 988))
    (row,) = effect_rows(exemplar((after,), (before,), (after,)))
    assert said(row) == {"stable": "", "candidate": "same change, other value before", "secondary": ""}
    assert differing([row]) == 0


def test_the_findings_own_operation_comes_first_and_of_it_what_differs() -> None:
    about = effect_place("$['http POST payments.test/charge']")
    rows = effect_rows(BY_FINDING["f1c0ffee07"], about)
    assert [row.operation.split(" ")[1] for row in rows] == [
        *("payments.test/charge", "payments.test/charge"),
        *("prices.test/skus/{sku}", "public.orders", "cart:{int}"),
    ]
    assert [row.own for row in rows] == [True, True, False, False, False]
    assert said(rows[0])["candidate"] == "once more than stable"
    assert not any(row.own for row in effect_rows(BY_FINDING["f1c0ffee07"]))


def test_as_few_as_explain_it_are_out_of_order() -> None:
    one, two, three, four = (effect("redis", f"SET {name}", {}) for name in "abcd")
    rows = effect_rows(exemplar((one, two, three, four), (four, one, two, three), (one, two, three, four)))
    assert [(row.operation, row.cells[1].moved) for row in rows] == [("SET a", False), ("SET b", False), ("SET c", False), ("SET d", True)]
    assert not rows[3].same
    assert not any(cell.moved for row in rows for cell in row.cells if cell.role is not Role.CANDIDATE)
    assert differing(rows) == 1
    as_well = effect_rows(exemplar((one, two, three, four), (four, one, two, three), (four, one, two, three)))
    assert differing(as_well) == 0, "the secondary does it in that order too"


def test_extra_ones_in_between_do_not_move_the_others() -> None:
    one, two = (effect("redis", f"SET {name}", {}) for name in "ab")
    rows = effect_rows(exemplar((one, two), (effect("redis", "DEL x", {}), one, two), (one, two)))
    assert not any(cell.moved for row in rows for cell in row.cells)


def test_columns_stand_in_the_reports_order() -> None:
    assert columns_of(BY_FINDING["f1c0ffee07"]) == (Role.STABLE, Role.CANDIDATE, Role.SECONDARY)
    assert columns_of(BY_FINDING["f1c0ffee01"]) == ()
    assert effect_rows(BY_FINDING["f1c0ffee01"]) == []


def test_changed_leaves_are_marked() -> None:
    rows = effect_rows(BY_FINDING["f1c0ffee08"])
    (stored,) = (row for row in rows if row.operation == "INSERT public.orders")
    marked = [[piece.text for piece in cell.pieces if piece.changed] for row in stored.lines for cell in row.cells if cell and cell.changed]
    assert marked == [["1250"], ["125000"]]


def test_stored_state_stands_side_by_side() -> None:
    (card,) = table_cards(EFFECTS, noisy=False)
    assert card.place == "column total of public.orders"
    (lines,) = card.rows
    changed = [[cell.changed if cell else None for cell in row.cells] for row in lines if any(cell and cell.changed for cell in row.cells)]
    assert changed == [[True, True, False]]
    (noisy,) = table_cards(EFFECTS, noisy=True)
    assert noisy.difference.table == "public.audit"


def test_a_row_that_one_target_lacks_is_an_empty_column() -> None:
    rows = {"stable": '{"id":1}', "candidate": "", "secondary": '{"id":1}'}
    facts = msgspec.structs.replace(EFFECTS, tables=(msgspec.structs.replace(EFFECTS.tables[0], rows=(rows,)),))
    ((lines,),) = (card.rows for card in table_cards(facts, noisy=False))
    assert all(row.cells[1] is None for row in lines)
