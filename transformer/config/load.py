"""Config files: read with the files they extend, overridden from the command line, validated, and written again."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from transformer.config.comparison import Comparison
from transformer.config.document import Document, Place, keys_in, parse, write
from transformer.config.errors import UsageError
from transformer.config.messages import explain, nearest
from transformer.config.parallelism import ParallelismStudy
from transformer.config.schema import Config, Section
from transformer.config.sections import meant, sections_in

Root = TypeVar("Root", bound=Section)

_ROOTS: dict[type[Section], tuple[str, str, str, str]] = {
    Config: ("data", "a training config", "train.py", "configs/"),
    Comparison: ("rivals", "a comparison config", "scripts/compare.py", "configs/compare/"),
    ParallelismStudy: ("models", "a benchmark config", "scripts/benchmark.py", "configs/benchmark/"),
}
"""Of each kind of config: the key that only such a config must have, what it is called, the program that takes it, where examples are."""


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read the config of an experiment; see `load_yaml_as`."""
    return load_yaml_as(Config, path, overrides)


def load_yaml_as(root: type[Root], path: str | Path, overrides: Sequence[str] = ()) -> Root:
    """Read a YAML config file as a `root`, with the files it extends, and then overrides such as `model.layers=4`.

    `extends: base.yaml` names a file beside this one whose settings hold wherever this one says nothing: sections are merged, lists
    and single values replaced. Where a section's `kind` changes, what belonged to the old kind and does not fit the new one is left behind.

    Raises UsageError, with a line for each thing that is wrong: the file and line or the override, the dotted key, and the remedy.
    """
    document = _read(root, Path(path), ())
    _refuse_another_kind(root, path, document.values)
    for override in overrides:
        document = _over(root, document, _override(override))
    try:
        return root.model_validate(document.values, strict=True)
    except ValidationError as error:
        raise UsageError("\n".join(explain(each, document, root) for each in error.errors())) from error


def keys_set_by(override: str) -> list[str]:
    """Return the dotted keys that an override such as `schedule={kind: cosine, warmup_steps: 9}` gives values to.

    Raises UsageError where it is no override.
    """
    return [key for key, _ in _leaves(_override(override).values)]


def dump_config(config: Section) -> str:
    """Return the config as YAML with every default made explicit; loading that gives an equal config."""
    return write(config.model_dump())


def differing_keys(a: Section, b: Section) -> list[str]:
    """Return the dotted keys whose values differ, or that only one of the two configs has."""
    left, right = dict(_leaves(a.model_dump())), dict(_leaves(b.model_dump()))
    return [key for key in left | right if key not in left or key not in right or left[key] != right[key]]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _read(root: type[Section], path: Path, above: tuple[Path, ...], named_by: Place | None = None) -> Document:
    """Return a file's document over those of the files it extends; `above` are the files that led here."""
    where = f"{named_by}: extends: " if named_by else ""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{where}{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{where}cannot read config file {path}: {reason}{_nearest_file(path)}") from error
    if path.resolve() in above:
        raise UsageError(f"{where}{path} extends itself, by way of {' and '.join(file.name for file in above)}")
    document = parse(text, str(path))
    if not isinstance(document.values, dict):
        raise UsageError(f"{path}: the file holds no settings; a config is lines of `key: value`, and starts with `name:`")
    if "extends" not in document.values:
        return document
    base = document.values.pop("extends")
    if not isinstance(base, str):
        raise UsageError(f"{document.places['extends',]}: extends should be the path of one file, not {base!r}")
    return _over(root, _read(root, path.parent / base, (*above, path.resolve()), document.places["extends",]), document)


def _refuse_another_kind(root: type[Section], path: str | Path, values: Mapping[str, Any]) -> None:
    """Raise UsageError, one line and not one for each key, where the file is a config of another program's."""
    if root not in _ROOTS or _ROOTS[root][0] in values:
        return
    key, wanted, _, folder = _ROOTS[root]
    for other_key, found, program, _ in _ROOTS.values():
        if other_key in values:
            raise UsageError(f"{path} is {found}, which {program} takes; {wanted} has {key}:, see {folder}")


def _nearest_file(path: Path) -> str:
    folders = [folder for folder in (path.parent, Path("configs")) if folder.is_dir()]
    return nearest(str(path), [str(file) for folder in folders for file in folder.rglob("*.yaml")])


def _override(override: str) -> Document:
    """Return the document that `dotted.key=value` stands for."""
    source = f"override {override}"
    dotted, equals, text = override.partition("=")
    names = dotted.strip().split(".")
    if not equals or not all(names):
        raise UsageError(f"{source}: an override is written key=value, such as model.layers=4")
    if text.lstrip().startswith("#"):
        raise UsageError(f"{source}: what begins with # is a comment in YAML; put it in quotes of its own: {dotted}='\"{text.strip()}\"'")
    if names[0] == "extends":
        raise UsageError(f"{source}: extends belongs in a config file, not in an override; write it there, as `extends: base.yaml`")
    try:
        value = parse(text, source, lines=False)
    except UsageError as error:
        raise UsageError(f"{error}; an override that holds spaces is put in quotes") from error
    values = value.values
    for name in reversed(names):
        values = {name: values}
    sections = {tuple(names[:end]): Place(source) for end in range(1, len(names))}
    return Document(values, sections | {(*names, *key): place for key, place in value.places.items()})


def _over(root: type[Section], base: Document, document: Document) -> Document:
    values, places = _merged(base.values, document.values, [root]), base.places | document.places
    # The places of what was replaced or left behind go with it: a key that is missing now was not written there.
    return Document(values, {key: places[key] for key in keys_in(values)})


def _merged(base: Any, values: Any, alternatives: list[type[Section]]) -> Any:
    """Return `values` laid over `base`; both may be anything at all, since nothing is validated yet."""
    if not (isinstance(base, dict) and isinstance(values, dict)):
        return values
    section, before = meant(alternatives, base | values), meant(alternatives, base)
    if section and before and section is not before:
        base = {name: value for name, value in base.items() if _outlasts(name, value, _types(before), _types(section))}
    types = _types(section)
    return base | {name: _merged(base.get(name), value, sections_in(types.get(name))) for name, value in values.items()}


def _outlasts(name: str, value: Any, old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Return whether a key stays when its section's kind changes; it was written for the new kind where the old one does not have it."""
    if name not in old or old[name] == new.get(name):
        return True
    try:  # A hub's test=validation may stand before kind=hub too, though files have another `test`.
        TypeAdapter(new[name]).validate_python(value, strict=True)
    except (KeyError, ValidationError):
        return False
    return True


def _types(section: type[Section] | None) -> dict[str, Any]:
    return {name: field.annotation for name, field in section.model_fields.items()} if section else {}
