import json
from typing import Any

import msgspec
import pytest

from harness.core.labels import Aspect, ErrorKind, Kind, Role
from harness.core.redact import RedactionRules, Redactor
from harness.core.values import Again, Arm, Comparison, Difference, Effect, Further, Request, Response, TransportError, body_of
from harness.core.watched import EffectsFacts, LapseFact, Unattributed, Watched
from harness.report.exemplars import build_exemplar
from harness.report.html import render_html
from harness.report.model import encode_report
from harness.report.redacted import redact_comparison, redact_facts, redact_row, redact_trial
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
    effects = (
        Effect(
            collector="http",
            operation=f"POST http://u:{SECRET}@pay.example/",
            document=f'{{"password":"{SECRET}"}}'.encode(),
            note=f"api_key={SECRET}",
        ),
        Effect(collector="redis", operation="SET session:{id}", document=f'{{"value":"{SECRET}"}}'.encode()),
    )
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


def redacted_effect(operation: str, document: bytes, redactor: Redactor = REDACTOR) -> Effect:
    effect = Effect(collector="redis", operation=operation, document=document, writes=False, at_ns=7, late=True)
    trial = samples.trial("x", "POST /login", REQUEST, RESPONSE, RESPONSE, RESPONSE)
    arm = msgspec.structs.replace(trial.stable, effects=(effect,))
    (found,) = redact_trial(redactor, msgspec.structs.replace(trial, stable=arm)).stable.effects
    assert (found.collector, found.writes, found.at_ns, found.late) == ("redis", False, 7, True)
    return found


def test_a_document_is_redacted_as_a_body_of_json() -> None:
    found = redacted_effect("INSERT public.users", f'{{"row":{{"password":"{SECRET}","name":"Ada","n":5}}}}'.encode())
    row = json.loads(found.document)["row"]
    assert (found.operation, row["name"], row["n"]) == ("INSERT public.users", "Ada", 5)
    assert SECRET not in row["password"]
    whole = f'{{"row":{{"password":"{SECRET}"}}}}'.encode()
    assert redacted_effect("INSERT public.users", whole, Redactor(b"key", RedactionRules(enabled=False))).document == whole


@pytest.mark.parametrize(
    "document", [f'{{"value":"{SECRET}","n":5}}', f'["{SECRET}"]', f'"{SECRET}"', f'{{"value":"{SECRET}', f"\xff{SECRET}"]
)
def test_what_is_kept_under_the_name_of_a_secret_is_hidden_altogether(document: str) -> None:
    found = redacted_effect("SET session:{id}", document.encode("latin-1"))
    assert found.operation == "SET session:{id}", "a template holds no secret, and must be found again"
    assert SECRET.encode() not in found.document
    again, other = redacted_effect("SET session:{id}", document.encode("latin-1")), redacted_effect("SET session:{id}", b'{"value":"x"}')
    assert again.document == found.document != other.document


def test_a_document_that_cannot_be_read_is_a_digest() -> None:
    broken = b"\xff\xfe" + SECRET.encode()
    found, other = (json.loads(redacted_effect("SET x", document).document) for document in (broken, broken + b"!"))
    assert (found["size"], other["size"]) == (len(broken), len(broken) + 1)
    assert found["digest"] != other["digest"]


@pytest.mark.parametrize(
    ("path", "kind", "value", "hidden"),
    [
        ("$['http POST pay.example/charge'].body.password", Kind.VALUE, SECRET, True),
        ("$['http POST pay.example/charge']", Kind.EXTRA, f'{{"body":{{"password":"{SECRET}"}}}}', True),
        ("$['http POST pay.example/charge']", Kind.EXTRA, f'{{"body":{{"password":"{SECRET[:9]}…', True),
        ("$['redis SET session:{id}'].value", Kind.VALUE, SECRET, True),
        ("$['http POST pay.example/charge'].body.amount", Kind.VALUE, 5, False),
        ("$['redis SET session:{id}']", Kind.DUPLICATED, 2, False),
        ("$", Kind.ORDER, "redis SET cart:{id}", False),
    ],
)
def test_previews_of_effects(path: str, kind: Kind, value: Any, hidden: bool) -> None:
    difference = Difference(Aspect.EFFECTS, path, kind, value, value, path)
    (found,) = redact_comparison(REDACTOR, Comparison(trial="x", seq=1, stable_candidate=(difference,))).stable_candidate
    assert (SECRET[:9] not in str(found.left)) if hidden else (found.left == value)
    assert found.left == found.right


def test_no_value_of_a_further_element_or_of_the_pass_before_is_stored() -> None:
    difference = Difference(Aspect.BODY, "$[*].password", Kind.VALUE, SECRET, "x", "$[0].password", "", Further(((SECRET, "x"),)))
    again = Again(Role.CANDIDATE, (difference,))
    found = redact_comparison(REDACTOR, Comparison(trial="x", seq=1, stable_candidate=(difference,), again=(again,)))
    assert SECRET.encode() not in msgspec.msgpack.encode(found)
    assert found.again[0].differences[0].path == difference.path


def test_what_is_known_of_effects_beside_the_trials_holds_no_secret() -> None:
    lapse = LapseFact(what=f"cannot connect to postgresql://u:{SECRET}@db/shop", count=1)
    facts = EffectsFacts(
        watched=(Watched(collector="postgres", version="1", lapses=(lapse,)),),
        unattributed=(
            Unattributed(collector="redis", operation="SET session:{id}", counts={"stable": 1}),
            Unattributed(collector="http", operation=f"POST http://u:{SECRET}@pay.example/", counts={"stable": 1}),
        ),
    )
    safe = redact_facts(REDACTOR, facts)
    assert SECRET.encode() not in msgspec.msgpack.encode(safe)
    assert safe.unattributed[0].operation == "SET session:{id}"


def test_a_stored_row_is_redacted_by_the_names_of_its_columns_and_within_its_values() -> None:
    row = {
        "id": 7,
        "api key": SECRET,
        "auth_data": {"card": SECRET},
        "settings": {"list": [{"password": SECRET}]},
        "gone": None,
        "sum": 1.5,
    }
    safe = redact_row(REDACTOR, row)
    assert SECRET not in json.dumps(safe)
    assert list(safe) == list(row)
    assert (safe["id"], safe["gone"], safe["sum"]) == (7, None, 1.5)
    assert redact_row(Redactor(b"key", RedactionRules(enabled=False)), row) == row
