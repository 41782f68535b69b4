"""A stored run judged again: bit for bit by its own policy, otherwise by another one, and never a pass where something is missing."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.app.gate import run_gate
from harness.app.stored import judge_again, judge_run, render_report
from harness.core.errors import SetupError, UsageError
from harness.core.labels import EffectsSeen, ReasonCode, VerdictState
from harness.core.watched import EffectsFacts, TableDifference, Watched
from harness.evidence.bets import EffectCount, decode_bets, encode_bets
from harness.frames import FrameReader, FrameWriter, new_file
from harness.store import BETS_FILE, FORMAT_VERSION, MAGIC, RUN_FILE, TRIALS_FILE
from tests.app.support import Handler, Heard, builds, capture, items, record_in, report_in, settings, shop


def stored(out: Path, candidate: Handler, *, verdict: bool = True, **sections: Any) -> Path:
    """A run of 30 requests."""
    file = capture(out.parent / f"{out.name}.gor", items(30))

    async def body() -> None:
        async with builds(candidate) as urls:
            await run_gate(settings(out, urls, **sections), [file], Heard(), verdict=verdict)

    asyncio.run(body())
    return out


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("passed") / "run", shop())


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("failed") / "run", shop(price=11))


@pytest.fixture
def copy(passed: Path, tmp_path: Path) -> Path:
    """A run that passed, to be damaged."""
    out = tmp_path / "run"
    out.mkdir()
    for path in passed.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return out


@pytest.mark.parametrize("name", ["passed", "failed"])
def test_a_run_is_judged_again_bit_for_bit(name: str, request: pytest.FixtureRequest) -> None:
    run: Path = request.getfixturevalue(name)
    before = report_in(run)
    files = {path.name: path.read_bytes() for path in run.iterdir()}
    first, verdict = judge_again(run)
    second, again = judge_again(run)
    assert first == second
    assert verdict == again
    assert first == before, "the report that the run wrote"
    assert msgspec.json.encode(first) == msgspec.json.encode(before)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == files, "nothing is written"


@pytest.mark.parametrize(("name", "code", "word"), [("passed", 0, "PASS"), ("failed", 1, "FAIL")])
def test_the_exit_code_is_the_verdicts(name: str, code: int, word: str, request: pytest.FixtureRequest) -> None:
    ui = Heard()
    run: Path = request.getfixturevalue(name)
    assert judge_run(run, None, ui) == code
    assert ui.text.startswith(word) or f" {word} " in ui.text
    assert "report.html" not in ui.text, "that is the report of the first verdict"


def test_another_policy_gives_another_answer_and_says_so(passed: Path, failed: Path, tmp_path: Path) -> None:
    report, verdict = judge_again(passed, "rollout")
    assert verdict.state is VerdictState.INCONCLUSIVE, "30 requests are too few to speak of all traffic"
    assert verdict.reasons[0].code is ReasonCode.TOO_LITTLE_DATA
    assert report.policy.name == "rollout"
    strict = tmp_path / "strict.yaml"
    strict.write_text("alpha: 1.0e-300\n", encoding="utf-8")
    report, verdict = judge_again(failed, str(strict))
    assert verdict.state is VerdictState.INCONCLUSIVE
    assert report.policy.alpha == 1e-300
    assert report.findings


def test_a_run_is_judged_by_the_policy_it_was_made_with(tmp_path: Path) -> None:
    strict = tmp_path / "strict.yaml"
    strict.write_text("alpha: 1.0e-300\n", encoding="utf-8")
    run = stored(tmp_path / "run", shop(price=11), policy=str(strict))
    strict.unlink()
    report, verdict = judge_again(run)
    assert (report.policy.name, verdict.state) == ("strict", VerdictState.INCONCLUSIVE)
    assert report == report_in(run)
    assert judge_run(run, "default", Heard()) == 1


def test_a_replay_can_be_judged_afterwards(tmp_path: Path) -> None:
    run = stored(tmp_path / "run", shop(price=11), verdict=False)
    assert report_in(run).verdict is None
    assert judge_run(run, None, Heard()) == 1


def test_an_unknown_policy_is_a_usage_error(passed: Path) -> None:
    with pytest.raises(UsageError, match="no policy is called"):
        judge_run(passed, "lenient", Heard())


def changed(**fields: Any) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        file = run / RUN_FILE
        record = msgspec.json.decode(file.read_bytes())
        file.write_bytes(msgspec.json.encode({**record, **fields, "digest": ""}))

    return change


def without_facts(run: Path) -> None:
    changed(facts={})(run)


def without_policy(run: Path) -> None:
    facts = msgspec.json.decode((run / RUN_FILE).read_bytes())["facts"]["facts"]
    changed(facts={"facts": {name: value for name, value in facts.items() if name != "policy"}})(run)


def cut(name: str, count: int) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        file = run / name
        file.write_bytes(file.read_bytes()[:-count])

    return change


def flipped(run: Path) -> None:
    file = run / BETS_FILE
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def removed(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def emptied(run: Path) -> None:
    (run / BETS_FILE).write_bytes(b"")


@pytest.mark.parametrize(
    "damage",
    [
        cut(BETS_FILE, 1),
        cut(BETS_FILE, 200),
        emptied,
        flipped,
        removed(BETS_FILE),
        removed(RUN_FILE),
        removed("report.json"),
        cut("report.json", 30),
        changed(format_version=FORMAT_VERSION + 1),
        changed(finished=False),
        changed(bets_lost=1),
        changed(bets=61),
        without_facts,
        without_policy,
        cut(RUN_FILE, 40),
    ],
)
def test_a_run_that_is_damaged_newer_or_not_whole_never_passes(damage: Callable[[Path], None], copy: Path) -> None:
    damage(copy)
    with pytest.raises(SetupError) as caught:
        judge_run(copy, None, Heard())
    assert caught.value.exit_code == 4
    assert str(copy) in caught.value.where
    assert caught.value.fix


@pytest.mark.parametrize("frame", [b"\xc1", b"\x90", b"\x92\x00\xa2\xff\xfe"])
def test_bets_of_another_shape_are_damage(frame: bytes, copy: Path) -> None:
    from harness.frames import FrameWriter, new_file  # noqa: PLC0415 - for this case alone
    from harness.store import MAGIC  # noqa: PLC0415 - as above

    (copy / BETS_FILE).unlink()
    writer = FrameWriter(new_file(copy / BETS_FILE), MAGIC[BETS_FILE], prefix_only=True)
    writer.append(frame)
    writer.close()
    with pytest.raises(SetupError, match="cannot be read"):
        judge_run(copy, None, Heard())


def test_a_damaged_trials_file_is_no_matter_of_the_verdict(copy: Path) -> None:
    (copy / TRIALS_FILE).unlink()
    assert judge_run(copy, None, Heard()) == 0


@pytest.mark.parametrize(("form", "start"), [("json", "{"), ("html", "<!doctype html>"), ("junit", "<?xml"), ("markdown", "#")])
def test_a_report_is_printed_in_any_form(form: str, start: str, failed: Path) -> None:
    ui = Heard()
    assert render_report(failed, form, ui) == 0
    assert len(ui.results) == 1
    assert ui.results[0].lower().startswith(start)
    name = {"json": "report.json", "html": "report.html", "junit": "junit.xml", "markdown": "summary.md"}[form]
    assert (failed / name).read_text(encoding="utf-8").split()[:40] == ui.results[0].split()[:40]


def test_a_report_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="there is no report") as caught:
        render_report(tmp_path, "json", Heard())
    assert caught.value.where == str(tmp_path / "report.json")
    assert not (tmp_path / "run.json").exists()


def test_the_run_says_that_it_is_whole(passed: Path) -> None:
    record = record_in(passed)
    assert (record.finished, record.bets) == (True, 60)


def with_effects(run: Path, facts: EffectsFacts, candidate: Callable[[int], int] = lambda _: 1) -> None:
    """Make it a run that watched effects, in which the candidate charged so often for each request, and stable once."""
    trials = [decode_bets(frame) for frame in FrameReader(run / BETS_FILE, MAGIC[BETS_FILE])]
    (run / BETS_FILE).unlink()
    writer = FrameWriter(new_file(run / BETS_FILE), MAGIC[BETS_FILE], prefix_only=True)
    for trial in trials:
        counts = (EffectCount("http", "POST pay.example/charge", 1, 1, candidate(trial.seq)),)
        writer.append(encode_bets(msgspec.structs.replace(trial, effects_seen=EffectsSeen.COMPLETE, effects=counts)))
    writer.close()
    stored_facts = msgspec.json.decode((run / RUN_FILE).read_bytes())["facts"]
    stored_facts["facts"]["effects"] = msgspec.to_builtins(facts)
    changed(facts=stored_facts)(run)


SEEN = EffectsFacts(watched=(Watched(collector="http", version="1", seen={"stable": 60, "secondary": 60, "candidate": 60}),), complete=60)
RULE = "effects: [{effect: http POST *, at_most: 1, at_least: 1}]\nrequire_effects: [http]\n"


@pytest.mark.parametrize(
    ("candidate", "state", "code"),
    [
        (lambda _: 1, VerdictState.PASS, ReasonCode.CLAIM_REACHED),
        (lambda seq: 2 if seq == 41 else 1, VerdictState.FAIL, ReasonCode.HARD_RULE),
        (lambda seq: int(seq != 3), VerdictState.FAIL, ReasonCode.HARD_RULE),
    ],
)
def test_rules_on_effects_are_applied_to_a_stored_run(
    copy: Path, tmp_path: Path, candidate: Callable[[int], int], state: VerdictState, code: ReasonCode
) -> None:
    policy = tmp_path / "rules.yaml"
    policy.write_text(RULE, encoding="utf-8")
    with_effects(copy, SEEN, candidate)
    report, verdict = judge_again(copy, str(policy))
    assert (verdict.state, verdict.reasons[0].code) == (state, code)
    assert report.effects.watched
    assert judge_again(copy)[1].state is VerdictState.PASS, "its own policy says nothing of them"


def test_what_was_watched_beside_the_trials_is_judged_again(copy: Path) -> None:
    with_effects(copy, msgspec.structs.replace(SEEN, tables=(TableDifference(collector="postgres", table="orders"),)))
    _, verdict = judge_again(copy)
    assert (verdict.state, verdict.reasons[0].code) == (VerdictState.INCONCLUSIVE, ReasonCode.FINAL_STATE)


def test_a_run_of_before_there_were_effects_has_none_that_a_policy_could_require(copy: Path, tmp_path: Path) -> None:
    facts = msgspec.json.decode((copy / RUN_FILE).read_bytes())["facts"]
    facts["facts"].pop("effects", None)
    changed(facts=facts)(copy)
    assert judge_again(copy)[1].state is VerdictState.PASS
    policy = tmp_path / "rules.yaml"
    policy.write_text(RULE, encoding="utf-8")
    _, verdict = judge_again(copy, str(policy))
    assert (verdict.state, verdict.reasons[0].code) == (VerdictState.INCONCLUSIVE, ReasonCode.EFFECTS_NOT_OBSERVED)
