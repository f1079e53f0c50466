"""Matrix products whose backward passes stay fast on CPUs.

The gradient of a product needs transposed operands. XLA folds such a transpose into the product, and then its fast CPU kernel refuses the
product (and widens bfloat16 beforehand). So operands, and products that are transposed afterwards, are pinned to the row-major layout. On
other platforms nothing is pinned, and the functions do what automatic differentiation would.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental.layout import Layout, with_layout_constraint
from jax.export import is_symbolic_dim
from jax.typing import DTypeLike
from jaxtyping import Float


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(a: Float[Array, "*batch m k"], b: Float[Array, "*batch k n"], dtype: DTypeLike) -> Float[Array, "*batch m n"]:
    """a b, both rounded to `dtype`, summed in float32."""
    return _product_forward(a, b, dtype)[0]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def product_with_transpose(a: Float[Array, "*batch m k"], b: Float[Array, "*batch n k"], dtype: DTypeLike) -> Float[Array, "*batch m n"]:
    """a bᵀ, both rounded to `dtype`, summed in float32."""
    return _product_with_transpose_forward(a, b, dtype)[0]


def _product_forward(a: Array, b: Array, dtype: DTypeLike) -> tuple[Array, tuple[Array, Array]]:
    a, b = _rounded(dtype, a, b)
    return _dot(a, b, -1, -2), (a, b)


def _product_backward(dtype: DTypeLike, saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    a, b = saved
    (gradient,) = _rounded(dtype, gradient)
    return _dot(gradient, b, -1, -1), _dot_transposed(a, gradient)


def _product_with_transpose_forward(a: Array, b: Array, dtype: DTypeLike) -> tuple[Array, tuple[Array, Array]]:
    a, b = _rounded(dtype, a, b)
    return _dot(a, b, -1, -1), (a, b)


def _product_with_transpose_backward(dtype: DTypeLike, saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    a, b = saved
    (gradient,) = _rounded(dtype, gradient)
    return _dot(gradient, b, -1, -2), _dot_transposed(gradient, a)


product.defvjp(_product_forward, _product_backward)
product_with_transpose.defvjp(_product_with_transpose_forward, _product_with_transpose_backward)


def _dot(a: Array, b: Array, a_axis: int, b_axis: int) -> Array:
    batch = tuple(range(a.ndim - 2))
    return jax.lax.dot_general(a, b, (((a.ndim + a_axis,), (b.ndim + b_axis,)), (batch, batch)), preferred_element_type=jnp.float32)


def _dot_transposed(a: Array, b: Array) -> Array:
    # aᵀ b. The narrower operand is cheaper to transpose; but with leading axes, JAX 0.10 folds the transpose of a pinned product into the
    # product all the same, and aborts ("IsMonotonicWithDim0Major").
    if a.ndim > 2 or a.shape[-1] <= b.shape[-1]:
        return _dot(_row_major(a.mT), b, -1, -2)
    return _row_major(_dot(_row_major(b.mT), a, -1, -2)).mT


def _rounded(dtype: DTypeLike, *operands: Array) -> list[Array]:
    # A size that is a symbol is that of a program to be exported, where a pin cannot stay: no later version of XLA is bound to know it.
    exported = any(is_symbolic_dim(size) for x in operands for size in x.shape)
    return [x.astype(dtype) if exported else _row_major(x.astype(dtype)) for x in operands]


def _row_major(x: Array) -> Array:
    # With several devices JAX 0.10 would gather the whole of every pinned array on each of them.
    if jax.device_count() > 1:
        return x

    def pinned(x: Array) -> Array:
        return with_layout_constraint(x, Layout(major_to_minor=tuple(range(x.ndim))))

    return jax.lax.platform_dependent(x, cpu=pinned, default=lambda x: x)
