"""Each verdict is written down: by gate, by proxy, by judge where it is asked to. Nothing secret is in it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.app.audit import audit_file, audited_code, configuration_digest, verify_audit
from harness.app.gate import run_gate
from harness.app.proxy import LiveRun
from harness.app.signals import Stop
from harness.app.stored import judge_run
from harness.core.errors import SetupError, UsageError
from harness.settings.load import load_settings
from harness.settings.problems import ConfigError
from harness.settings.schema import AuditSettings, ProxySettings, Settings, StoreSettings
from harness.store import RunRecord
from tests.app.support import Handler, Heard, builds, capture, items, record_in, report_in, settings, shop


def judged(out: Path, candidate: Handler, ui: Heard | None = None, *, verdict: bool = True, files: int = 1, **sections: Any) -> int:
    captures = [capture(out.parent / f"{out.name}{number}.gor", items(30)[number::files]) for number in range(files)]

    async def body() -> int:
        async with asyncio.timeout(100), builds(candidate) as urls:
            return await run_gate(settings(out, urls, **sections), captures, ui or Heard(), verdict=verdict)

    return asyncio.run(body())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_each_verdict_of_the_gate_appends_a_line(tmp_path: Path) -> None:
    ui = Heard()
    labels = {"commit": "0f9c1d2", "author": "agent", "password": "hunter2-hunter2"}
    assert judged(tmp_path / "first", shop(), ui, files=2, build="v2", provenance=labels) == 0
    assert judged(tmp_path / "second", shop(price=11)) == 1
    assert judged(tmp_path / "third", shop(), verdict=False) == 0, "a replay has no verdict"
    first, second = lines(tmp_path / "audit.jsonl")
    report = report_in(tmp_path / "first")
    assert (first["run"], first["mode"], first["verdict"], first["reasons"]) == ("first", "gate", "pass", ["claim_reached"])
    assert (second["run"], second["verdict"], second["reasons"][0]) == ("second", "fail", "divergence")
    assert first["policy"] == {"name": "default", "digest": report.policy.digest}
    assert len(first["inputs"]["captures"]) == 2
    assert first["inputs"]["captures"] == [each.digest for each in report.run.provenance.captures]
    assert all(len(digest) == 64 for digest in first["inputs"]["captures"])
    assert (first["build"], first["labels"]["commit"], first["labels"]["author"]) == ("v2", "0f9c1d2", "agent")
    assert "hunter2" not in (tmp_path / "audit.jsonl").read_text(encoding="utf-8")
    assert any(first["hash"] in said for said in ui.infos)
    checked = Heard()
    assert verify_audit(Settings(store=StoreSettings(dir=str(tmp_path))), None, "", checked) == 0
    assert "2 lines" in checked.text
    assert second["hash"] in checked.text.replace(" ", "")


def test_the_digest_of_the_configuration_knows_no_secret_and_not_where_the_run_is_kept(tmp_path: Path) -> None:
    def record(**changes: str) -> RunRecord:
        said = {"replay.passes": "auto", "policy": "redacted-0123456789ab", "store.run_dir": "/a", "provenance": "{}", **changes}
        return RunRecord(id="r", settings=tuple((key, value, "option") for key, value in said.items()))

    plain = configuration_digest(record())
    same = [{"policy": "redacted-ba9876543210"}, {"store.run_dir": "/b"}, {"provenance": '{"a":"b"}'}]
    assert {configuration_digest(record(**change)) for change in same} == {plain}
    assert configuration_digest(record(**{"replay.passes": "3"})) != plain


def test_a_run_of_the_proxy_appends_its_verdict_at_its_end(tmp_path: Path) -> None:
    async def body() -> bool:
        async with asyncio.timeout(100), builds(shop()) as urls:
            proxy = ProxySettings(listen="127.0.0.1:0", admin="")
            run = LiveRun(settings(tmp_path / "run", urls, proxy=proxy), Heard())
            stop = Stop()
            serving = asyncio.create_task(run.serve(stop))
            await run.serving()
            stop.request()
            await serving
            return run.audited

    assert asyncio.run(body())
    (line,) = lines(tmp_path / "audit.jsonl")
    assert (line["mode"], line["verdict"], line["policy"]["name"]) == ("proxy", "inconclusive", "rollout")
    assert line["inputs"]["captures"] == []


def test_judge_appends_where_it_is_asked_to(tmp_path: Path) -> None:
    run = tmp_path / "run"
    judged(run, shop())
    assert judge_run(run, None, Heard()) == 0
    assert len(lines(tmp_path / "audit.jsonl")) == 1
    assert judge_run(run, "rollout", Heard(), AuditSettings()) == 3
    first, second = lines(tmp_path / "audit.jsonl")
    assert (second["mode"], second["run"], second["verdict"], second["policy"]["name"]) == ("judge", "run", "inconclusive", "rollout")
    assert second["inputs"] == first["inputs"]


@pytest.mark.parametrize(
    ("candidate", "required", "code"), [(shop(), False, 0), (shop(), True, 4), (shop(price=11), True, 1)], ids=["pass", "required", "fail"]
)
def test_a_file_that_cannot_be_written_to_is_said_and_where_it_is_required_nothing_passes(
    candidate: Handler, required: bool, code: int, tmp_path: Path
) -> None:
    ui = Heard()
    (tmp_path / "audit.jsonl").mkdir()
    assert judged(tmp_path / "run", candidate, ui, audit=AuditSettings(required=required)) == code
    assert any("not in the audit file" in said and str(tmp_path / "audit.jsonl") in said for said in ui.warnings)
    if not code:
        assert judge_run(tmp_path / "run", None, Heard(), AuditSettings(required=True)) == 4


def test_an_empty_name_turns_it_off(tmp_path: Path) -> None:
    assert judged(tmp_path / "run", shop(), audit=AuditSettings(file="")) == 0
    assert not (tmp_path / "audit.jsonl").exists()
    with pytest.raises(UsageError, match=r"audit\.file is empty"):
        verify_audit(Settings(audit=AuditSettings(file="")), None, "", Heard())


def test_a_bare_name_is_beside_the_runs_folder_and_another_is_as_it_says(tmp_path: Path) -> None:
    assert audit_file(AuditSettings(), tmp_path) == tmp_path / "audit.jsonl"
    assert audit_file(AuditSettings(file="a/b.jsonl"), tmp_path) == Path("a/b.jsonl")
    assert audit_file(AuditSettings(file="/a/b.jsonl"), tmp_path) == Path("/a/b.jsonl")


def test_required_and_no_file_is_a_problem_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"audit\.required"):
        load_settings(environ={"SHADOWDIFF_AUDIT_REQUIRED": "true", "SHADOWDIFF_AUDIT_FILE": ""}, folder=Path("/nonexistent"))


def test_only_a_pass_becomes_an_error() -> None:
    settings_ = AuditSettings(required=True)
    assert [audited_code(code, settings_, audited=False) for code in (0, 1, 3, 130)] == [4, 1, 3, 130]
    assert [audited_code(code, settings_, audited=True) for code in (0, 1, 3)] == [0, 1, 3]


def test_verifying_says_what_is_wrong_and_takes_a_hash_only(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for name in ("a", "b", "c"):
        judged(tmp_path / name, shop(), replay=msgspec.structs.replace(Settings().replay, state="stateless", seed=1))
    whole = path.read_bytes().splitlines(keepends=True)
    marks = [line["hash"] for line in lines(path)]
    ui = Heard()
    assert verify_audit(Settings(), path, marks[1].upper(), ui) == 0
    assert "line 2; 1 came after it" in ui.text
    path.write_bytes(whole[0] + whole[1].replace(b"pass", b"fail") + whole[2])
    ui = Heard()
    assert verify_audit(Settings(), path, "", ui) == 1
    assert "line 2 was changed" in ui.text
    with pytest.raises(UsageError, match="is no hash"):
        verify_audit(Settings(), path, "abc", Heard())
    with pytest.raises(SetupError, match="cannot be read"):
        verify_audit(Settings(), tmp_path / "none", "", Heard())


def test_labels_are_bounded_and_a_run_without_them_has_none(tmp_path: Path) -> None:
    many = {f"label{number:03}": "x" * 256 for number in range(64)}
    assert judged(tmp_path / "run", shop(), provenance=many) == 0
    (line,) = lines(tmp_path / "audit.jsonl")
    assert len(line["labels"]) == 64
    assert all(len(value) <= 200 for value in line["labels"].values())
    assert record_in(tmp_path / "run").id == line["run"]
