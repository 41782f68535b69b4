from harness.core.labels import Aspect, Kind, Role
from harness.evidence.bets import Bet, TrialBets
from harness.evidence.confirm import Questions
from harness.evidence.hypothesis import Hypothesis
from harness.evidence.keys import KeyBudget
from tests.sim.world import Answer, Three, bets

WRONG: Three = ("1", "1", "2")
NOISE: Three = ("1", "2", "1")


def hypothesis(path: str = "$.x") -> Hypothesis:
    return Hypothesis("GET /items/{int}", Aspect.BODY, path, Kind.VALUE, KeyBudget())


def sent(values: Three, pass_index: int, *, fresh: bool = True, repeat: bool = False, entry: int = 1) -> TrialBets:
    return bets(0, Answer(entry=entry, values={"$.x": values}, pass_index=pass_index, fresh=fresh, repeat=repeat))


def answer(questions: Questions, one: TrialBets, *, noisy: bool = False) -> int:
    index = {(bet.aspect, bet.path, bet.kind): bet for bet in one.bets}
    count = 0
    for question, _ in questions.answers(one, index):
        questions.settle(question, noisy=noisy)
        count += 1
    return count


def test_only_later_sends_from_fresh_state_answer() -> None:
    questions, h = Questions(0.05), hypothesis()
    questions.ask(sent(WRONG, 2), h, 0)
    assert questions.about(sent(WRONG, 3).request)
    assert not questions.about(sent(WRONG, 3, entry=9).request)
    assert answer(questions, sent(WRONG, 2)) == 0
    assert answer(questions, sent(WRONG, 3, fresh=False)) == 0
    assert answer(questions, sent(WRONG, 3)) == 1
    assert answer(questions, sent(WRONG, 0, repeat=True)) == 1
    assert h.repeats == [2, 2]


def test_a_question_is_asked_once() -> None:
    questions, h = Questions(0.05), hypothesis()
    questions.ask(sent(WRONG, 0), h, 0)
    questions.ask(sent(WRONG, 1), h, 0)
    questions.ask(sent(WRONG, 0), hypothesis("$.y"), 0)
    assert len(questions) == 2
    assert questions.unsettled(h) == 1


def test_five_clean_sends_settle_it() -> None:
    questions, h = Questions(0.05), hypothesis()
    questions.ask(sent(WRONG, 0), h, 0)
    for index in range(1, 6):
        assert questions.unsettled(h) == 1
        answer(questions, sent(("1", "1", "1"), index))
    assert (questions.unsettled(h), len(questions)) == (0, 0)
    assert not questions.about(sent(WRONG, 9).request)


def test_what_comes_back_stays_open() -> None:
    questions, h = Questions(0.05), hypothesis()
    questions.ask(sent(WRONG, 0), h, 0)
    for index in range(1, 19):
        answer(questions, sent(WRONG, index))
    assert questions.unsettled(h) == 1
    assert h.repeats == [18, 18]


def test_on_a_noisy_path_the_control_settles_it() -> None:
    for noisy, left in ((True, 0), (False, 1)):
        questions, h = Questions(0.05), hypothesis()
        questions.ask(sent(WRONG, 0), h, 0)
        answer(questions, sent(WRONG, 1), noisy=noisy)
        answer(questions, sent(NOISE, 2), noisy=noisy)
        assert questions.unsettled(h) == 1
        answer(questions, sent(NOISE, 3), noisy=noisy)
        assert questions.unsettled(h) == left


def test_on_a_noisy_path_what_stands_out_stays_open() -> None:
    questions, h = Questions(0.05), hypothesis()
    for entry in range(4):
        questions.ask(sent(WRONG, 0, entry=entry), h, 0)
    for index in range(1, 6):
        answer(questions, sent(WRONG, index), noisy=True)
        for entry in (2, 3):
            answer(questions, sent(("1", "1", "2") if index == 1 else ("1", "1", "1"), index, entry=entry), noisy=True)
    assert questions.unsettled(h) == 2  # the one that came back each time, and the one that was not sent again


def test_on_a_noisy_path_three_clean_sends_raise_no_question() -> None:
    questions, h = Questions(0.05), hypothesis()
    questions.ask(sent(WRONG, 3), h, 3, noisy=True)
    assert len(questions) == 0
    questions.ask(sent(WRONG, 3), h, 3)
    assert len(questions) == 1


def test_closing_a_hypothesis_closes_its_questions_only() -> None:
    questions, one, other = Questions(0.05), hypothesis(), hypothesis("$.y")
    for entry in range(3):
        questions.ask(sent(WRONG, 0, entry=entry), one, 0)
    questions.ask(sent(WRONG, 0, entry=0), other, 0)
    questions.close_all(one)
    assert (questions.unsettled(one), questions.unsettled(other), len(questions)) == (0, 1, 1)
    questions.close_all(one)
    assert len(questions) == 1


def test_what_comes_back_is_the_more_urgent() -> None:
    questions, h, other = Questions(0.05), hypothesis(), hypothesis("$.y")
    assert questions.urgency(sent(WRONG, 1).request) is None
    questions.ask(sent(WRONG, 1), h, 0)
    questions.ask(sent(WRONG, 1, entry=2), other, 0)
    assert questions.urgency(sent(WRONG, 1).request) == questions.urgency(sent(WRONG, 1, entry=2).request) == 0.0
    answer(questions, sent(WRONG, 0, repeat=True))
    urgency = questions.urgency(sent(WRONG, 1).request)
    assert urgency is not None
    assert urgency > 0.0
    questions.close_all(h)
    assert questions.urgency(sent(WRONG, 1).request) is None


def test_closing_twice_is_closing_once() -> None:
    questions, h = Questions(0.05), hypothesis()
    one = sent(WRONG, 0)
    questions.ask(one, h, 0)
    later = sent(WRONG, 1)
    bet = Bet(Aspect.BODY, "$.x", Kind.VALUE, Role.CANDIDATE, False, True, 1)
    (found,) = [question for question, _ in questions.answers(later, {(bet.aspect, bet.path, bet.kind): bet})]
    questions.close(found)
    questions.close(found)
    assert len(questions) == 0
