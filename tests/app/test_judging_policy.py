"""Which policy a run is judged by: read at a ref, required by digest, applied to labels; and judged by it again."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from harness.app.judging_policy import labels_for, policy_for
from harness.app.parts import redactor_of
from harness.app.stored import judge_again
from harness.core.errors import UsageError
from harness.core.labels import ReasonCode, RunMode, VerdictState
from harness.report.model import Report
from harness.settings.load import Loaded
from harness.settings.policies import PolicySource
from harness.settings.schema import RedactSettings, Settings
from tests.app.support import Heard, builds, capture, items, report_in, settings, shop
from tests.app.test_gate import gate
from tests.settings.test_git_ref import commit, git

POLICY = """\
name: team
when:
  - labels: {author-kind: "ai*"}
    set: {coverage: {requests_min: 1000}}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "team.yaml"
    path.write_text(POLICY)
    return path


def ran(out: Path, file: Path, **sections: Any) -> Report:
    async def body() -> None:
        async with builds(shop()) as urls:
            await gate(settings(out, urls, **sections), file, ui=Heard())()

    asyncio.run(body())
    return report_in(out)


def test_stricter_rules_apply_to_ai_written_changes_and_judging_again_applies_them_again(policy: Path, tmp_path: Path) -> None:
    file = capture(tmp_path / "shop.gor", items(30))
    human = ran(tmp_path / "human", file, policy=str(policy), labels={"author-kind": "human"})
    machine = ran(tmp_path / "ai", file, policy=str(policy), labels={"Author-Kind": "AI", "mail": "a@example.org"})
    assert human.verdict is VerdictState.PASS
    assert (human.policy.conditions, human.run.provenance.labels) == ((), {"author-kind": "human"})
    assert machine.verdict is VerdictState.INCONCLUSIVE
    assert machine.reasons[0].code is ReasonCode.TOO_LITTLE_COVERAGE
    assert machine.policy.conditions == ("author-kind: ai*",)
    assert machine.policy.digest == human.policy.digest
    assert machine.run.provenance.labels["author-kind"] == "AI"
    assert "a@example.org" not in machine.run.provenance.labels["mail"]
    again, verdict = judge_again(tmp_path / "ai")
    assert verdict.state is VerdictState.INCONCLUSIVE
    assert (again.policy, again.reasons) == (machine.policy, machine.reasons)
    named, verdict = judge_again(tmp_path / "ai", str(policy))
    assert (named.policy, named.reasons) == (machine.policy, machine.reasons)
    policy.write_text("alpha: 0.02\n")
    assert judge_again(tmp_path / "ai")[0].policy == machine.policy
    assert judge_again(tmp_path / "ai", str(policy))[1].state is VerdictState.PASS
    for source in (PolicySource(digest="0" * 64), PolicySource(digest=machine.policy.digest[:12])):
        with pytest.raises(UsageError, match=machine.policy.digest):
            judge_again(tmp_path / "ai", source=source)
    assert judge_again(tmp_path / "ai", source=PolicySource(digest=machine.policy.digest.upper()))[0].policy == machine.policy
    assert "(for author-kind&#58; ai&#42;)" in (tmp_path / "ai/summary.md").read_text()
    assert "author-kind: ai*" in (tmp_path / "ai/report.html").read_text()


def chosen(**sections: Any) -> Settings:
    return Loaded(Settings(**sections), {}).settings


def test_policy_ref_reads_the_policy_as_it_was(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    path = tmp_path / "team.yaml"
    path.write_text("alpha: 0.02\n")
    commit(tmp_path)
    path.write_text("alpha: 0.4\n")
    found = policy_for(chosen(policy=str(path), policy_ref="main"), RunMode.GATE, {})
    assert (found.policy.alpha, found.origin.ref) == (0.02, "main")
    assert policy_for(chosen(policy=str(path)), RunMode.GATE, {}).policy.alpha == 0.4


def test_require_policy_digest_refuses_any_other_policy_with_both_digests(policy: Path) -> None:
    digest = policy_for(chosen(policy=str(policy)), RunMode.GATE, {}).digest
    assert policy_for(chosen(policy=str(policy), require_policy_digest=digest), RunMode.GATE, {"author-kind": "ai"}).digest == digest
    policy.write_text(POLICY.replace("1000", "10"))
    with pytest.raises(UsageError) as caught:
        policy_for(chosen(policy=str(policy), require_policy_digest=digest), RunMode.GATE, {})
    assert caught.value.exit_code == 2
    assert digest in str(caught.value)
    assert policy_for(chosen(policy=str(policy)), RunMode.GATE, {}).digest in str(caught.value)


def test_provenance_is_an_older_name_of_labels() -> None:
    found = labels_for(chosen(provenance={"pr": "1", "model": "a"}, labels={"model": "b"}), redactor_of(RedactSettings()))
    assert found == {"model": "b", "pr": "1"}
