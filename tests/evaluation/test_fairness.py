"""Models are of one size where the largest has at most 5 % more parameters than the smallest."""

import pytest

from transformer.config.errors import UsageError
from transformer.evaluation.fairness import of_one_size, require_one_size


def test_the_largest_is_held_against_the_smallest_and_not_against_the_first():
    assert of_one_size([100, 105])
    assert of_one_size([105, 100])
    assert not of_one_size([100, 106])
    assert not of_one_size([100, 105, 96])


def test_the_largest_and_the_smallest_are_named_with_what_to_do():
    require_one_size({"alone": 1}, "")
    with pytest.raises(UsageError, match=r"large has 1,060 parameters .* small has 1,000; bring them within 5%, by model\.hidden"):
        require_one_size({"middle": 1030, "small": 1000, "large": 1060}, "by model.hidden")
