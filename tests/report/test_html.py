import base64
import hashlib
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from harness.core.errors import SetupError
from harness.report import html
from harness.report.html import render_html
from tests.report import samples
from tests.report.hostile import ATTACKS, hostile_report

VOID = {"meta", "br", "line", "circle", "rect"}


class Page(HTMLParser):
    """The page as a browser's parser sees it: tags, attributes, text outside of style and script."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.text.append(data)

    def said(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


@pytest.mark.parametrize("name", ["pass", "fail", "inconclusive", "replay"])
def test_the_page_is_well_formed_and_asks_for_nothing(name: str) -> None:
    page = render_html(getattr(samples, f"{name}_report")())
    parsed = Page(page)
    assert parsed.open == []
    assert parsed.unbalanced == []
    assert [tag for tag, _ in parsed.tags if tag in ("link", "img", "iframe", "object", "embed", "form", "base")] == []
    links = [attrs["href"] for tag, attrs in parsed.tags if tag == "a"]
    assert all(link and link.startswith("#") for link in links)
    assert not any(key in ("src", "srcset", "style") or key.startswith("on") for _, attrs in parsed.tags for key in attrs)
    assert "url(" not in page
    assert "@import" not in page
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link} <= set(ids)


def test_the_policy_allows_only_the_pages_own_script() -> None:
    page = render_html(samples.pass_report())
    parsed = Page(page)
    (script,) = parsed.scripts
    policy = next(attrs["content"] for tag, attrs in parsed.tags if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert f"'sha256-{digest}'" in policy


def test_it_says_what_a_stranger_needs() -> None:
    said = Page(render_html(samples.fail_report())).said()
    for words in (
        "FAIL",
        "The candidate differs from stable beyond noise.",
        "456 of 480 requests compared",
        "Next: Run the finding's command against both builds",
        "14 of 14 requests, control 0 of 14",
        'Another value: stable "11286", candidate "11286.00".',
        "12 writes: an unsafe method",
        "median 1.34 times the control's",
        "Noise learned",
        "matched nothing",
        "SHADOWDIFF_ADMIN_TOKEN",
        "[redacted]",
        "candidate closed the connection before the answer was complete: after 0 bytes",
    ):
        assert words in said, words
    assert "hunter2" not in said
    passed = Page(render_html(samples.pass_report())).said()
    assert "with 95 % confidence fewer than 0.7 % of such requests differ" in passed
    assert "No difference beyond noise was seen." in passed
    assert "NO VERDICT" in Page(render_html(samples.replay_report())).said()


def test_the_difference_is_marked_inside_the_line() -> None:
    page = render_html(samples.fail_report())
    assert '"amount": "11286<mark>.</mark><mark>00</mark>"' in page.replace("&#34;", '"') or '11286<mark>.00</mark>"' in page.replace(
        "&#34;", '"'
    )
    assert "equal lines" in page


def test_a_next_step_is_said_once_and_long_lists_are_folded() -> None:
    report = samples.fail_report()
    reasons = report.reasons[:1] * 14 + report.reasons
    said = Page(render_html(msgspec.structs.replace(report, reasons=reasons))).said()
    assert said.count("Run the finding's command against both builds") == 1
    assert "6 more reasons" in said


def test_what_follows_from_a_finding_is_on_its_card() -> None:
    report = samples.fail_report()
    findings = tuple(
        msgspec.structs.replace(f, root="f1c0ffee02", log10_e=1.0, log10_confirmation=4.0, exemplars=report.findings[0].exemplars * 3)
        if f.id == "f1c0ffee04"
        else f
        for f in report.findings
    )
    page = render_html(msgspec.structs.replace(report, findings=findings))
    parsed = Page(page)
    assert parsed.open == []
    assert parsed.unbalanced == []
    said = parsed.said()
    assert "1 finding follows from it" in said
    assert "follows from POST /orders: status, another status code" in said
    assert '<a href="#finding-f1c0ffee02">POST /orders: status, another status code</a>' in page
    assert "2 more examples" in said
    assert "repeating one request 10,000 : 1, which named it" in said
    assert page.index('id="finding-f1c0ffee02"') < page.index('id="finding-f1c0ffee04"') < page.index('id="finding-f1c0ffee01"')


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_traffic_cannot_become_markup(attack: str) -> None:
    page = render_html(hostile_report(attack))
    harmless = Page(render_html(hostile_report("harmless")))
    parsed = Page(page)
    assert parsed.open == []
    assert parsed.unbalanced == []
    assert len(parsed.scripts) == 1
    allowed = {tag for tag, _ in harmless.tags} | {"mark", "td"}
    assert {tag for tag, _ in parsed.tags} <= allowed
    assert not any(key.startswith("on") or key == "src" for _, attrs in parsed.tags for key in attrs)
    assert len(page) < 200_000
    hidden = {character for character in page if character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cf", "Cs")}
    assert hidden == set()
    assert "49" not in re.findall(r"\b49\b", parsed.said()) or "7*7" not in attack
    page.encode("utf-8")


def test_findings_without_exemplars_and_settings_are_fine() -> None:
    report = samples.fail_report()
    bare = msgspec.structs.replace(
        report,
        findings=tuple(msgspec.structs.replace(finding, exemplars=()) for finding in report.findings),
        settings=(),
        rules=(),
        unused_rules=(),
    )
    assert "No example was kept." in Page(render_html(bare)).said()


def test_latency_that_was_not_measured_is_a_dash() -> None:
    report = samples.fail_report()
    endpoints = tuple(
        msgspec.structs.replace(
            endpoint,
            latency=msgspec.structs.replace(
                endpoint.latency,
                targets={role: quantiles for role, quantiles in endpoint.latency.targets.items() if role != "candidate"},
                ratio=None,
                interval=None,
            ),
        )
        for endpoint in report.endpoints
    )
    assert "– at the median, –" in Page(render_html(msgspec.structs.replace(report, endpoints=endpoints))).said()
    first = msgspec.structs.replace(report.endpoints[0], latency=msgspec.structs.replace(report.endpoints[0].latency, interval=None))
    assert re.search(r"× \d\.\d\d", Page(render_html(msgspec.structs.replace(report, endpoints=(first,)))).said())


def test_a_missing_template_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(html, "TEMPLATES", tmp_path)
    with pytest.raises(SetupError, match="template of the report is missing"):
        render_html(samples.pass_report())
