from harness.core.limits import REPORT_EFFECT_CHARS_MAX, REPORT_EFFECT_ROWS_MAX, REPORT_TEXT_CHARS_MAX
from harness.core.watched import EffectsFacts, LapseFact, TableDifference, Unattributed, Watched
from harness.report.effect_facts import bounded_facts
from tests.report.effect_samples import EFFECTS


def test_what_is_clean_and_short_stays() -> None:
    assert bounded_facts(EFFECTS) == EFFECTS


def test_names_are_made_visible_and_bounded() -> None:
    odd = "a\u202e\n" + "x" * 10_000
    facts = bounded_facts(
        EffectsFacts(
            watched=(Watched(collector=odd, version="1", mode=odd, lapses=(LapseFact(what=odd, count=1),)),),
            unattributed=(Unattributed(collector="http", operation=odd, counts={"stable": 1}),),
            tables=(TableDifference(collector="x", table=odd, column=odd, values={"stable": odd}, rows=({"stable": odd},)),),
        )
    )
    (watched,), (stray,), (table,) = facts.watched, facts.unattributed, facts.tables
    short = [watched.collector, watched.mode, watched.lapses[0].what, stray.operation, table.table, table.column, table.values["stable"]]
    assert all(text.startswith("a\\u202e\\nx") and len(text) <= REPORT_TEXT_CHARS_MAX for text in short)
    assert len(table.rows[0]["stable"]) == REPORT_EFFECT_CHARS_MAX


def test_lists_are_bounded_and_lapses_are_never_lost() -> None:
    many = REPORT_EFFECT_ROWS_MAX + 5
    lapses = tuple(LapseFact(what=str(number), count=2, blind=number == many - 1) for number in range(many))
    facts = bounded_facts(
        EffectsFacts(
            watched=(Watched(collector="http", version="1", lapses=lapses),),
            unattributed=tuple(Unattributed(collector="http", operation=str(number), counts={}) for number in range(many)),
            tables=tuple(TableDifference(collector="http", table=str(number)) for number in range(many)),
        )
    )
    assert len(facts.unattributed) == len(facts.tables) == REPORT_EFFECT_ROWS_MAX
    assert len(facts.watched[0].lapses) == REPORT_EFFECT_ROWS_MAX + 1
    assert facts.watched[0].lapses[-1] == LapseFact(what="further ones", count=10, blind=True)
