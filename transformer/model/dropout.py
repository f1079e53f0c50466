"""Dropout whose random bits are an integer hash of the element's index, many times cheaper than a random number generator."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Key, UInt32


def dropout(
    x: Float[Array, "*shape"], rate: float, key: Key[Array, ""] | None, start: int | UInt32[Array, ""] = 0
) -> Float[Array, "*shape"]:
    """Set each element to zero with probability `rate` and divide the others by 1 - rate (Srivastava et al. 2014).

    Args:
        rate: probability of zero, in [0, 1); resolved to 2**-32.
        key: decides the mask, together with each element's index in the whole array: so the mask does not depend on the platform or on how
            the array is spread over devices. None means no dropout.
    """
    if key is None or rate == 0.0:
        return x
    return jnp.where(keep_mask(x.shape, rate, key, start), x / (1.0 - rate), 0.0)


def keep_mask(shape: tuple[int, ...], rate: float, key: Key[Array, ""], start: int | UInt32[Array, ""] = 0) -> Bool[Array, "..."]:
    """True with probability 1 - rate, independently for each element of an array of this shape."""
    return random_bits(shape, key, start) >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))


def random_bits(shape: tuple[int, ...], key: Key[Array, ""], start: int | UInt32[Array, ""] = 0) -> UInt32[Array, "..."]:
    """32 bits an element: the integer hash triple32 (Wellons 2018) over the element's index and the key's words; it passes our tests.

    MurmurHash3's finaliser, a round shorter, failed them with small keys as they are. Elements that lie 2**32 apart share their bits.
    """
    words = jax.random.key_data(key).astype(jnp.uint32)
    second = _hash(words[-1], words[0])
    first = _hash(words[0], second)
    return _hash((_indices(shape) + jnp.uint32(start)) ^ first, second)


def _hash(bits: UInt32[Array, "*shape"], word: UInt32[Array, ""]) -> UInt32[Array, "*shape"]:
    bits = (bits ^ (bits >> 17)) * jnp.uint32(0xED5AD4BB)
    # The word comes in here because, at the start, two words that differ in low bits only would give the same bits in another order.
    bits = (bits ^ (bits >> 11) ^ word) * jnp.uint32(0xAC4C1B51)
    bits = (bits ^ (bits >> 15)) * jnp.uint32(0x31848BAB)
    return bits ^ (bits >> 14)


def _indices(shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    indices = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = math.prod(shape[axis + 1 :]) % 2**32
        indices += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
    return indices
