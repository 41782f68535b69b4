"""What a run carries: its directory is opened last and closed once, and what it says of itself can be read again."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.app.context import FACTS, Context, StoredFacts
from harness.core.canon import Rule, RuleAction
from harness.core.errors import CaptureError, SetupError, ShadowdiffError, UsageError
from harness.core.labels import Control, Design, Role, RunMode
from harness.core.values import Totals
from harness.evidence.policy import Policy
from harness.report.model import CaptureFacts, TargetFacts
from harness.settings.load import Loaded, Origin
from harness.settings.schema import RedactSettings, ReplaySettings, Settings, StoreSettings, TargetSettings, TargetsSettings
from harness.store import Keep, StoredRun
from tests.app.support import record_in

SECRET = "token=abcdefghijklmnopqrstuvwxyz012345"


def context(out: Path, **sections: Any) -> Context:
    chosen = Settings(**{"store": StoreSettings(run_dir=str(out)), **sections})
    return Context(
        Loaded(chosen, {"replay.seed": Origin("file", "shadowdiff.yaml:3")}),
        mode=RunMode.GATE,
        control=Control.SECONDARY,
        design=Design.THREE_ARM,
        endpoints={"GET /a": 2, "GET /b": 1},
        live=False,
    )


def test_a_run_that_ends_well_is_finished(tmp_path: Path) -> None:
    with context(tmp_path / "run") as run:
        assert run.folder == tmp_path / "run"
        assert run.run_id == "run"
        assert not record_in(run.folder).finished
    assert record_in(tmp_path / "run").finished
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(0)])
def test_a_run_that_ends_otherwise_is_not(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)), context(tmp_path / "run"):
        raise error
    assert not record_in(tmp_path / "run").finished


@pytest.mark.parametrize("kind", [ShadowdiffError, SetupError, UsageError, CaptureError])
def test_an_error_that_people_see_shows_no_secret(kind: type[ShadowdiffError], tmp_path: Path) -> None:
    with pytest.raises(kind) as caught, context(tmp_path / "run"):
        raise kind(f"it ended: {SECRET}", where=f"cmd:serve --{SECRET}", fix=f"without {SECRET}")
    assert type(caught.value) is kind
    assert "abcdefghijklmnopqrstuvwxyz" not in str(caught.value) + repr(caught.value)
    assert caught.value.what.startswith("it ended: ")
    assert caught.value.where.startswith("cmd:serve ")
    assert caught.value.exit_code == kind.exit_code


def test_the_settings_are_kept_with_their_origin_and_without_secrets(tmp_path: Path) -> None:
    targets = TargetsSettings(stable=TargetSettings(command=f"serve {{port}} --{SECRET}", env={"KEY": "hush"}))
    with context(tmp_path / "run", targets=targets, replay=ReplaySettings(seed=5)):
        pass
    record = record_in(tmp_path / "run")
    kept = {key: (value, source) for key, value, source in record.settings}
    assert kept["replay.seed"] == ("5", "shadowdiff.yaml:3")
    assert kept["targets.stable.command"][0].startswith("serve {port}")
    assert "abcdefghijklmnopqrstuvwxyz" not in (tmp_path / "run" / "run.json").read_text(encoding="utf-8")
    assert "hush" not in (tmp_path / "run" / "run.json").read_text(encoding="utf-8")
    assert record.keep is Keep.DIVERGED
    assert {"json", "text"} <= set(record.comparators)
    assert {"gor", "har"} <= set(record.formats)


@pytest.mark.parametrize(
    "sections",
    [{"policy": "none-such"}, {"rules": (Rule(action=RuleAction.TOLERANCE, path="$.["),)}, {"redact": RedactSettings(patterns=("(",))}],
)
def test_what_is_wrong_is_found_before_a_directory_is_made(sections: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        context(tmp_path / "run", **sections)
    assert list(tmp_path.iterdir()) == []


def test_facts_name_the_run_and_can_be_read_again(tmp_path: Path) -> None:
    with context(tmp_path / "run", build="v2", replay=ReplaySettings(seed=5)) as run:
        facts = run.facts(
            {Role.STABLE: TargetFacts(address="http://x", command=f"serve --{SECRET}")},
            [CaptureFacts(file="a.gor", format="gor", entries=3)],
        )
        stored = StoredFacts(
            run=facts,
            policy=Policy(alpha=0.02),
            control=run.control,
            design=run.design,
            endpoints=run.endpoints,
            replayable=3,
            totals=Totals(requests=3, compared=2, skipped={"write": 1}),
            interrupted=True,
            unused_rules=("ignore $.x",),
        )
        run.store.add_fact(FACTS, stored)
    again = StoredRun.open(tmp_path / "run").fact(FACTS, StoredFacts)
    assert again == stored
    assert list(again.endpoints) == ["GET /a", "GET /b"], "weights follow the order"
    assert (facts.id, facts.build, facts.seed, facts.mode) == ("run", "v2", 5, RunMode.GATE)
    assert facts.seconds >= 0
    assert facts.started.endswith("Z")
    assert "abcdefghijklmnopqrstuvwxyz" not in msgspec.json.encode(facts).decode()
    assert facts.provenance.captures[0].file == "a.gor"
    assert facts.provenance.command_line.startswith("shadowdiff")


def test_a_run_without_a_seed_of_its_own_does_not_name_one(tmp_path: Path) -> None:
    with context(tmp_path / "run") as run:
        assert run.facts({}, seeded=False).seed is None


def test_rules_without_effect_are_named(tmp_path: Path) -> None:
    rules = (Rule(action=RuleAction.IGNORE, path="$.a"), Rule(action=RuleAction.UNORDERED, path="$.b"))
    with context(tmp_path / "run", rules=rules) as run:
        assert run.unused_rules() == ("ignore $.a", "unordered $.b")
