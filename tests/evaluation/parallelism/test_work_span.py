"""Work and span of compiled programs are what a person counts by hand."""

import itertools
import math

import jax
import jax.numpy as jnp
import pytest

from transformer.evaluation.parallelism.program import read_program
from transformer.evaluation.parallelism.steps import MeasuredModel
from transformer.evaluation.parallelism.work_span import WorkSpan, work_and_span
from transformer.model import attention_blocks

X = jnp.linspace(0.1, 1.0, 8)


def compiled(function, *arguments):
    return jax.jit(function).lower(*arguments).compile()


def counted(function, *arguments) -> WorkSpan:
    return work_and_span(read_program(compiled(function, *arguments).as_text()))


def of_text(*lines: str, before: str = "") -> WorkSpan:
    body = "\n".join(f"  {line}" for line in lines)
    return work_and_span(read_program(f"HloModule test\n\n{before}\nENTRY %main (p: f32[8]) -> f32[8] {{\n{body}\n}}\n"))


# ------------------------------------------------------------------------------------------------------ straight programs


@pytest.mark.parametrize(("m", "k", "n"), [(8, 16, 4), (3, 5, 7)])
def test_a_matrix_product_multiplies_at_once_and_sums_in_a_tree(m, k, n):
    count = counted(lambda a, b: a @ b, jnp.ones((m, k)), jnp.ones((k, n)))
    assert count == WorkSpan(2 * m * n * k, 1 + math.ceil(math.log2(k)))


@pytest.mark.parametrize("steps", [1, 5, 40])
def test_a_chain_of_elementwise_operations_is_as_long_as_it_looks(steps):
    def chain(x):
        for _ in range(steps):
            x = jnp.tanh(x)
        return x

    assert counted(chain, X) == WorkSpan(8 * steps, steps)


def test_what_is_side_by_side_does_not_wait():
    count = counted(lambda x: (jnp.tanh(x), jnp.sin(jnp.cos(x)), jnp.exp(x)), X)
    assert count == WorkSpan(8 * 4, 2)


@pytest.mark.parametrize("n", [2, 9, 16])
def test_a_sum_is_a_tree(n):
    assert counted(jnp.sum, jnp.ones(n)) == WorkSpan(n - 1, math.ceil(math.log2(n)))


def test_a_long_sum_is_a_tree_too_however_the_compiler_cuts_it():
    count = counted(jnp.sum, jnp.ones(4096))
    assert count.span == 12
    assert 4095 <= count.work <= 4096


def test_moving_data_is_free():
    def move(x):
        return jnp.concatenate([x[::-1], jnp.repeat(x, 2)]).reshape(4, 6).T

    assert counted(move, X) == WorkSpan(0, 0)


def test_a_branch_counts_as_the_larger_one():
    def branch(flag, x):
        return jax.lax.cond(flag, lambda x: jnp.tanh(jnp.sin(jnp.cos(x))), jnp.exp, x)

    count = counted(branch, jnp.array(True), X)
    assert count.work in range(3 * 8, 3 * 8 + 3)  # and the flag's conversion
    assert count.span in range(3, 6)


def test_texts_that_share_a_token_add_their_gradients_in_a_tree():
    def gradient(table, tokens):
        return jax.grad(lambda table: (table[tokens] * 2.0).sum())(table)

    for n in (16, 64):
        count = counted(gradient, jnp.ones((50, 4)), jnp.arange(n))
        assert math.log2(n) <= count.span <= math.log2(n) + 6


def test_a_loop_free_program_has_the_operations_that_xla_counts():
    def loss(weights, x):
        hidden = jax.nn.gelu(x @ weights["inner"])
        return (jax.nn.softmax(hidden @ weights["outer"]) ** 2).sum()

    weights = {"inner": jnp.ones((32, 64)), "outer": jnp.ones((64, 16))}
    program = compiled(jax.grad(loss), weights, jnp.ones((24, 32)))
    theirs = program.cost_analysis()
    ours = work_and_span(read_program(program.as_text())).work
    assert ours == pytest.approx(theirs["flops"] + theirs["transcendentals"], rel=0.02)


# ------------------------------------------------------------------------------------------------------------------ loops


def test_a_scan_is_as_long_as_its_states_wait_for_each_other():
    def scan(x, inputs):
        return jax.lax.scan(lambda state, each: (jnp.tanh(jnp.sin(state) * each), None), x, inputs)[0]

    for n in (10, 100):
        count = counted(scan, X, jnp.ones(n))
        # sin, multiplication, tanh; the counter goes up and is compared beside them.
        assert count.span == n * 3
        assert n * (3 * 8 + 2) <= count.work <= n * (3 * 8 + 6)


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_what_a_step_makes_of_its_state_for_itself_holds_no_other_step_up(n):
    def scan(x, inputs):
        return jax.lax.scan(lambda state, each: (state + each, jnp.tanh(jnp.sin(jnp.exp(jnp.cos(state))))), x, inputs)

    # The last step's four functions of its state, which the n - 1 additions before it made.
    assert counted(scan, X[0], jnp.ones(n)).span == n - 1 + 4


def test_a_chain_that_overtakes_another_only_after_many_steps_counts():
    def loop(x):
        def body(_, carried):
            slow, fast = carried
            return slow, jnp.maximum(jnp.tanh(fast), slow)

        for _ in range(50):
            x = jnp.sin(x)
        return jax.lax.fori_loop(0, 40, body, (x, X))[1]

    # From the 50 sines a maximum; or 40 times a hyperbolic tangent and a maximum.
    assert counted(loop, X).span == max(50 + 1 + 39 * 2, 40 * 2)


def test_a_loop_in_a_loop_multiplies():
    def nested(x):
        def outer(_, state):
            return jax.lax.fori_loop(0, 7, lambda _, state: jnp.tanh(jnp.sin(state)), state)

        return jax.lax.fori_loop(0, 50, outer, x)

    assert counted(nested, X).span == 50 * 7 * 2


def test_an_associative_scan_is_a_tree():
    def product(x):
        return jax.lax.associative_scan(jnp.multiply, x)

    counts = [counted(product, jnp.ones(n)) for n in (16, 32, 64, 128)]
    steps = list(itertools.pairwise(counts))
    assert len({later.span - earlier.span for earlier, later in steps}) == 1
    assert 0 < counts[-1].span - counts[-2].span <= 4
    assert all(later.work < 2.5 * earlier.work for earlier, later in steps)


def test_a_loop_whose_end_depends_on_the_data_is_refused():
    with pytest.raises(ValueError, match="no number of trips that is known"):
        counted(lambda x: jax.lax.while_loop(lambda x: x < 100, lambda x: x * 2.1, x), jnp.float32(3))


# ------------------------------------------------------------------------------------------------- the text of a program


def test_an_operation_that_is_not_known_is_named():
    with pytest.raises(ValueError, match=r"cannot count the operation fft \(f\.1\)"):
        of_text("%p = f32[8]{0} parameter(0)", "ROOT %f.1 = c64[5]{0} fft(%p), fft_type=RFFT, fft_length={8}")
    with pytest.raises(ValueError, match="the operation custom-call some_library"):
        of_text("%p = f32[8]{0} parameter(0)", 'ROOT %c = f32[8]{0} custom-call(%p), custom_call_target="some_library"')


def test_how_operations_are_fused_makes_no_difference():
    fused = """\
%fused (a: f32[8], b: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  %b = f32[8]{0} parameter(1)
  %s = f32[8]{0} sine(%b)
  ROOT %m = f32[8]{0} multiply(%a, %s)
}
"""
    alone = ["%p = f32[8]{0} parameter(0)", "%t = f32[8]{0} tanh(%p)", "%u = f32[8]{0} tanh(%t)"]
    count = of_text(*alone, "ROOT %f = f32[8]{0} fusion(%u, %p), kind=kLoop, calls=%fused", before=fused)
    assert count == of_text(*alone, "%s = f32[8]{0} sine(%p)", "ROOT %m = f32[8]{0} multiply(%u, %s)") == WorkSpan(32, 3)


def test_each_part_of_a_tuple_keeps_its_own_depth():
    count = of_text(
        "%p = f32[8]{0} parameter(0)",
        "%t = f32[8]{0} tanh(%p)",
        "%u = f32[8]{0} tanh(%t)",
        "%both = (f32[8]{0}, /*index=1*/f32[8]{0}) tuple(%p, %u)",
        '%first = f32[8]{0} get-tuple-element(%both), index=0, metadata={op_name="jit(f)/while (calls=%nothing)"}',
        "ROOT %s = f32[8]{0} sine(%first)",
    )
    assert count == WorkSpan(24, 1)


def test_a_sorting_network():
    comparator = "%less (a: f32[], b: f32[]) -> pred[] {\n  %a = f32[] parameter(0)\n  %b = f32[] parameter(1)\n"
    comparator += "  ROOT %c = pred[] compare(%a, %b), direction=LT\n}\n"
    sort = "ROOT %s = f32[8]{0} sort(%p), dimensions={0}, to_apply=%less"
    assert of_text("%p = f32[8]{0} parameter(0)", sort, before=comparator) == WorkSpan(8 * 3, 6)


def test_a_convolution_sums_over_its_window_and_channels():
    count = of_text(
        "%x = f32[2,10,3]{2,1,0} parameter(0)",
        "%k = f32[5,3,7]{2,1,0} parameter(1)",
        "ROOT %c = f32[2,6,7]{2,1,0} convolution(%x, %k), window={size=5}, dim_labels=b0f_0io->b0f",
    )
    assert count == WorkSpan(2 * (2 * 6 * 7) * (5 * 3), 1 + 4)


def test_a_text_that_is_no_program_is_refused():
    with pytest.raises(ValueError, match="no computation is the entry"):
        read_program("")
    with pytest.raises(ValueError, match=r"not an instruction of a compiled program: \?"):
        of_text("?")


# ----------------------------------------------------------------------------------------------------- the study's point


SIZES = {"width": 8, "layers": 1}
ENCODERS = {
    "transformer": {"kind": "transformer", "heads": 2, "feed_forward": 16, **SIZES},
    "mingru": {"kind": "mingru", "hidden": 8, **SIZES},
    "lstm": {"kind": "lstm", "hidden": 8, **SIZES},
}


def spans(kind: str) -> list[int]:
    """Of a training step with texts of 8, 16 and 32 tokens."""
    model = MeasuredModel(ENCODERS[kind], vocabulary_size=30, classes=3, maximum_length=32)
    return [model.count("training", 1, length)["span"] for length in (8, 16, 32)]


def test_a_recurrent_networks_chain_grows_with_the_text():
    short, middle, long = spans("lstm")
    assert middle - short >= 8 * 16  # for each token more, forward and backward, a product, gates and a state at least
    assert long - middle == pytest.approx(2 * (middle - short), rel=0.05)


@pytest.mark.parametrize("kind", ["transformer", "mingru"])
def test_a_chain_without_recurrence_or_with_a_parallel_one_grows_with_the_logarithm_of_the_text(kind):
    short, middle, long = spans(kind)
    assert 0 < middle - short == long - middle <= 16


def test_blocks_that_a_processor_takes_one_after_another_are_no_chain(monkeypatch):
    at_once = spans("transformer")
    monkeypatch.setattr(attention_blocks, "MOST_AT_ONCE", 1)
    monkeypatch.setattr(attention_blocks, "BLOCK", 16)
    assert spans("transformer") == at_once
    model = MeasuredModel(ENCODERS["transformer"], vocabulary_size=30, classes=3, maximum_length=32)
    model.prepare("training", 1, 32)
    assert model.count("training", 1, 32)["span"] == at_once[-1]
