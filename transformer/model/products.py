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


def product(a: Float[Array, "*rows k"], b: Float[Array, "*batch k n"], dtype: DTypeLike) -> Float[Array, "*rows n"]:
    """a b, both rounded to `dtype`, summed in float32. Either `a` has the same leading axes as `b`, or `b` is one matrix for all rows."""
    return _product(a, b, dtype, transposed=False)


def product_with_transpose(a: Float[Array, "*rows k"], b: Float[Array, "*batch n k"], dtype: DTypeLike) -> Float[Array, "*rows n"]:
    """a bᵀ, both rounded to `dtype`, summed in float32. Either `a` has the same leading axes as `b`, or `b` is one matrix for all rows."""
    return _product(a, b, dtype, transposed=True)


@partial(jax.custom_vjp, nondiff_argnames=("dtype", "transposed"))
def _product(a: Array, b: Array, dtype: DTypeLike, transposed: bool) -> Array:
    return _forward(a, b, dtype, transposed)[0]


def _forward(a: Array, b: Array, dtype: DTypeLike, transposed: bool) -> tuple[Array, tuple[Array, Array]]:
    rows, b = _rounded(dtype, _merged(a, b), b)
    return _dot(rows, b, -1, -1 if transposed else -2).reshape(*a.shape[:-1], -1), (rows, b)


def _backward(dtype: DTypeLike, transposed: bool, saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    a, b = saved
    (rows,) = _rounded(dtype, _merged(gradient, b))
    of_a = _dot(rows, b, -1, -2 if transposed else -1).reshape(*gradient.shape[:-1], -1)
    return of_a, _dot_transposed(*((rows, a) if transposed else (a, rows)), b.ndim - 2)


_product.defvjp(_forward, _backward)


def _merged(a: Array, b: Array) -> Array:
    # One axis of rows is what the kernels take. Where a batch is split among devices it stays several axes: XLA cannot merge a split axis
    # that is not the first, such as the batch in time-major arrays, and would gather all rows on every device.
    return a if b.ndim > 2 or rows_are_split() else a.reshape(-1, a.shape[-1])


def rows_are_split() -> bool:
    """Whether the rows of a batch are being spread over several devices."""
    return jax.sharding.get_abstract_mesh().size > 1


def _dot(a: Array, b: Array, a_axis: int, b_axis: int) -> Array:
    batch = tuple(range(b.ndim - 2))
    return jax.lax.dot_general(a, b, (((a.ndim + a_axis,), (b.ndim + b_axis,)), (batch, batch)), preferred_element_type=jnp.float32)


def _dot_transposed(a: Array, b: Array, batch_axes: int) -> Array:
    # aᵀ b, summed over all axes of rows.
    if a.ndim - batch_axes > 2:
        rows, batch = tuple(range(batch_axes, a.ndim - 1)), tuple(range(batch_axes))
        return jax.lax.dot_general(a, b, ((rows, rows), (batch, batch)), preferred_element_type=jnp.float32)
    # The narrower operand is cheaper to transpose; but with leading axes, JAX 0.10 folds the transpose of a pinned product into the
    # product all the same, and aborts ("IsMonotonicWithDim0Major").
    if a.ndim > 2 or a.shape[-1] <= b.shape[-1]:
        return _dot(_row_major(a.mT), b, -1, -2)
    return _row_major(_dot(_row_major(b.mT), a, -1, -2)).mT


def _rounded(dtype: DTypeLike, *operands: Array) -> list[Array]:
    # A size that is a symbol is that of a program to be exported, where a pin cannot stay: no later version of XLA is bound to know it.
    exported = any(is_symbolic_dim(size) for x in operands for size in x.shape)
    return [x.astype(dtype) if exported else _row_major(x.astype(dtype)) for x in operands]


def _row_major(x: Array) -> Array:
    # JAX 0.10 would gather the whole of every pinned array on each device.
    if rows_are_split():
        return x

    def pinned(x: Array) -> Array:
        return with_layout_constraint(x, Layout(major_to_minor=tuple(range(x.ndim))))

    return jax.lax.platform_dependent(x, cpu=pinned, default=lambda x: x)
