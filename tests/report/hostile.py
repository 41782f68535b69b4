"""Reports whose every traffic value is an attack on whoever shows it."""

import json

import msgspec

from harness.core.labels import Aspect, EffectsSeen, FindingClass, Kind, ReasonCode, Severity, VerdictState
from harness.core.values import Comparison, Difference, Effect, Request, Response, Totals, Trial, body_of
from harness.core.watched import EffectsFacts, LapseFact, TableDifference, Unattributed, Watched
from harness.evidence.policy import Policy
from harness.evidence.snapshot import Blocking, Reason, Snapshot, Verdict
from harness.report.build import build_report
from harness.report.exemplars import build_exemplar
from harness.report.model import Blind, Report
from tests.report import samples

ATTACKS = (
    "<script>alert(1)</script>",
    "</style><script>alert(1)</script><img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)> javascript:alert(1) ' onmouseover='x",
    "{{ 7*7 }}{% raw %}${jndi}",
    "a\u202egnp.exe\u2066\u200b\x1b[31m\x00\x07\ud800\ufffe",
    "]]><x>&amp;&lt;<!-- --><![CDATA[",
    (
        "| a | b |\n|---|\n# head\n- [link](http://evil.example) ![i](http://evil.example/x.png) "
        "@everyone #123 **bold** `code` www.evil.example <b>"
    ),
    "[bold red]markup[/] [link=http://evil.example]x[/link]",
    "x" * 50_000,
)


def hostile_effects(attack: str) -> EffectsFacts:
    """What a run knows of effects, with the attack wherever a name or a value from outside can stand."""
    return EffectsFacts(
        watched=(
            Watched(
                collector=attack, version=attack, mode=attack, seen={"stable": 1, "candidate": 2}, unattributed={"candidate": 1},
                lapses=(LapseFact(what=attack, count=1, role="candidate"),),
            ),
        ),
        unattributed=(Unattributed(collector=attack, operation=attack, counts={"candidate": 1}),),
        tables=tuple(
            TableDifference(
                collector=attack, table=attack, column=column, noisy=noisy, values={"stable": attack, "candidate": "absent"},
                rows=({"stable": attack, "candidate": json.dumps({attack.encode("utf-8", "replace").decode(): [attack]})},),
            )
            for column, noisy in ((attack, False), ("", True))
        ),
        complete=1,
    )  # fmt: skip


def hostile_doings(trial: Trial, attack: str) -> Trial:
    """The trial with effects that are attacks, one at stable only, one at both with other values."""
    wire = attack.encode("utf-8", "replace")
    document = json.dumps({wire.decode(): wire.decode()}, ensure_ascii=False).encode()
    first = Effect(collector=attack, operation=attack, document=wire, note=attack)
    second = Effect(collector="http", operation=attack, document=document, note=attack, late=True)
    assert trial.candidate is not None
    return msgspec.structs.replace(
        trial,
        stable=msgspec.structs.replace(trial.stable, effects=(first, second)),
        candidate=msgspec.structs.replace(trial.candidate, effects=(msgspec.structs.replace(second, document=b"{}"),)),
        effects_seen=EffectsSeen.TIMED_OUT,
    )


def hostile_report(attack: str) -> Report:
    finding = msgspec.structs.replace(
        samples.evidence("f1", "GET /", Aspect.BODY, attack, Kind.VALUE, severity=Severity.CRITICAL), endpoint=attack
    )
    done = msgspec.structs.replace(finding, id="f2", aspect=Aspect.EFFECTS, path=f"$['http {attack}'].{attack}", kind=Kind.MISSING)
    noise = msgspec.structs.replace(done, finding_class=FindingClass.NOISE)
    wire = attack.encode("utf-8", "replace").decode("latin-1")
    request = Request("GET", wire, (("X-A", wire), (wire, "b")), body_of(attack.encode("utf-8", "replace")), wire)
    answer = Response(200, (("Content-Type", wire), (wire, wire)), body_of(attack.encode("utf-8", "replace")))
    trial = hostile_doings(samples.trial("f1", attack, request, answer, Response(200, (), body_of(b"other"))), attack)
    difference = Difference(Aspect.BODY, attack, Kind.VALUE, attack, attack, attack, attack)
    comparison = Comparison(trial=attack, seq=0, stable_candidate=(difference,))
    exemplars = [
        build_exemplar(one, trial, comparison, stable=samples.STABLE, candidate=samples.CANDIDATE, explanation=attack)
        for one in (finding, done)
    ]
    state = msgspec.structs.replace(samples.endpoint("GET /", 40, 1, 5.0), endpoint=attack, statuses={"stable": {attack: 1}})
    snapshot: Snapshot = msgspec.structs.replace(
        samples.snapshot((finding, done), (state,), (noise,)), vacuous={attack: "vacuous_auth"}, thin_endpoints=(attack,)
    )
    verdict = Verdict(
        state=VerdictState.FAIL,
        reasons=(Reason(code=ReasonCode.DIVERGENCE, message=attack, finding="f1", next_step=attack),),
        blocking=(Blocking(attack, None),),
    )
    return build_report(
        run=msgspec.structs.replace(samples.run_facts("x"), build=attack),
        policy=Policy(),
        snapshot=snapshot,
        verdict=verdict,
        totals=Totals(requests=1, compared=1),
        exemplars=exemplars,
        blind=(Blind(what=attack),),
        effects=hostile_effects(attack),
    )
