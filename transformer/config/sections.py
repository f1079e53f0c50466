"""Finding the way in the schema: which sections a type mentions, and which of a union's sections a value means."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from transformer.config.schema import Config, Section


def sections_in(annotation: Any) -> list[type[Section]]:
    """Return the sections that a type mentions: itself, a list's items, a union's alternatives."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for argument in get_args(annotation) for section in sections_in(argument)]


def are_named(annotation: Any) -> bool:
    """Return whether a type is a mapping whose keys are names that a person makes up, such as a comparison's rivals."""
    return get_origin(annotation) is dict


def kinds_of(section: type[Section]) -> tuple[str, ...]:
    """Return the values of `kind` that mean this section; none where it has no `kind`."""
    return get_args(section.model_fields["kind"].annotation) if "kind" in section.model_fields else ()


def meant(alternatives: list[type[Section]], values: Mapping[str, Any]) -> type[Section] | None:
    """Return the alternative that the values' `kind` names; without a kind it is the first, and None where no alternative fits."""
    if len(alternatives) > 1 and "kind" in values:
        return next((section for section in alternatives if values["kind"] in kinds_of(section)), None)
    return alternatives[0] if alternatives else None


def dotted_keys(section: type[Section] = Config) -> Iterator[str]:
    """Yield every key that a config can have below a section, such as `model.heads`, `train[0].path` and `rivals.NAME.config`."""
    for name, field in section.model_fields.items():
        yield name
        one = ".NAME" if are_named(field.annotation) else "[0]" if get_origin(field.annotation) is list else ""
        for inner in sections_in(field.annotation):
            yield from (f"{name}{one}.{key}" for key in dotted_keys(inner))
