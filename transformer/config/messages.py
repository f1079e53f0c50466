"""What pydantic finds wrong with a config, in plain words: where, what, and what to type instead."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import get_args, get_origin

from pydantic_core import ErrorDetails

from transformer.config.document import Document, Key, Place
from transformer.config.schema import Section
from transformer.config.sections import are_named, dotted_keys, kinds_of, sections_in

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a section with keys of its own",
    "model_type": "a section with keys of its own",
    "model_attributes_type": "a section with keys of its own",
    "union_tag_not_found": "a section with keys of its own",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "string_pattern_mismatch": "text that matches {pattern}",
}


def explain(error: ErrorDetails, document: Document, root: type[Section]) -> str:
    """Return one line that names the place, the dotted key and what is wrong with it; `root` is what the document should be."""
    key, section, alternatives, named = _locate(error["loc"], root)
    dotted, value, context = dotted_name(key), error["input"], error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            what = f"unknown key {dotted}{_instead_of(key, value, section, alternatives, root)}"
        case "missing":
            other = _other_name(key[:-1], document) if key[:-1] == named else ""
            meaning = " ".join(str(section.model_fields[str(key[-1])].description).split())
            what = f"{dotted} is missing: {meaning.removesuffix('.') + other if other else meaning}"
        case "union_tag_not_found" if isinstance(value, dict):
            what = f"{dotted}.kind is missing; it should be one of {', '.join(kind for each in alternatives for kind in kinds_of(each))}"
        case "union_tag_invalid":
            key = (*key, "kind")
            what = _one_of(f"{dotted}.kind", context["expected_tags"], context["tag"])
        case "literal_error":
            what = _one_of(dotted, context["expected"], value)
        case "too_short" if isinstance(value, dict):
            what = f"{dotted} is empty; it should have at least {context['min_length']} section, under a name of your own"
        case "value_error":
            what = f"{dotted}: {context['error']}" if dotted else str(context["error"])
        case type_ if type_ in _EXPECTED:
            what = f"{dotted} should be {_EXPECTED[type_].format(**context)}, not {_shown(value)}{_hint(error, key, section, alternatives)}"
        case _:
            what = f"{dotted}: {error['msg']}"
    return f"{place_of(key, document)}: {what}"


def dotted_name(key: Key) -> str:
    """Return the key as a person writes it, such as `data.source.train[0].path`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")


def place_of(key: Key, document: Document) -> Place:
    """Return where a key was written or, where it was not, the section that would hold it."""
    return next(document.places[key[:end]] for end in range(len(key), -1, -1) if key[:end] in document.places)


def nearest(word: str, words: Iterable[str]) -> str:
    """Return a question that names the nearest of the words, or nothing where none is near."""
    close = get_close_matches(word, list(words), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _locate(location: tuple[str | int, ...], root: type[Section]) -> tuple[Key, type[Section], list[type[Section]], Key | None]:
    """Return the key that a location of pydantic's means, the section that has or lacks it, the union around or at it, and the key of the
    innermost section around it whose name a person made up."""
    key: list[str | int] = []
    named: Key | None = None
    section = root
    choices = [root]
    union = choices
    name_follows = False
    for part in location:
        if name_follows:
            key.append(part)
            named, name_follows = tuple(key), False
            continue
        if part == "[key]" and tuple(key) == named:  # what is wrong is the name itself
            continue
        if len(choices) > 1:  # pydantic names the chosen kind after the key of a union: ("model", "lstm", "heads")
            choices = [choice for choice in choices if part in kinds_of(choice)]
            continue
        key.append(part)
        if isinstance(part, str):
            section = choices[0]
            annotation = section.model_fields[part].annotation if part in section.model_fields else None
            choices, name_follows = sections_in(annotation), are_named(annotation)
            union = choices or union
    return tuple(key), section, union, named


def _other_name(key: Key, document: Document) -> str:
    """Return a question that names the nearest of the names beside this one, or nothing: a name spelt wrong makes a section of its own."""
    beside = document.values
    for part in key[:-1]:
        beside = beside[part]
    close = get_close_matches(str(key[-1]), [name for name in beside if name != key[-1]], n=1)
    return f"; did you mean {dotted_name((*key[:-1], close[0]))}?" if close else ""


def _instead_of(key: Key, value: object, section: type[Section], alternatives: list[type[Section]], root: type[Section]) -> str:
    name = str(key[-1])
    list_name, bracket, _ = name.partition("[")
    if bracket and list_name in section.model_fields:
        annotation = section.model_fields[list_name].annotation
        if any(get_origin(each) is list for each in (annotation, *get_args(annotation))):
            item = _item(sections_in(annotation), value)
            return f"; a list is overridden whole: '{dotted_name((*key[:-1], list_name))}=[{item}]'"
    kinds = [kind for other in alternatives if name in other.model_fields for kind in kinds_of(other)]
    if section in alternatives and kinds:
        return f", which only {dotted_name(key[:-1])}.kind {' or '.join(kinds)} has"
    valid = [*section.model_fields, *(["extends"] if section is root else [])]
    elsewhere = [dotted for dotted in dotted_keys(root) if dotted.rpartition(".")[2] == name]
    if elsewhere and not nearest(name, valid):
        return f"; did you mean {elsewhere[0]}?"
    return nearest(name, valid) or f"; valid are {', '.join(valid)}"


def _one_of(dotted: str, expected: str, given: object) -> str:
    values = re.findall(r"'([^']*)'", expected)
    return f"{dotted} should be one of {', '.join(values)}, not {_shown(given)}{nearest(str(given), values)}"


def _shown(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return "a section"
        case list():
            return f"a list of {len(value)}"
        case _:
            return repr(value)


def _hint(error: ErrorDetails, key: Key, section: type[Section], alternatives: list[type[Section]]) -> str:
    match _EXPECTED[error["type"]], error["input"]:
        case "text", int() | float():
            return "; put it in quotes"
        case "a list", None if section.model_fields[str(key[-1])].default == []:
            return "; write []"
        case "a list", str() as text:
            return f"; write [{_item(sections_in(section.model_fields[str(key[-1])].annotation), text)}]"
        case "a section with keys of its own", str() as text if any(text in kinds_of(each) for each in alternatives):
            in_list = any(isinstance(part, int) for part in key)
            return f"; write {{kind: {text}}}" if in_list else f"; write {dotted_name(key)}.kind={text}"
        case "a section with keys of its own", str() as text if isinstance(key[-1], int):
            return f"; write {_item(alternatives, text)}"
        case _:
            return ""


def _item(sections: list[type[Section]], value: object) -> str:
    """Return an item of a list as it is written; where items are sections, the value may be the one key's that such a section must have."""
    if isinstance(value, dict):
        keys = value
    elif sections:
        required = [name for name, field in sections[0].model_fields.items() if field.is_required()]
        keys = dict.fromkeys(required, value if len(required) == 1 else ...)
    else:
        return _plain(value)
    return "{" + ", ".join(f"{name}: {_plain(part)}" for name, part in keys.items()) + "}"


def _plain(value: object) -> str:
    return str(value) if isinstance(value, str | int | float) else "..."
