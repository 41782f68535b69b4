"""Real captures replayed through real httpbin releases: A/A passes, two releases fail, traffic without its data proves nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import CAPTURES, httpbin, shadowdiff

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

STABLE, OLDER = "0.10.4", "0.7.0"

# Read off the two releases' sources and those of the Flask and Werkzeug they run on, before any run:
#   - 0.7.0 has no route /json: 404 with an HTML page, where 0.10.4 answers 200 with JSON;
#   - the page that Werkzeug 2.0 writes for a redirect has another document type, `target URL` without `the`, no last
#     line feed: /redirect/2 and /cookies/set (/relative-redirect/1 has an empty body);
#   - JSON is written compactly by 0.7.0 and indented by 0.10.4, which is no difference of a JSON body, but HEAD /get
#     announces another length and there is no body to compare.
# The same releases write Location absolute (0.7.0) and relative (0.10.4): they name the same resource, so no difference.
EXPECTED = {
    ("GET /json", "status", "code"),
    ("GET /redirect/{int}", "body", "value"),
    ("GET /redirect/{int}", "body", "length"),
    ("GET /cookies/set", "body", "value"),
    ("GET /cookies/set", "body", "length"),
    ("HEAD /get", "headers", "value"),
}


def divergences(report: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(f["endpoint"], f["aspect"], f["kind"]) for f in report["findings"] if f["class"] == "divergence"}


@pytest.mark.parametrize("capture", ["httpbin.gor", "httpbin.har"])
def test_one_release_against_itself_passes_with_its_bound(capture: str, tmp_path: Path) -> None:
    target = httpbin(STABLE)
    ran = shadowdiff("gate", str(CAPTURES / capture), "--stable", target, "--candidate", target, "--allow-writes", out=tmp_path / "run")
    assert ran.code == 0, ran.explain()
    report = ran.report
    assert report["verdict"] == "pass"
    assert report["findings"] == []
    assert report["totals"]["compared"] == 48 * report["passes"]
    assert report["bound"]["requests"] == 48
    assert 0.05 < report["bound"]["rate"] < 0.07  # 1 - 0.05 ** (1 / 48)
    assert report["bound"]["sentence"] in " ".join(ran.stdout.split())
    uuid = next(noise for noise in report["noise"] if noise["endpoint"] == "GET /uuid")
    assert (uuid["path"], uuid["kind"], uuid["diverged"]) == ("$.uuid", "value", 0)


@pytest.mark.parametrize("capture", ["httpbin.gor", "httpbin.har"])
def test_two_releases_fail_with_exactly_the_changes_read_in_their_sources(capture: str, tmp_path: Path) -> None:
    ran = shadowdiff(
        "gate",
        str(CAPTURES / capture),
        "--stable",
        httpbin(STABLE),
        "--candidate",
        httpbin(OLDER),
        "--allow-writes",
        out=tmp_path / "run",
    )
    assert ran.code == 1, ran.explain()
    assert divergences(ran.report) == EXPECTED
    assert ran.report["verdict"] == "fail"
    assert all(f["exemplars"] and f["exemplars"][0]["command"] for f in ran.report["findings"])


def test_a_capture_without_its_credentials_and_data_is_inconclusive(tmp_path: Path) -> None:
    """What is left when tokens are cut out and the data is gone: nearly every answer is another than the recorded one."""
    capture = json.loads((CAPTURES / "httpbin.har").read_text(encoding="utf-8-sig"))
    for entry in capture["log"]["entries"]:
        request = entry["request"]
        request["headers"] = [h for h in request["headers"] if h["name"].lower() not in {"authorization", "cookie"}]
        request["url"] = request["url"].replace("127.0.0.1:7600/", "127.0.0.1:7600/no-such-data/")
        request.pop("postData", None)
    bare = tmp_path / "bare.har"
    bare.write_text(json.dumps(capture), encoding="utf-8")
    target = httpbin(STABLE)
    ran = shadowdiff("gate", str(bare), "--stable", target, "--candidate", target, "--allow-writes", out=tmp_path / "run")
    assert ran.code == 3, ran.explain()
    codes = [reason["code"] for reason in ran.report["reasons"]]
    assert ran.report["verdict"] == "inconclusive"
    assert codes[0] in {"vacuous_data", "traffic_not_reproduced"}
    assert "traffic_not_reproduced" in codes
