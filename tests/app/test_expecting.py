"""Which accepted changes a run goes by: file, base ref, expiry; and what it keeps of what it saw."""

import datetime
import subprocess
from pathlib import Path

import pytest

from harness.app.expecting import DEFAULT_FILE, as_of, file_of, has_expired, load_expected, seen_views
from harness.core.errors import UsageError
from harness.core.redact import Redactor
from harness.evidence.bets import bets_of
from harness.evidence.expected import NOTHING_EXPECTED
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.evidence.seen import Relation, SeenBook
from harness.settings.expected_file import written
from tests.evidence.build import pair, trial
from tests.settings.test_expected_file import change

STARTED = datetime.datetime(2031, 12, 31, 23, 59, tzinfo=datetime.UTC).timestamp()


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b.test", *words], cwd=folder, check=True, capture_output=True)


def put(folder: Path, *changes: object) -> Path:
    path = folder / DEFAULT_FILE
    path.write_text(written(changes))  # type: ignore[arg-type]  # changes
    return path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """With one accepted change on main."""
    git(tmp_path, "init", "-b", "main")
    put(tmp_path, change("$.a"))
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    return tmp_path


def test_the_usual_file_lies_beside_the_configuration_or_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert file_of(None, tmp_path / "shadowdiff.yaml") == tmp_path / DEFAULT_FILE
    assert file_of("other.yaml", tmp_path / "shadowdiff.yaml") == Path("other.yaml")
    monkeypatch.chdir(tmp_path)
    assert load_expected(None, None, started=STARTED) == NOTHING_EXPECTED
    put(tmp_path, change())
    assert load_expected(None, None, started=STARTED).applied == (change(),)


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_expected(str(tmp_path / "none.yaml"), None, started=STARTED)


def test_an_entry_holds_through_its_last_day_by_the_runs_start(tmp_path: Path) -> None:
    file = str(put(tmp_path, change("$.a", expires="2031-12-31"), change("$.b", expires="2031-12-30")))
    facts = load_expected(file, None, started=STARTED)
    assert ([c.path for c in facts.applied], [c.path for c in facts.expired]) == (["$.a"], ["$.b"])
    assert not load_expected(file, None, started=STARTED + 61).applied


def test_what_the_working_tree_adds_or_alters_over_the_ref_is_self_accepted(repository: Path) -> None:
    file = str(put(repository, change("$.a", reason="wider"), change("$.b")))
    facts = load_expected(file, None, started=STARTED, ref="main")
    assert facts.applied == (change("$.a"),)
    assert {c.path for c in facts.self_accepted} == {"$.a", "$.b"}
    assert not facts.self_accepted_applied


def test_self_accepted_entries_count_where_the_policy_allows_it(repository: Path) -> None:
    file = str(put(repository, change("$.a", reason="wider"), change("$.b")))
    facts = load_expected(file, None, started=STARTED, ref="main", allow_self=True)
    assert {(c.path, c.reason) for c in facts.applied} == {("$.a", "wider"), ("$.b", "cents now")}
    assert facts.self_accepted_applied


def test_what_the_working_tree_takes_out_still_counts(repository: Path) -> None:
    (repository / DEFAULT_FILE).unlink()
    facts = load_expected(None, repository / "shadowdiff.yaml", started=STARTED, ref="main")
    assert (facts.applied, facts.self_accepted) == ((change("$.a"),), ())


def test_a_ref_without_the_file_accepts_nothing(repository: Path) -> None:
    git(repository, "rm", DEFAULT_FILE)
    git(repository, "commit", "-m", "two")
    assert load_expected(None, repository / "shadowdiff.yaml", started=STARTED, ref="main").applied == ()
    file = str(put(repository, change("$.a")))
    facts = load_expected(file, None, started=STARTED, ref="main")
    assert (facts.applied, facts.self_accepted) == ((), (change("$.a"),))


def test_a_ref_that_is_none_or_a_broken_file_at_it_never_passes(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = str(repository / DEFAULT_FILE)
    with pytest.raises(UsageError, match="no ref"):
        load_expected(file, None, started=STARTED, ref="nowhere")
    outside = put(tmp_path_factory.mktemp("outside"), change())
    with pytest.raises(UsageError, match="no Git repository"):
        load_expected(str(outside), None, started=STARTED, ref="main")
    (repository / DEFAULT_FILE).write_text("version: 1\nentries: nothing\n")
    git(repository, "commit", "-am", "broken")
    put(repository, change("$.a"))
    with pytest.raises(UsageError, match="a list is expected"):
        load_expected(file, None, started=STARTED, ref="main")


def test_what_was_seen_is_kept_without_secrets_and_with_its_rate() -> None:
    book, ledger = SeenBook(), Ledger(Policy())
    for seq in range(40):
        values = {"$.x": (10, 10, 11), "$.password": ("hunter2a", "hunter2a", "hunter2b")} if seq % 4 == 0 else {}
        comparison = pair(values)
        bets = bets_of(trial(seq=seq, entity=f"/{seq}"), comparison)
        ledger.fold(bets)
        book.observe(bets, comparison)
    snapshot = ledger.snapshot()
    views = {finding.path: seen_views(book, snapshot, Redactor(b"k" * 32))[finding.id] for finding in snapshot.findings}
    assert (views["$.x"].relation, views["$.x"].values) == (Relation.VALUES, ((10, 11),))
    assert (views["$.x"].changed, views["$.x"].requests) == (10, 40)
    assert (views["$.x"].rate_low, views["$.x"].rate_high) == pytest.approx((0.1269, 0.4120), abs=1e-4)
    assert (views["$.password"].relation, views["$.password"].values) == (Relation.ANY, ())


def test_entries_end_while_a_run_goes_on(tmp_path: Path) -> None:
    file = put(tmp_path, change("$.a", expires="2031-12-31"), change("$.b", expires="2032-06-30"))
    facts = load_expected(str(file), None, started=STARTED)
    assert not has_expired(facts, STARTED)
    assert as_of(facts, STARTED) is facts
    later = STARTED + 61
    assert has_expired(facts, later)
    over = as_of(facts, later)
    assert ([one.path for one in over.applied], [one.path for one in over.expired]) == (["$.b"], ["$.a"])
    assert not has_expired(over, later)
    assert as_of(over, later + 366 * 86_400).applied == ()
    assert len(as_of(over, later + 366 * 86_400).expired) == 2
