"""Write what the config's schema says for people (docs/configuration.md) and for editors (configs/schema.json)."""

import argparse
import json
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

from transformer.config.comparison import Comparison
from transformer.config.parallelism import ParallelismStudy
from transformer.config.schema import Config, Section
from transformer.config.sections import are_named, kinds_of, sections_in

ROOT = Path(__file__).parent.parent

ROOTS: dict[str, type[Section]] = {"train.py": Config, "scripts/compare.py": Comparison, "scripts/benchmark.py": ParallelismStudy}
"""What the config file of each program holds."""

HEAD = """\
# Configuration

<!-- Written by `make docs` from transformer/config/; change it there. -->

A config is a YAML file of the keys below; a key that is not here is an error. Three programs read one, each with keys of its own:
[`train.py`](#trainpy) a training, [`scripts/compare.py`](#scriptscomparepy) a comparison of trainings, and
[`scripts/benchmark.py`](#scriptsbenchmarkpy) a study of how models use processors.

`extends: other.yaml` names a file beside it whose settings hold wherever this file says nothing: sections are merged, lists are replaced.
On the command line, `model.layers=4` overrides a key, and `--print-config` of `train.py` shows what every key is in the end. A key without
a default must be given.

Where a section has several kinds, `kind` chooses one, and the first is meant where it is left out, save for `data.source`,
`model.initialize_from` and `models.encoder`, which have no default kind.

An editor with a YAML language server completes and checks a config file of `train.py` that has this line, with the way from it to
`configs/`:

    # yaml-language-server: $schema=../schema.json
"""


def reference() -> str:
    """Return the configuration reference as Markdown."""
    lines = [HEAD]
    written: dict[type[Section], str] = {}
    for program, root in ROOTS.items():
        lines += [f"## `{program}`\n", *_section(root, "", written)]
    return "\n".join(lines)


def schema() -> str:
    """Return the JSON Schema of a config file.

    It requires no key, because a file may extend another that has it; whether one is missing is found when the file is loaded.
    """
    whole = Config.model_json_schema()
    whole["properties"]["extends"] = {"type": "string", "description": "A config file, relative to this one, whose settings hold here too."}
    return json.dumps(_for_files(whole), indent=2, ensure_ascii=False) + "\n"


def _for_files(part: Any) -> Any:
    """Require nothing, and let a section be of any kind that its keys fit, for its `kind` may stand in the base."""
    if isinstance(part, list):
        return [_for_files(item) for item in part]
    if isinstance(part, dict):
        return {
            ("anyOf" if key == "oneOf" else key): _for_files(value)
            for key, value in part.items()
            if key not in {"required", "discriminator"}
        }
    return part


def _section(section: type[Section], dotted: str, written: dict[type[Section], str]) -> Iterator[str]:
    """Yield the table of a section and then the sections in it; those that are `written`, by name, are not written twice."""
    kinds = kinds_of(section)
    if dotted:
        yield f"### `{dotted}`" + (f", kind {', '.join(f'`{kind}`' for kind in kinds)}" if kinds else "") + "\n"
    yield f"{cleandoc(section.__doc__ or '')}\n"
    properties = section.model_json_schema()["properties"]
    # The heading says what the only kind is.
    fields = {name: field for name, field in section.model_fields.items() if name != "kind" or len(kinds) > 1}
    if fields:
        yield "| key | value | default | meaning |\n| --- | --- | --- | --- |"
    for name, field in fields.items():
        meaning = " ".join(str(field.description).split())  # a line's end would end the table's row
        default = "" if field.is_required() else f"`{_default(field.default)}`"
        yield f"| `{name}` | {_values(properties[name])} | {default} | {meaning} |"
    if fields:
        yield ""
    repeated: dict[str, None] = {}
    for inner, names in _inner_sections(section, dotted).items():
        if inner not in written:
            written[inner] = names
            yield from _section(inner, names, written)
        elif written[inner] != names:
            repeated[f"`{names}` has the keys of `{written[inner]}` above.\n"] = None
    yield from repeated


def _inner_sections(section: type[Section], dotted: str) -> dict[type[Section], str]:
    """Return the sections that a section holds, each with all keys that hold it."""
    keys: dict[type[Section], list[str]] = {}
    for name, field in section.model_fields.items():
        key = f"{dotted}.{name}".removeprefix(".") + (".NAME" if are_named(field.annotation) else "")
        for inner in sections_in(field.annotation):
            keys.setdefault(inner, []).append(key)
    return {inner: "`, `".join(names) for inner, names in keys.items()}


def _default(default: Any) -> str:
    if isinstance(default, Section):
        return f"kind: {default.model_dump()['kind']}" if kinds_of(type(default)) else "{}"
    return json.dumps(default)


def _values(described: dict[str, Any]) -> str:
    match described:
        case {"$ref": _} | {"oneOf": _} | {"discriminator": _}:
            return "section"
        case {"anyOf": choices}:
            return " or ".join(_values(choice) for choice in choices)
        case {"const": value}:
            return f"`{value}`"
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"type": "array", "items": items}:
            return f"list of: {_values(items)}"
        case {"type": "object", "additionalProperties": values}:
            return f"under names of your own: {_values(values)}"
        case {"type": "integer" | "number" | "string" | "boolean" | "null" as type_}:
            words = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}
            limits = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}
            return ", ".join([words[type_], *(f"{word} {described[limit]:,.12g}" for limit, word in limits.items() if limit in described)])
    raise AssertionError(described)


def main() -> None:
    """Write both files; there is nothing to choose, and `--help` writes nothing."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    (ROOT / "docs" / "configuration.md").write_text(reference(), encoding="utf-8")
    (ROOT / "configs" / "schema.json").write_text(schema(), encoding="utf-8")


if __name__ == "__main__":
    main()
