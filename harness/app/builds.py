"""Which build of the candidate answers, and whether another has taken its place for good.

What is known of it comes from labels: a header of the candidate's answers, or a path of it that is asked again and again.
Two builds behind a balancer must not make epochs without end, so a build is believed only once it alone has answered for
a while. Until then its answers belong to nobody. Pure: times are handed in.
"""

from collections import deque
from typing import Final

import msgspec

from harness.core.http import header
from harness.core.limits import BUILD_LABEL_CHARS_MAX
from harness.core.plain import AnyTrial, PlainTrial, read_answer

ANSWERS_MIN: Final = 50
"""So many answers in a row, all of another build, are needed to believe that it has taken the place."""
SECONDS_MIN: Final = 5.0
"""And so much time between the first and the last of them."""
POLLS_MIN: Final = 3
"""So many answers in a row of the version path are."""
RETURN_FACTOR: Final = 10
"""How much more is needed of a build that was judged not long ago: it may be one of two that take turns."""
_RECENT: Final = 5
"""How many builds are remembered for that."""


class Believed(msgspec.Struct, frozen=True, kw_only=True):
    """How much it takes to believe in another build."""

    answers: int = ANSWERS_MIN
    seconds: float = SECONDS_MIN
    polls: int = POLLS_MIN


class BuildGuard:
    """Told of labels in the order in which answers are folded; says whose they are. One thread owns it."""

    def __init__(self, build: str, believed: Believed | None = None) -> None:
        """`build` is the one under test; empty where nobody has said, and then the first label says it."""
        self.build = build
        self._believed = believed or Believed()
        self._recent: deque[str] = deque(maxlen=_RECENT)
        self._rival = ""
        self._answers = 0
        self._polls = 0
        self._since_ns = 0
        self._settled = False

    @property
    def rival(self) -> str:
        """Another build that alone has answered of late; empty where there is none."""
        return self._rival

    @property
    def settled(self) -> str:
        """Another build that has taken the place; empty where none has. What answers from now on is no matter: `begin` must come."""
        return self._rival if self._settled else ""

    def answered(self, label: str, now_ns: int) -> bool:
        """An answer with this label (empty where it has none) was folded. Whether it is of the build under test.

        What has no label, an error say, is the build's own, unless a rival alone was heard since: then nobody knows.
        """
        if self._settled:
            return False
        if not label:
            return not self._rival
        if self._own(label):
            return True
        self._challenge(label, now_ns)
        self._answers += 1
        long_enough = now_ns - self._since_ns >= self._believed.seconds * self._factor * 1e9
        self._settled = long_enough and self._answers >= self._believed.answers * self._factor
        return False

    def polled(self, label: str, now_ns: int) -> None:
        """The version path has answered with this label; empty where it did not answer, which says nothing."""
        if self._settled or not label or self._own(label):
            return
        self._challenge(label, now_ns)
        self._polls += 1
        self._settled = self._polls >= self._believed.polls * self._factor

    def begin(self, build: str) -> None:
        """An epoch begins, and this build is under test."""
        if build != self.build:
            self._recent.append(self.build)
        self.build = build
        self._forget()

    def _own(self, label: str) -> bool:
        if not self.build:
            self.build = label
        if label == self.build:
            self._forget()
            return True
        return False

    def _challenge(self, label: str, now_ns: int) -> None:
        if label != self._rival:
            self._forget()
            self._rival, self._since_ns = label, now_ns

    @property
    def _factor(self) -> int:
        return RETURN_FACTOR if self._rival in self._recent else 1

    def _forget(self) -> None:
        self._rival, self._answers, self._polls, self._settled = "", 0, 0, False


def label_of(text: str) -> str:
    """A label as it is kept: printable, on one line, bounded. Empty where there is none."""
    return "".join(char for char in text.strip() if char.isprintable())[:BUILD_LABEL_CHARS_MAX]


def label_in_body(body: bytes) -> str:
    """The label that a version path answers with: the member `build`, `version` or `commit` of a JSON object, or the text itself."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        decoded = None
    if isinstance(decoded, dict):
        found = next((decoded[name] for name in ("build", "version", "commit") if decoded.get(name)), "")
        return label_of(str(found)) if isinstance(found, str | int | float) else ""
    return label_of(body.decode("utf-8", "replace"))


def build_in(trial: AnyTrial, name: str) -> str:
    """The label that the candidate's answer carries in the header `name`; empty where it carries none, or there is no answer."""
    if isinstance(trial, PlainTrial):
        if trial.candidate is None:
            return ""
        # An answer that is stable's, byte for byte, was left out.
        arm = trial.candidate if trial.candidate.answer else trial.stable
        headers = read_answer(arm.answer[: arm.head_bytes], arm.head_bytes).headers
    else:
        answer = None if trial.candidate is None else trial.candidate.exchange.response
        if answer is None:
            return ""
        headers = answer.headers
    return label_of(header(headers, name) or "")
