"""What README and docs tell people to type exists: commands, options, make targets, files that are linked to."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from harness.cli.commands import cli
from harness.core.labels import NEXT_STEP

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = ("README.md", "CHANGELOG.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
OPTIONS_OF_OTHERS: Final = frozenset(
    {
        "--input-raw-track-response",  # gor
        *("--cap-add", "--security-opt", "--internal"),  # docker
        "--noproxy",  # curl
    }
)
"""Options of other tools that the documentation names."""

_BLOCK: Final = re.compile(r"^```[a-z]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_INLINE: Final = re.compile(r"`([^`\n]+)`")
_OPTION: Final = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
_LINK: Final = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def code_of(page: str) -> Iterator[str]:
    """Every piece of code: the lines of its blocks (continued ones joined), and code within sentences."""
    text = text_of(page)
    for block in _BLOCK.findall(text):
        yield from block.replace("\\\n", " ").splitlines()
    yield from _INLINE.findall(_BLOCK.sub("", text).replace("\n", " "))


def command_lines() -> list[tuple[str, str]]:
    found = [(page, line.strip()) for page in PAGES for line in code_of(page) if re.match(r"shadowdiff [a-z]", line.strip())]
    assert len(found) >= 10, "the documentation is read as it was meant to be"
    return found


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and the words after it."""
    command: click.Command = cli
    while isinstance(command, click.Group):
        assert words, f"{command.name} is a group"
        assert words[0] in command.commands, f"there is no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def options_of(command: click.Command) -> set[str]:
    return {name for option in command.params if isinstance(option, click.Option) for name in option.opts} | {"--help", "-h"}


def all_options() -> set[str]:
    def options(command: click.Command) -> Iterator[str]:
        yield from options_of(command)
        for inner in command.commands.values() if isinstance(command, click.Group) else ():
            yield from options(inner)

    return set(options(cli))


@pytest.mark.parametrize(("page", "line"), command_lines(), ids=lambda value: value[:60])
def test_commands_and_their_options_exist(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command, rest = command_of(words)
    given = {word.partition("=")[0] for word in rest if word.startswith("-")}
    assert given <= options_of(command), f"{page}: {line}"


@pytest.mark.parametrize("page", PAGES)
def test_options_within_sentences_exist(page: str) -> None:
    pieces = _INLINE.findall(_BLOCK.sub("", text_of(page)).replace("\n", " "))
    prose = " ".join(piece for piece in pieces if not piece.startswith("python -m"))
    assert set(_OPTION.findall(prose)) <= all_options() | OPTIONS_OF_OTHERS


def test_options_named_in_next_steps_exist() -> None:
    assert set(_OPTION.findall(" ".join(NEXT_STEP.values()))) <= all_options()


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        named = {words[1] for line in code_of(page) if len(words := line.split()) > 1 and words[0] == "make"}
        assert named <= targets, page


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in _LINK.findall(text_of(page)):
        if "://" not in link:
            assert ((ROOT / page).parent / link).exists(), link


def test_every_page_of_the_documentation_is_linked_from_the_readme() -> None:
    linked = set(_LINK.findall(text_of("README.md")))
    assert {page for page in PAGES if page.startswith("docs/")} <= linked


def test_every_command_is_in_the_readme() -> None:
    readme = "\n".join(code_of("README.md"))
    missing = [name for name in cli.commands if f"shadowdiff {name}" not in readme and f"make {name}" not in readme]
    assert missing == []
