import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import CaptureError
from harness.core.values import Body, Request, Response, body_of
from replay.entry import BrokenKind
from replay.formats import gor
from replay.formats.gor import FORMAT, SEPARATOR, GorEncoder
from tests.replay.build import CAPTURES, bad, entry, good, read, request, response

ID = "9b061db07f000001b7a8"


def sent(number: int, target: str = "/x", time_ns: int = 0) -> bytes:
    return f"1 {ID}{number:04x} {time_ns} 0\nGET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode() + SEPARATOR


def answered(number: int, status: int = 200, body: bytes = b"ok") -> bytes:
    head = f"2 {ID}{number:04x} 5 5\nHTTP/1.1 {status} OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return head + body + SEPARATOR


def test_the_real_capture_is_read_whole() -> None:
    data = (CAPTURES / "httpbin.gor").read_bytes()
    items = read(data, "httpbin.gor")
    entries = good(items)
    assert len(items) == len(entries) == 48
    assert [item.index for item in entries] == list(range(48))
    assert sum(item.recorded is None for item in entries) == 1
    assert {item.request.host for item in entries} == {"127.0.0.1:7600"}
    assert len({item.client for item in entries}) == 1
    assert not any(item.request.body.truncated for item in entries)
    assert entries[0].offset_s == 0.0
    assert entries[-1].offset_s > 0.1


@pytest.mark.parametrize("piece_bytes", [1, 7, 4096])
def test_the_pieces_it_comes_in_do_not_matter(piece_bytes: int) -> None:
    data = (CAPTURES / "httpbin.gor").read_bytes()[:6000]
    assert read(data, "x.gor", piece_bytes=piece_bytes) == read(data, "x.gor")


def test_gzip_is_undone() -> None:
    data = (CAPTURES / "httpbin.gor").read_bytes()
    assert read(gzip.compress(data), "x.gor") == read(data, "x.gor")


def test_answers_are_paired_by_id_in_any_order() -> None:
    items = good(read(sent(1) + sent(2) + answered(2, 202) + answered(3, 203) + answered(1, 201) + sent(3)))
    assert [item.recorded and item.recorded.status for item in items] == [201, 202, 203]


def test_a_repeated_id_is_paired_first_come_first_served() -> None:
    items = good(read(sent(1, "/a") + sent(1, "/b") + answered(1, 201) + answered(1, 202)))
    assert [(item.request.target, item.recorded and item.recorded.status) for item in items] == [("/a", 201), ("/b", 202)]


def test_a_missing_answer_is_none_and_a_lone_answer_is_counted() -> None:
    items = read(answered(9) + sent(1) + answered(8) + answered(8))
    assert [item.recorded for item in good(items)] == [None]
    assert [item.kind for item in bad(items)] == [BrokenKind.LONE_RESPONSE] * 3


def test_replayed_answers_are_ignored() -> None:
    items = read(sent(1) + answered(1).replace(b"2 ", b"3 ", 1))
    assert [item.recorded for item in good(items)] == [None]
    assert bad(items) == []


def test_head_answers_have_no_body() -> None:
    head = sent(1).replace(b"GET", b"HEAD")
    (item,) = good(read(head + answered(1, body=b"")[: -len(SEPARATOR)].replace(b": 0", b": 99") + SEPARATOR))
    assert item.recorded is not None
    assert item.recorded.body.size == 0


@pytest.mark.parametrize("cut", [5, 30, 60])
def test_a_cut_tail_is_a_broken_entry(cut: int) -> None:
    whole = sent(1) + answered(1)
    items = read(whole + sent(2)[:cut], "x.gor")
    assert len(good(items)) == 1
    (broken,) = bad(items)
    assert broken.kind is BrokenKind.TRUNCATED
    assert broken.where == f"byte {len(whole)}"
    assert broken.index == 1


def test_a_cut_replayed_answer_costs_nothing() -> None:
    assert bad(read(sent(1) + b"3 aaaa 1 1\nHTTP/1.1 2")) == []


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (b"nonsense\nGET / HTTP/1.1\r\n\r\n", BrokenKind.MALFORMED),
        (b"1 aaaa 5 0\nnonsense\r\n\r\n", BrokenKind.MALFORMED),
        (b"1 aaaa 5 0\nCONNECT a:1 HTTP/1.1\r\n\r\n", BrokenKind.NOT_HTTP),
    ],
)
def test_a_broken_entry_in_the_middle_stands_in_its_place(record: bytes, kind: BrokenKind) -> None:
    items = read(sent(1) + record + SEPARATOR + sent(2))
    assert [type(item).__name__ for item in items] == ["CaptureEntry", "BrokenEntry", "CaptureEntry"]
    assert bad(items)[0].kind is kind
    assert [item.index for item in items] == [0, 1, 2]


def test_an_unreadable_answer_breaks_its_entry() -> None:
    (item,) = bad(read(sent(1) + b"2 " + ID.encode() + b"0001 5 5\nnonsense" + SEPARATOR))
    assert "recorded answer" in item.what


def test_another_file_is_refused() -> None:
    with pytest.raises(CaptureError, match="not a GoReplay capture"):
        list(FORMAT.read([b"something else entirely"], "x.gor"))


def test_a_record_beyond_the_bound_is_skipped_without_being_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gor, "CAPTURE_RECORD_BYTES_MAX", 4096)
    large = answered(1, body=b"x" * 10_000)
    items = read(sent(1) + large + sent(2), piece_bytes=1000)
    assert [item.request.target for item in good(items)] == ["/x", "/x"]
    (broken,) = bad(items)
    assert broken.kind is BrokenKind.TOO_LARGE
    (tail,) = bad(read(sent(1) + large[:9000], piece_bytes=1000))
    assert tail.kind is BrokenKind.TOO_LARGE


def test_memory_of_a_capture_without_answers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gor, "CAPTURE_PAIRING_MAX", 10)
    items = FORMAT.read((sent(number) for number in range(100)), "x.gor")
    pulled = [next(items) for _ in range(50)]
    assert [item.index for item in pulled] == list(range(50))
    late = read(b"".join(sent(number) for number in range(100)) + answered(0) + answered(99))
    assert [item.kind for item in bad(late)] == [BrokenKind.LONE_RESPONSE]
    assert good(late)[99].recorded is not None


def test_early_answers_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gor, "CAPTURE_PAIRING_MAX", 2)
    items = read(sent(50) + b"".join(answered(number) for number in range(5)) + sent(4))
    assert len(bad(items)) == 4
    assert good(items)[-1].recorded is not None


def test_written_clients_come_back_apart_and_entries_without_one_do_not_meet() -> None:
    encoder = GorEncoder()
    names = ["alice", "bob", "alice", ""]
    data = b"".join(encoder.pair(request(), None, time_ns=at, client=name) for at, name in enumerate(names))
    clients = [item.client for item in good(read(data))]
    assert clients[0] == clients[2] != clients[1]
    assert clients[3] == ""
    again = GorEncoder().pair(request(), None, time_ns=0, client=clients[0])
    assert good(read(again))[0].client == clients[0]


def test_a_recorder_may_append_answers_later() -> None:
    encoder = GorEncoder()
    first, first_bytes = encoder.request(request("GET", "/1"), time_ns=1)
    second, second_bytes = encoder.request(request("GET", "/2"), time_ns=2)
    late = encoder.response(second, response(202), time_ns=3) + encoder.response(first, response(201), time_ns=4)
    items = good(read(first_bytes + second_bytes + late))
    assert [item.recorded and item.recorded.status for item in items] == [201, 202]


def test_the_host_is_written_where_no_header_has_it() -> None:
    encoder = GorEncoder()
    (item,) = good(read(encoder.pair(Request("GET", "/", host="a.test"), None, time_ns=0)))
    assert item.request.host == "a.test"


def test_cut_bodies_stay_cut() -> None:
    cut = Body(data=b"abc\n\xf0\x9f\x90\xb5\xf0\x9f\x99\x88\xf0\x9f\x99\x89\n", size=5000)
    chunked = (("Transfer-Encoding", "chunked"),)
    data = GorEncoder().pair(Request("POST", "/", chunked, cut), Response(200, (), cut), time_ns=0)
    (item,) = good(read(data))
    assert item.request.body.size == 5000
    assert item.request.body.truncated
    assert item.recorded is not None
    assert item.recorded.body.size == 5000


def test_write_gives_what_read_takes() -> None:
    entries = [entry(request("POST", "/a", {"a": 1}), response(201, {"id": 1}), offset_s=0.0), entry(request(), None, offset_s=1.5)]
    back = good(read(b"".join(FORMAT.write(entries, epoch_s=1_700_000_000.0))))
    assert [(item.request, item.recorded) for item in back] == [(item.request, item.recorded) for item in entries]
    assert back[1].offset_s == pytest.approx(1.5, abs=1e-5)


bodies = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from([SEPARATOR, SEPARATOR[1:-1], b"\r\n", b"1 aa 2 3\n", b"0\r\n"]), max_size=6).map(b"".join),
)


@given(bodies, bodies, st.sampled_from([200, 404, 500]), st.booleans())
def test_any_body_survives_writing_and_reading(ask: bytes, answer: bytes, status: int, trailers: bool) -> None:
    req = Request("POST", "/x", (("Host", "a"), ("Content-Length", str(len(ask)))), body_of(ask), "a")
    tail = (("Sum", "1"),) if trailers else ()
    res = Response(status, (("Content-Length", str(len(answer))), ("A", "b")), body_of(answer), "Fine", tail)
    data = GorEncoder().pair(req, res, time_ns=10, latency_ns=3)
    (item,) = read(data + GorEncoder().pair(req, None, time_ns=11), "x.gor")[:1]
    (first, _) = good(read(data + GorEncoder().pair(req, None, time_ns=11), "x.gor"))
    assert item == first
    assert first.request.body == req.body
    assert first.recorded is not None
    assert (first.recorded.status, first.recorded.body, first.recorded.trailers, first.recorded.reason) == (status, res.body, tail, "Fine")
