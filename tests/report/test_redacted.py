import msgspec

from harness.core.labels import Aspect, ErrorKind, Kind, Role
from harness.core.redact import Redactor
from harness.core.values import Arm, Comparison, Difference, Effect, Request, Response, TransportError, body_of
from harness.report.exemplars import build_exemplar
from harness.report.html import render_html
from harness.report.model import encode_report
from harness.report.redacted import redact_comparison, redact_trial
from tests.report import samples

SECRET = "sk-live-4242hunter2"
REDACTOR = Redactor(b"key")
REQUEST = Request(
    "POST",
    f"/login?access_token={SECRET}",
    (("Authorization", f"Bearer {SECRET}"), ("Cookie", f"sid={SECRET}"), ("Content-Type", "application/json")),
    body_of(f'{{"password":"{SECRET}","n":1}}'.encode()),
    "shop.example",
)
RESPONSE = Response(
    200, (("Set-Cookie", f"sid={SECRET}; Path=/"), ("Content-Type", "application/json")), body_of(f'{{"token":"{SECRET}"}}'.encode())
)


def test_no_secret_is_left_anywhere() -> None:
    trial = samples.trial("x", "POST /login", REQUEST, RESPONSE, RESPONSE, RESPONSE)
    error = TransportError(ErrorKind.RESET, f"while reading token={SECRET}")
    effects = (Effect("http", f"POST http://u:{SECRET}@pay.example/", f"api_key={SECRET}"),)
    broken = samples.arm(Role.CANDIDATE, REQUEST, None, 1.0, error)
    arm = Arm(role=Role.CANDIDATE, exchange=broken.exchange, effects=effects)
    trial = msgspec.structs.replace(trial, candidate=arm, recorded=RESPONSE, session=SECRET, entity=f"/login?access_token={SECRET}")
    found = Difference(Aspect.BODY, "$.token", Kind.VALUE, SECRET, "other", "$.token", f"token={SECRET}")
    comparison = Comparison(trial=trial.id, seq=1, stable_candidate=(found,), stable_secondary=(found,), secondary_candidate=(found,))
    safe_trial, safe_comparison = redact_trial(REDACTOR, trial), redact_comparison(REDACTOR, comparison)
    assert SECRET.encode() not in msgspec.msgpack.encode(safe_trial)
    assert SECRET.encode() not in msgspec.msgpack.encode(safe_comparison)
    assert SECRET.encode() in msgspec.msgpack.encode(trial)
    alone = msgspec.structs.replace(trial, secondary=None, candidate=None, recorded=None, session="")
    assert redact_trial(REDACTOR, alone).secondary is None

    exemplar = build_exemplar(
        samples.FINDINGS[0], safe_trial, safe_comparison, stable=samples.STABLE, candidate=samples.CANDIDATE, earlier=[safe_trial.request]
    )
    report = msgspec.structs.replace(
        samples.fail_report(), findings=(msgspec.structs.replace(samples.fail_report().findings[0], exemplars=(exemplar,)),)
    )
    assert SECRET.encode() not in encode_report(report)
    assert SECRET not in render_html(report)
