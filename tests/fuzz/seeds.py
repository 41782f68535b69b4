"""Where fuzzing starts: the table of cases, what could be read in two ways, and what was found."""

from tests.proxy.cases import CASES
from tests.proxy.test_ingress import SMUGGLING

SIZE_MAX = 4000
REQUESTS = [raw for raw in (*(case.request for case in CASES), *SMUGGLING.values()) if len(raw) <= SIZE_MAX]
ANSWERS = sorted({case.answer for case in CASES})
DICTIONARY = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"\n\n",
        b" ",
        b"\t",
        b":",
        b"\x00",
        b"\x0b",
        b"\xff",
        b"0\r\n\r\n",
        b"0\n\n",
        b"1;a=b\r\n",
        b"-1",
    ),
    *(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n", b"Content-Length: 0\r\n", b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding:\x0bchunked\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n"),
    *(
        b"Connection: upgrade\r\nUpgrade: websocket\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
        b"Expect: 100-continue\r\n",
        b"HTTP/1.0",
    ),
    *(
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b" 204 ",
        b" 304 ",
        b"HEAD",
        b"ffffffffffffffff\r\n",
    ),
]
FOUND_OF_STABLE = [
    b"HTTP/1.1 103 Early \x11ints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 O\x00K\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 000\r\n\r\n",
]
"""Answers that once broke an invariant."""
