import html
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness.core.limits import REPORT_TABLE_ROWS_MAX
from harness.report.markdown import code, escaped, render_markdown
from harness.report.model import Blind
from tests.report import samples
from tests.report.hostile import ATTACKS, hostile_report

MARKDOWN = MarkdownIt("gfm-like", {"linkify": False}).enable("table")


def tags_of(text: str) -> set[str]:
    return set(re.findall(r"</?([a-z0-9]+)", MARKDOWN.render(text)))


OURS = tags_of(render_markdown(hostile_report("harmless"))) | {"blockquote"}


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_traffic_cannot_form_markdown(attack: str) -> None:
    text = render_markdown(hostile_report(attack), where=attack)
    assert tags_of(text) <= OURS
    rendered = MARKDOWN.render(text)
    assert "href" not in rendered
    assert "src=" not in re.sub("<code>.*?</code>|&lt;.*?&gt;", "", rendered) or "<img" not in rendered
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.count("|") == 6 for line in rows)
    assert len(text) < 20_000


@given(st.text(max_size=80))
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    html = MARKDOWN.renderInline("x" + escaped(text) + "x")
    assert re.findall(r"<(?!/?p>)", html) == []
    assert "@" not in re.sub("@\u200b", "", html)


def test_no_mention_or_issue_link_is_made() -> None:
    assert escaped("@org/team fixes #12") == "&#64;&#8203;org/team fixes &#35;&#8203;12"
    assert code("POST /rpc #create") == "<code>POST /rpc &#35;create</code>"
    assert escaped("https://evil.example www.evil.example") == "https&#58;//evil&#46;example www&#46;evil&#46;example"


def test_long_lists_are_cut_and_say_so() -> None:
    report = samples.fail_report()
    many = msgspec.structs.replace(
        report, findings=report.findings * 20, blind=tuple(Blind(what=f"thing {number}", count=1) for number in range(100))
    )
    text = render_markdown(many)
    assert f"and {len(report.findings) * 20 - REPORT_TABLE_ROWS_MAX} more findings in report.json" in text
    assert re.search(r"and \d+ more in report\.json", text)


def test_effects_are_said() -> None:
    text = html.unescape(render_markdown(samples.fail_report()))
    times = "(in an example stable does it once, candidate twice, secondary once)"
    assert f"| effect <code>POST payments.test/charge</code> (http) done more often {times} |" in text
    assert "| effect <code>INSERT public.orders</code> (postgres): <code>new.total</code> done with another value |" in text
    assert "Effects watched: http (virtualise) 1,204 calls, postgres 310 rows" in text
    assert "- column total of public.orders differs at the candidate" in text
    assert "ffects" not in render_markdown(samples.pass_report())
