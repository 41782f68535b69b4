"""Everything checked in that is made from the code: schema, examples, tables of the documentation, golden files.

The tests compare what is checked in with `files()`; `python -m tests.report.contract` writes it all again.
"""

import ast
import enum
import inspect
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from rich.console import Console

from harness.core import canon, labels, watched
from harness.evidence import slices, snapshot
from harness.report import model
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.model import Report, encode_report
from harness.report.terminal import render_terminal
from tests.report import samples

ROOT = Path(__file__).parents[2]
DOCS = "docs/report.md"
KEYED_BY = {
    "RunFacts.targets": labels.Role,
    "RequestTotals.shed": labels.ShedReason,
    "RequestTotals.skipped": labels.SkipReason,
    "RequestTotals.refused": labels.RefusedReason,
    "LatencyView.targets": labels.Role,
    "EndpointView.statuses": labels.Role,
    "Report.errors": labels.Role,
    "Exemplar.effects": labels.Role,
    "Exemplar.times": labels.Role,
    "Watched.seen": labels.Role,
    "Watched.unattributed": labels.Role,
    "Watched.late": labels.Role,
    "Unattributed.counts": labels.Role,
    "TableDifference.values": labels.Role,
}
"""Objects whose keys are a closed set: msgspec's schemas do not say so."""


def attribute_docs(module: ModuleType) -> dict[str, dict[str, str]]:
    """Class name -> attribute name -> the string that stands under it in the source."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = dict(_documented(node))
    return found


def _documented(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for statement, following in zip(node.body, node.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
        else:
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            yield name, inspect.cleandoc(str(following.value.value))


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of report.json. Every key is required; further keys are allowed."""
    (made,), parts = msgspec.json.schema_components([Report], ref_template="#/$defs/{name}")
    docs = {**attribute_docs(model), **attribute_docs(snapshot), **attribute_docs(slices), **attribute_docs(watched)}
    for name, part in parts.items():
        if "properties" not in part:
            continue
        part["required"] = sorted(part["properties"])
        for key, value in part["properties"].items():
            value.pop("default", None)
            if f"{name}.{key}" in KEYED_BY:
                value["propertyNames"] = {"$ref": f"#/$defs/{KEYED_BY[f'{name}.{key}'].__name__}"}
            if key in docs.get(name, {}):
                value["description"] = docs[name][key]
    for enumeration in KEYED_BY.values():
        parts.setdefault(enumeration.__name__, {"title": enumeration.__name__, "enum": sorted(enumeration)})
        parts[enumeration.__name__].setdefault("description", inspect.cleandoc(enumeration.__doc__ or ""))
    parts["Report"]["properties"]["schema"] = {"const": model.SCHEMA}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:shadowdiff:report-1",
        "title": "report.json of shadowdiff",
        **made,
        "$defs": dict(sorted(parts.items())),
    }


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def terminal_text(report: Report, width: int = 80) -> str:
    out = io.StringIO()
    render_terminal(report, Console(file=out, width=width, no_color=True), where="runs/sample/report.html")
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, tuple("---" for _ in head), *rows))


def _enum_table(enumeration: type[enum.StrEnum]) -> str:
    docs = {**attribute_docs(labels), **attribute_docs(canon)}[enumeration.__name__]
    return _table(("value", "meaning"), [(f"`{member.value}`", docs.get(member.name, "").replace("\n", " ")) for member in enumeration])


def tables() -> dict[str, str]:
    """The generated tables of docs/report.md, by name."""
    docs = attribute_docs(model)["Report"]
    keys = [(f"`{key}`", docs[key].replace("\n", " ")) for key in Report.__struct_fields__]
    reasons = [(f"`{code.value}`", labels.NEXT_STEP[code]) for code in labels.ReasonCode]
    return {
        "keys": _table(("key", "what it says"), keys),
        "reasons": _table(("code", "next step"), reasons),
        "kinds": _enum_table(labels.Kind),
        "classes": _enum_table(labels.FindingClass),
        "skipped": _enum_table(labels.SkipReason),
        "shed": _enum_table(labels.ShedReason),
        "refused": _enum_table(labels.RefusedReason),
    }


def documentation() -> bytes:
    """docs/report.md with its tables made anew."""
    text = (ROOT / DOCS).read_text(encoding="utf-8")
    for name, table in tables().items():
        block = re.compile(rf"(?<=<!-- table: {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)
        assert block.search(text), f"{DOCS} has no table {name}"
        text = block.sub(lambda _, table=table: table + "\n", text, count=1)  # type: ignore[misc]  # mypy infers no lambda with a default
    return text.encode()


def files() -> dict[str, Callable[[], bytes]]:
    """Path from the root -> how its content is made."""
    made: dict[str, Callable[[], bytes]] = {"config/schemas/report-1.json": lambda: _json(schema()), DOCS: documentation}
    for name, build in samples.REPORTS.items():
        made[f"config/schemas/examples/report-{name}.json"] = lambda build=build: encode_report(build())  # type: ignore[misc]  # mypy infers no lambda with a default
        made[f"tests/report/golden/terminal-{name}.txt"] = lambda build=build: terminal_text(build()).encode()  # type: ignore[misc]  # mypy infers no lambda with a default
        made[f"tests/report/golden/summary-{name}.md"] = lambda build=build: render_markdown(build(), where="report.html").encode()  # type: ignore[misc]  # mypy infers no lambda with a default
        made[f"tests/report/golden/junit-{name}.xml"] = lambda build=build: render_junit(build())  # type: ignore[misc]  # mypy infers no lambda with a default
    return made


def main() -> None:
    for name, make in files().items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make())


if __name__ == "__main__":
    main()
