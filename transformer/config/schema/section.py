"""What all settings are made of."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
"""A share of a whole, from 0 up to but not including 1."""
LARGEST_SIZE = 100_000_000
"""More than any machine has room for: of far more, XLA and the tokenizers library make no error, but end the process."""
Size = Annotated[int, Field(gt=0, le=LARGEST_SIZE)]
"""How large an array is."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What a random key is made of: JAX reads 32 bits of it, and takes 2**32 for 0."""


LARGEST_DEPTH = 10_000
"""More layers than anybody stacks; each takes its time to make, so that far more would not come to an end."""


class Section(BaseModel):
    """A mapping in the config file; a key it does not name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _default_kinds(cls, values: Any) -> Any:
        """Let `kind` be left out of a section whose default has one."""
        if not isinstance(values, dict):
            return values
        unions = [name for name, field in cls.model_fields.items() if field.discriminator and not field.is_required()]
        defaults = {name: {"kind": cls.model_fields[name].default.kind} for name in unions}
        return values | {name: defaults[name] | values[name] for name in unions if isinstance(values.get(name), dict)}


class PackagedFile(Section):
    """A published wheel or sdist, which is fetched once, checked and never installed."""

    package: str
    """Name of the package at the index that pip is configured for."""
    version: str
    """Exact version."""
    file: str
    """Name of the wheel or sdist file."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of that file, as the index publishes it."""
