"""YAML text as plain values that know where they were written."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from transformer.config.errors import UsageError

Key = tuple[str | int, ...]
"""Where a value stands: names of mappings' keys and positions in lists."""


@dataclass(frozen=True)
class Place:
    """Where a person wrote something: a line of a file, or a whole command-line override."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Document:
    """Values, and the place of each."""

    values: Any
    places: dict[Key, Place]


def keys_in(values: Any, key: Key = ()) -> Iterator[Key]:
    """Yield the key of every value: of the whole, of each section and list, and of what they hold."""
    yield key
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for part, value in inner:
        yield from keys_in(value, (*key, part))


class _Loader(yaml.SafeLoader):
    """Reads plain scalars as YAML 1.2 does: `1e-3` is a number, `no` and `2026-01-01` are text. PyYAML itself follows YAML 1.1."""

    def __init__(self, text: str, source: str, lines: bool) -> None:
        super().__init__(text)
        self.source, self.lines = source, lines
        self.places: dict[Key, Place] = {}

    def place(self, mark: Any) -> Place:
        return Place(self.source, mark.line + 1 if self.lines and mark is not None else None)

    def read(self, node: yaml.Node | None, key: Key = (), mark: Any = None) -> Any:
        self.places[key] = self.place(mark)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*key, index), item.start_mark) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self.read_mapping(node, key)
        if node is None:
            return None
        try:
            return self.construct_object(node)
        except (KeyError, AttributeError) as error:  # of PyYAML, for a tag that does not fit, such as `!!bool maybe`
            raise UsageError(f"{self.place(mark)}: {node.value!r} does not fit its tag {node.tag}; leave the tag out") from error

    def read_mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name_node, value_node in node.value:
            name, mark = name_node.value, name_node.start_mark
            if not isinstance(name, str):
                raise UsageError(f"{self.place(mark)}: a key should be text, not a list or a mapping")
            if name in values:
                raise UsageError(f"{self.place(mark)}: {name} stands twice, first at {self.places[*key, name]}; delete one")
            values[name] = self.read(value_node, (*key, name), mark)
        return values


class _Dumper(yaml.SafeDumper):
    """Quotes text that a reader of YAML 1.1 or 1.2 would take for something else."""


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    # PyYAML writes some of Unicode's line breaks as they are, and reads them as spaces, unless the text is in double quotes.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _text)


_PLAIN_SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "float": (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.0123456789")),
}
_Loader.yaml_implicit_resolvers = {}
for _name, (_pattern, _first_characters) in _PLAIN_SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_pattern})$"), _first_characters)
# PyYAML reads 010 as eight, which YAML 1.2 does not.
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


def parse(text: str, source: str, *, lines: bool = True) -> Document:
    """Read YAML text that was written in `source`, and remember each value's line unless `lines` is false.

    Raises UsageError where the text is not YAML or a mapping names a key twice.
    """
    try:
        loader = _Loader(text, source, lines)
        values = loader.read(loader.get_single_node())
    except yaml.MarkedYAMLError as error:
        raise UsageError(f"{loader.place(error.problem_mark)}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{source}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{source}: the values are nested without end") from error
    return Document(values, loader.places)


def write(values: dict[str, Any]) -> str:
    """Return YAML text that `parse` reads as the same values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
