"""What is never mirrored, and what looks like it and is."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UsageError
from harness.core.limits import EXCLUSION_CACHE_MAX
from harness.core.values import Request
from harness.proxy.exclusions import DEFAULT_EXCLUSIONS, ExclusionRule, Exclusions

DOC = Path(__file__).parents[2] / "docs/configuration.md"
TOKEN = "c5k8q2-4f9a1b7d3e6c8a0f2b4d"
UUID = "3b1f8f0e-9d57-4c59-8c7b-2f6d1c9e4a10"

EXCLUDED = [
    "/logout",
    "/Account/LogOff",
    "/users/sign_out",
    "/sign/out/",
    "/auth/log-out.php?next=/",
    "/oauth2/userLogout",
    "/%6Cogout",
    "//logout;jsessionid=1",
    "http://shop.example/logout",
    "/connect/end-session",
    "/newsletter/unsubscribe/abc",
    "/e-mail/opt-out",
    "/password/reset/x",
    "/users/password/edit?reset_password_token=x",
    f"/accounts/reset/MQ/{TOKEN}/",
    f"/reset/{UUID}",
    f"/email/verify/17/{TOKEN}",
    f"/accounts/confirm-email/{TOKEN}/",
    f"/verify?token={TOKEN}",
    f"/activate/{UUID}",
    "/users/confirmation?confirmation_token=abc",
    "/magic-link?x=1",
    "/auth/magic?token=abc",
    "/login?otp=123456",
    "/__/auth/action?mode=signIn&oobCode=abc",
    "/oauth/callback?code=abc&state=def",
    "/cb?state=def&x=1&code=abc#f",
    "/saml/acs?SAMLResponse=abc",
    "/app?ticket=ST-1-abc",
    "/invitations/accept?x=1",
    "/join?invitation_token=a",
    f"/redeem/{TOKEN}",
]
MIRRORED = [
    "/",
    "*",
    "",
    "/login",
    "/catalogout",
    "/blog-offers",
    "/design-offers/1",
    "/options/outer",
    "/orders/17/confirm",
    "/orders/confirmation",
    f"/orders/{UUID}/verify",
    "/verify",
    "/verify/address",
    "/reset/filters",
    "/activate?plan=basic",
    "/search?q=logout",
    "/search?q=a&code=1",
    "/tickets?ticket=17",
    "/times/2024",
    "/invite/friends",
    f"/invitations/{UUID}",
    "/sessions",
    "/profile/password",
    "/shop?token=abc",
]


def excluded(target: str, rules: Exclusions | None = None, method: str = "GET") -> bool:
    return (rules or Exclusions()).exclude(Request(method=method, target=target))


@pytest.mark.parametrize("target", EXCLUDED)
def test_links_that_work_once_and_log_outs_are_excluded(target: str) -> None:
    assert excluded(target)
    assert excluded(target, method="POST")
    assert not excluded(target, Exclusions(defaults=False))


@pytest.mark.parametrize("target", MIRRORED)
def test_what_only_looks_like_it_is_mirrored(target: str) -> None:
    assert not excluded(target)


@pytest.mark.parametrize("what", DEFAULT_EXCLUSIONS, ids=lambda rule: rule.what)
def test_every_word_and_name_of_every_rule_has_its_effect(what: ExclusionRule) -> None:
    for word in what.words:
        assert excluded(f"/a/{word}/b"), word
        assert excluded(f"/a/{word.upper()}"), word
    for word in what.words_with_token:
        assert excluded(f"/{word}/{UUID}"), word
        assert excluded(f"/{word}?code=1"), word
        assert not excluded(f"/{word}"), word
    for name in what.parameters:
        if name.isalpha():
            assert excluded(f"/x?a=1&{name}=2"), name


def test_the_users_patterns_are_those_of_endpoints() -> None:
    rules = Exclusions(["/admin/**", "GET /reports/{id}/pdf"])
    assert excluded("/admin", rules)
    assert excluded("/admin/users/1?x=/", rules)
    assert excluded("/reports/7/pdf", rules)
    assert not excluded("/reports/7/pdf", rules, method="HEAD")
    assert not excluded("/administration", rules)
    assert not excluded("*", rules)
    assert excluded("/logout", rules)
    assert not excluded("/logout", Exclusions(["/admin/**"], defaults=False))
    with pytest.raises(UsageError):
        Exclusions(["admin"])


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_target_is_judged_the_same_each_time(path: str, query: str) -> None:
    rules = Exclusions(["/a/*"])
    found = {excluded(f"{path}?{query}", rules) for _ in range(2)}
    assert found == {excluded(f"{path}?{query}", Exclusions(["/a/*"]))}


@given(
    st.lists(st.sampled_from(["a", "B1", "orders", "v2", "-", "_", ".", "/", "%20"]), max_size=8),
    st.sampled_from(["logout", "Sign-Out", "log_out"]),
)
def test_a_log_out_is_found_wherever_it_stands(before: list[str], word: str) -> None:
    assert excluded(f"/{''.join(before)}/{word}")


def test_long_paths_and_queries_are_not_remembered() -> None:
    rules = Exclusions()
    for number in range(EXCLUSION_CACHE_MAX + 100):
        assert not excluded(f"/{number}", rules)
    assert max(rules._targets.cache_info().currsize, rules._paths.cache_info().currsize) <= EXCLUSION_CACHE_MAX
    before = rules._targets.cache_info().misses, rules._paths.cache_info().misses
    assert excluded("/logout/" + "a" * 60_000, rules)
    assert not excluded("/x?" + "a=1&" * 15_000, rules)
    assert (rules._targets.cache_info().misses, rules._paths.cache_info().misses) == (before[0], before[1] + 1)


def test_the_documentation_has_the_table() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$", DOC.read_text(encoding="utf-8"), re.MULTILINE)
    found = {what: [re.findall(r"`([^`]+)`", cell) for cell in cells] for what, *cells in rows}
    for rule in DEFAULT_EXCLUSIONS:
        assert found[rule.what] == [list(rule.words), list(rule.words_with_token), list(rule.parameters)], rule.what
