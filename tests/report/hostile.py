"""Reports whose every traffic value is an attack on whoever shows it."""

import msgspec

from harness.core.labels import Aspect, FindingClass, Kind, ReasonCode, Severity, VerdictState
from harness.core.values import Comparison, Difference, Request, Response, Totals, body_of
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


def hostile_report(attack: str) -> Report:
    finding = msgspec.structs.replace(
        samples.evidence("f1", "GET /", Aspect.BODY, attack, Kind.VALUE, severity=Severity.CRITICAL), endpoint=attack
    )
    noise = msgspec.structs.replace(finding, finding_class=FindingClass.NOISE)
    wire = attack.encode("utf-8", "replace").decode("latin-1")
    request = Request("GET", wire, (("X-A", wire), (wire, "b")), body_of(attack.encode("utf-8", "replace")), wire)
    answer = Response(200, (("Content-Type", wire), (wire, wire)), body_of(attack.encode("utf-8", "replace")))
    trial = samples.trial("f1", attack, request, answer, Response(200, (), body_of(b"other")))
    difference = Difference(Aspect.BODY, attack, Kind.VALUE, attack, attack, attack, attack)
    comparison = Comparison(trial=attack, seq=0, stable_candidate=(difference,))
    exemplar = build_exemplar(finding, trial, comparison, stable=samples.STABLE, candidate=samples.CANDIDATE, explanation=attack)
    state = msgspec.structs.replace(samples.endpoint("GET /", 40, 1, 5.0), endpoint=attack, statuses={"stable": {attack: 1}})
    snapshot: Snapshot = msgspec.structs.replace(
        samples.snapshot((finding,), (state,), (noise,)), vacuous={attack: "vacuous_auth"}, thin_endpoints=(attack,)
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
        exemplars=(exemplar,),
        blind=(Blind(what=attack),),
    )
