import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.http import header
from harness.core.values import Headers, Request
from replay.entry import ONE_PERSON, CaptureEntry
from replay.sessions import group_sessions
from tests.replay.build import CAPTURES, entry, good, numbered, read, request, response

UUID = "3f2c8a4e-7d1b-4c55-9a0e-2b6f1d8c9e01"
TOKEN = "q7Rt2mZx9LpW4vKd8sHc"


def cookie(value: str, name: str = "sid") -> Headers:
    return (("Cookie", f"{name}={value}"),)


def groups(*entries: CaptureEntry, by_client: bool = True) -> list[list[int]]:
    return [list(session.positions) for session in group_sessions(numbered(entries), by_client=by_client)]


def test_nothing_known_is_a_session_each() -> None:
    assert groups(entry(request()), entry(request()), entry(request())) == [[0], [1], [2]]
    assert group_sessions([]) == ()


def test_set_cookie_then_cookie_is_one_session() -> None:
    login = entry(request("POST", "/login"), response(200, {}, headers=(("Set-Cookie", "sid=abcd1; Path=/"),)))
    other = entry(request("POST", "/login"), response(200, {}, headers=(("Set-Cookie", "sid=wxyz9; Path=/"),)))
    me, you = entry(request(headers=cookie("abcd1"))), entry(request(headers=cookie("wxyz9")))
    assert groups(login, other, me, you, me) == [[0, 2, 4], [1, 3]]


def test_a_session_cookie_counts_before_shared_keys() -> None:
    service = (("Authorization", "Bearer service-wide-token"),)
    entries = [entry(request(headers=(*service, *cookie(f"user{at % 3}")))) for at in range(9)]
    assert groups(*entries) == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


def test_authorization_and_session_headers_are_identities() -> None:
    by_token = [entry(request(headers=(("Authorization", f"Bearer t{at % 2}"),))) for at in range(4)]
    assert groups(*by_token) == [[0, 2], [1, 3]]
    by_header = [entry(request(headers=(("X-Session-Id", f"sess{at % 2}"),))) for at in range(4)]
    assert groups(*by_header) == [[0, 2], [1, 3]]


def test_a_key_on_most_requests_joins_nothing() -> None:
    entries = [entry(request(target=f"/{at}", headers=(("X-Api-Key", TOKEN),))) for at in range(5)]
    assert groups(*entries) == [[0], [1], [2], [3], [4]]


def test_a_key_that_a_recorded_answer_issued_joins() -> None:
    login = entry(request("POST", "/token"), response(200, {"access_token": TOKEN}))
    users = [entry(request(target=f"/{at}", headers=(("Authorization", f"Bearer {TOKEN}"),))) for at in range(4)]
    assert groups(login, *users) == [[0, 1, 2, 3, 4]]


def test_a_created_thing_joins_its_users() -> None:
    made = entry(request("POST", "/orders"), response(201, {"id": 100}))
    entries = [made, entry(request(target="/orders/100")), entry(request(target="/customers/100")), entry(request(target="/orders/101"))]
    assert groups(*entries) == [[0, 1], [2], [3]]


def test_a_use_before_the_answer_is_no_link() -> None:
    used = entry(request(target=f"/orders/{UUID}"))
    made = entry(request("POST", "/orders"), response(201, {"id": UUID}))
    assert groups(used, made, used) == [[0], [1], [2]]


def test_a_value_handed_over_joins_and_shared_data_does_not() -> None:
    page = entry(request(target="/form"), response(200, {"csrf": TOKEN}))
    post = entry(request("POST", "/form", {"csrf": TOKEN}))
    assert groups(page, post) == [[0, 1]]
    catalogue = entry(request(target="/products", headers=cookie("user1")), response(200, [{"id": UUID}]))
    buyers = [entry(request(target=f"/products/{UUID}", headers=cookie(f"user{at}"))) for at in (2, 3)]
    assert groups(catalogue, *buyers) == [[0], [1], [2]]
    assert groups(catalogue, buyers[0], buyers[0]) == [[0, 1, 2]]


def test_words_numbers_and_constants_do_not_glue() -> None:
    entries = [
        entry(
            request("POST", "/search?page=1&flag=true", {"lang": "english", "limit": 20}, headers=(("Cookie", "theme=dark; lang=en"),)),
            response(200, {"status": "completed", "id": 1, "count": 20}),
        )
        for _ in range(6)
    ]
    assert groups(*entries) == [[0], [1], [2], [3], [4], [5]]


def test_a_constant_cookie_given_to_everybody_does_not_glue() -> None:
    visits = []
    for at in range(6):
        visits.append(entry(request(target=f"/{at}"), response(200, {}, headers=(("Set-Cookie", f"variant={TOKEN}"),))))
        visits.append(entry(request(target=f"/{at}/next", headers=cookie(TOKEN, "variant"))))
    assert max(len(group) for group in groups(*visits)) == 1


def test_random_looking_cookies_identify_where_nothing_better_does() -> None:
    entries = [entry(request(headers=cookie(f"{TOKEN}{at % 3}", "_ga"))) for at in range(6)]
    assert groups(*entries) == [[0, 3], [1, 4], [2, 5]]


def test_a_connection_with_one_identity_is_a_session_and_a_pool_is_not() -> None:
    anonymous = entry(request(), client="c1")
    alice, bob = (entry(request(headers=cookie(name)), client="c1") for name in ("alice", "bobby"))
    assert groups(anonymous, alice, anonymous) == [[0, 1, 2]]
    assert groups(anonymous, alice, bob) == [[0], [1], [2]]
    assert groups(anonymous, anonymous, by_client=False) == [[0], [1]]
    assert groups(anonymous, entry(request(), client="c2")) == [[0], [1]]


def test_one_persons_file_is_one_session_whatever_it_carries() -> None:
    entries = [entry(request(headers=cookie(f"user{at}")), client=ONE_PERSON) for at in range(4)]
    assert groups(*entries) == [[0, 1, 2, 3]]


@pytest.mark.parametrize("name", ["httpbin.gor", "httpbin.har", "httpbin.mitm"])
def test_the_real_captures_are_grouped(name: str) -> None:
    found = group_sessions(good(read((CAPTURES / name).read_bytes(), name)))
    assert 10 < len(found) < 48
    carriers = {session.key for session in found for item in session.entries if "s3cr3t" in (header(item.request.headers, "cookie") or "")}
    assert len(carriers) == 1


def test_keys_are_stable_names() -> None:
    entries = numbered([entry(request()), entry(request(headers=cookie("alice"))), entry(request(headers=cookie("alice")))])
    assert [session.key for session in group_sessions(entries)] == ["s0", "s1"]


def test_only_answers_that_somebody_needs_are_learned_from() -> None:
    made = entry(request("POST", "/orders"), response(201, {"id": 100}))
    listed = entry(request(target="/orders", headers=cookie("alice")), response(200, [{"token": TOKEN}]))
    used = entry(request("POST", "/pay", {"token": TOKEN}, headers=cookie("alice")), None)
    last = entry(request(target="/done", headers=cookie("alice")), response(200, {"token": TOKEN}))
    found = {session.key: session.teaching for session in group_sessions(numbered([made, listed, used, last]))}
    assert found == {"s0": (True,), "s1": (True, False, False)}


values = st.sampled_from(["true", "7", UUID, TOKEN, "abcd", "ord_12345", "100", "x"])


def _entry(path: str, sent: str, made: str, got: str, client: str, method: str) -> CaptureEntry:
    headers: Headers = (("Cookie", f"sid={sent}; x={got}"),) if sent != "x" else ()
    ask: Request = request(method, f"/{path}/{got}", {"id": made} if method == "POST" else None, headers=headers)
    return entry(ask, response(200, {"id": made, "token": sent}, headers=(("Set-Cookie", f"sid={made}"),)), client=client)


@given(
    st.lists(
        st.builds(_entry, values, values, values, values, st.sampled_from(["", "a", "b"]), st.sampled_from(["GET", "POST"])), max_size=12
    )
)
def test_every_entry_is_in_exactly_one_session_in_order(entries: list[CaptureEntry]) -> None:
    found = group_sessions(numbered(entries))
    assert sorted(at for session in found for at in session.positions) == list(range(len(entries)))
    for session in found:
        assert list(session.positions) == sorted(session.positions)
        assert [item.index for item in session.entries] == list(session.positions)
    assert found == group_sessions(numbered(entries))


def test_many_entries_are_grouped_in_linear_time_and_memory() -> None:
    rng = random.Random(1)
    entries = []
    for at in range(3000):
        user = rng.randrange(300)
        entries.append(
            entry(request(target=f"/orders/{rng.randrange(10**6)}", headers=cookie(f"user{user:05}")), response(200, {"id": at}))
        )
    assert len(groups(*entries)) == len({item.request.headers for item in entries})
