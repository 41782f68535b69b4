import base64
import hashlib
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from harness.core.errors import SetupError
from harness.core.labels import Aspect, Kind
from harness.report import html
from harness.report.exemplars import build_exemplar
from harness.report.html import render_html
from tests.report import samples
from tests.report.effect_samples import doings
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
    assert "7 more reasons" in said


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
    assert "1 finding belongs to it" in said
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
    assert len(page) < 250_000
    hidden = {character for character in page if character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cf", "Cs")}
    assert hidden == set()
    assert "49" not in re.findall(r"\b49\b", parsed.said()) or "7*7" not in attack
    page.encode("utf-8")


def test_a_finding_about_effects_shows_what_each_target_did() -> None:
    page = render_html(samples.fail_report())
    card = page[page.index('id="finding-f1c0ffee07"') :]
    card = card[: card.index('id="finding-f1c0ffee02"')]
    said = Page(card).said()
    assert re.search(r"effect POST payments.test/charge \(http\): done more often", said)
    assert "stable 4 effects candidate 5 effects secondary 4 effects" in said
    assert said.index("What each target did") < said.index("The answers")
    assert "once more than stable" in said
    assert "so the harness answered with status 599" in said
    assert "though its content differs" not in said, "only values differ that are made anew at each target"
    assert said.index("once more than stable") < said.index("What else was done, in stable's order") < said.index("GET prices.test")
    assert said.count("the same at all targets") == 2
    row = r'<tr class="noise">(<td class="\w+ changed">\s*&#34;idempotency_key&#34;: &#34;(<mark>\w+</mark>|-)+&#34;</td>){3}</tr>'
    assert re.search(row, card), "what is made anew at each target is noise"
    assert '<span class="chip none">other generated values</span>' in card
    changed = page[page.index('id="finding-f1c0ffee08"') :]
    assert "<mark>125000</mark>" in changed[: changed.index("The answers")]


def test_what_only_the_candidate_lacks_is_not_shown_as_noise() -> None:
    keys = ("2c2b3c92-71d2-4a38-9d0e-5a1f3c8e7b10", "b7e0a3d4-90aa-4c1b-8f52-0e6d9a7c3f21")
    finding = samples.evidence("f9", "POST /orders", Aspect.EFFECTS, "$['http POST payments.test/charge']", Kind.MISSING)
    bare = samples.trial("f9", "POST /orders", samples.POST_ORDER, samples.response(201, {}), samples.response(201, {}))
    trial = samples.doing(bare, doings(keys[0])[1:2], (), doings(keys[1])[1:2])
    made = build_exemplar(finding, trial, None, stable=samples.STABLE, candidate=samples.CANDIDATE)
    report = samples.fail_report()
    shown = next(one for one in report.findings if one.id == "f1c0ffee07")
    shown = msgspec.structs.replace(shown, kind=Kind.MISSING, exemplars=(made,))
    page = render_html(msgspec.structs.replace(report, findings=(shown,)))
    card = page[page.index('<table class="sides effects">') :]
    card = card[: card.index("</table>")]
    assert '<td class="absent lacks"><span class="chip divergence">not done</span></td>' in card
    assert '<span class="chip none">other generated values</span>' in card
    assert 'class="noise"' not in card
    assert re.search(r'<td class="stable changed">.*idempotency_key.*<td class="absent lacks"></td><td class="secondary changed">', card)


def test_effects_are_folded_away_where_a_finding_is_about_something_else() -> None:
    page = render_html(samples.fail_report())
    card = page[page.index('id="finding-f1c0ffee02"') :]
    assert '<details class="fold-command"><summary>What each target did: 4 side effects, 4 of them otherwise at the candidate' in card
    assert card.index("Answers side by side") < card.index("What each target did")


def test_the_section_on_effects() -> None:
    said = Page(render_html(samples.fail_report())).said()
    for words in (
        "452 of 456 requests (99.1 %) were judged with all their effects; 4 when the wait for them was over",
        "http version 1 virtualise 402 400 402 3 (stable 1, candidate 2) 1 (candidate 1)",
        "POST metrics.test/push http 1 2 0",
        "column total of public.orders postgres 9f86d081884c 60303ae22b99 9f86d081884c 2 of 2",
        "column total of public.orders: the first rows that differ",
        "1 place where stable and secondary differ as well",
        "4 × http: connections to port 25 that are no HTTP (candidate) effects may have been missed",
        "1 × http: answers larger than the tape keeps",
    ):
        assert words in said, words


def test_nothing_is_said_of_effects_where_none_were_watched() -> None:
    said = Page(render_html(samples.pass_report())).said()
    assert "ide effects" not in said
    assert "What each target did" not in said


def test_tables_that_ended_alike_are_counted() -> None:
    report = samples.fail_report()
    said = Page(render_html(msgspec.structs.replace(report, effects=msgspec.structs.replace(report.effects, tables=())))).said()
    assert "8 tables compared over all passes; the candidate alone left none otherwise." in said


def test_without_a_secondary_it_is_not_said_to_differ() -> None:
    facts = samples.fail_report().effects
    watched = tuple(
        msgspec.structs.replace(one, seen={role: count for role, count in one.seen.items() if role != "secondary"}) for one in facts.watched
    )
    tables = tuple(
        msgspec.structs.replace(one, values={role: value for role, value in one.values.items() if role != "secondary"})
        for one in facts.tables
    )
    report = msgspec.structs.replace(samples.fail_report(), effects=msgspec.structs.replace(facts, watched=watched, tables=tables))
    said = Page(render_html(report)).said()
    assert "1 column that may be made anew at each target: there is no secondary to tell" in said


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
