"""The benchmark measures what it says: both sides find the same differences, and unknown names are refused."""

import pytest

from tests.bench import bench_json
from tests.bench.__main__ import main


@pytest.mark.parametrize("size", [2_000, 20_000])
def test_both_find_the_same(size: int) -> None:
    found = {name: (bench_json.ours(*pair), bench_json.theirs(*pair)) for name, pair in bench_json.cases(size).items()}
    assert found == {"equal": (0, 0), "equal, keys in another order": (0, 0), "three differences": (3, 3)}


def test_documents_are_fixed_and_of_the_size_they_should_be() -> None:
    first, second = bench_json.cases(2_000)["equal"], bench_json.cases(2_000)["equal"]
    assert first == second
    assert 2_000 <= len(first[0]) < 2_500


def test_trials() -> None:
    assert bench_json.trials_per_second(noisy=True, rounds=1, count=2) > 0


def test_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing"]) == 2
    assert "no such benchmark: nothing" in capsys.readouterr().err
