from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ptq_pipeline.ptq import PreparationError, PreparedModel, prepare
from ptq_pipeline.ptq.modules import MultiheadAttention

IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Inside(nn.Module):
    """A model with an operation of the test between its stem and its head."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.inner = inner
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(self.stem(x)).flatten(2).mean(2))


def prepared(inner: nn.Module) -> tuple[PreparedModel, list[str]]:
    """Prepare and return also the names of what was added for the inner module."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Inside(inner).eval()
    done = prepare(model, IMAGES[:2])
    with torch.no_grad():
        expected, got = model(IMAGES), done.module(IMAGES)
    assert torch.allclose(expected, got, atol=1e-5, rtol=1e-4)
    names = [layer.name for layer in done.layers] + list(done.operands)
    return done, [name for name in names if name.startswith("inner")]


def operation(function: Callable[[nn.Module, Tensor], Tensor]) -> nn.Module:
    return type("Operation", (nn.Module,), {"forward": function})()


@pytest.mark.parametrize(
    "product",
    [
        lambda self, y: torch.matmul(y, y.transpose(2, 3)),
        lambda self, y: y @ y,
        lambda self, y: torch.bmm(y.flatten(0, 1), y.flatten(0, 1)).reshape(y.shape),
        lambda self, y: y.matmul(other=y),
        lambda self, y: torch.stack([torch.mm(row[0], row[1])[None] for row in y[:1]]) + y,
    ],
    ids=["matmul", "operator", "bmm", "keyword", "mm"],
)
def test_a_product_of_activations_has_two_operands(
    product: Callable[[nn.Module, Tensor], Tensor],
) -> None:
    _, names = prepared(operation(product))
    assert names == ["inner.matmul_0.left", "inner.matmul_0.right"]


class Weighted(nn.Module):
    """Multiplies by parameters of its own and of layers that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(8, 2, 3, 3) / 4)
        self.rows = nn.Linear(8, 8)
        self.plain = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.conv2d(x, self.kernel, None, 1, "same", groups=4)
        x = functional.linear(x, self.rows.weight, self.rows.bias)
        return functional.linear(x, weight=self.plain.weight, bias=self.plain.bias * 2.0)


def test_functions_with_weights_go_to_layers() -> None:
    done, names = prepared(Weighted())
    # A layer that holds just these parameters is used; one with another bias gets a companion.
    assert names == ["inner.conv_0", "inner.rows", "inner.linear_0"]
    facts = {layer.name: (layer.kind, layer.groups) for layer in done.layers}
    assert facts["inner.conv_0"] == ("conv2d", 4)
    assert done.unused_layers == ()


class Changes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = x @ x
        return x @ x if len(x) > 3 else x


def test_another_number_of_products_than_prepared_is_an_error() -> None:
    model = prepare(Inside(Changes()), IMAGES[:2])
    with pytest.raises(PreparationError, match="its forward depends on its input"):
        model.module(IMAGES)
    more = prepare(Inside(Changes()), IMAGES)
    with pytest.raises(PreparationError, match="1 products by functions where 2 were prepared"):
        more.module(IMAGES[:2])


class Nested(nn.Module):
    """Products in a module and in its child, and a module that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.child = operation(lambda self, y: y @ y)

    def forward(self, x: Tensor) -> Tensor:
        return self.child(self.child(x @ x)) @ x


def test_products_of_a_child_are_the_childs() -> None:
    _, names = prepared(Nested())
    assert names == [
        *("inner.matmul_0.left", "inner.matmul_0.right"),
        *("inner.child.matmul_0.left", "inner.child.matmul_0.right"),
        *("inner.matmul_1.left", "inner.matmul_1.right"),
    ]


def test_a_weight_that_is_used_in_both_ways_is_an_error() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return functional.linear(self.rows(x), self.rows.weight)

    with pytest.raises(PreparationError, match=r"layer 'inner.rows', which also runs"):
        prepare(Inside(Both()), IMAGES[:2])


@pytest.mark.parametrize("causal", [True, False])
def test_scaled_dot_product_attention(causal: bool) -> None:
    mask = None if causal else torch.rand(8, 8) > 0.3

    def attend(self: nn.Module, y: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(
            y, y, y, attn_mask=mask, is_causal=causal, scale=0.3
        )

    _, names = prepared(operation(attend))
    assert names[0] == "inner.attention_0.scores.left" and len(names) == 4


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("own_dims", [True, False])
def test_multi_head_attention_equals_torch(batch_first: bool, own_dims: bool) -> None:
    dims = {"kdim": 12, "vdim": 20} if own_dims else {}
    original = nn.MultiheadAttention(16, 4, batch_first=batch_first, **dims).eval()
    generator = torch.Generator().manual_seed(3)
    query, key, value = (
        torch.rand(2, length, width, generator=generator)
        for length, width in ((5, 16), (7, dims.get("kdim", 16)), (7, dims.get("vdim", 16)))
    )
    padding = torch.zeros(2, 7, dtype=torch.bool)
    padding[1, 5:] = True
    mask = torch.zeros(5, 7, dtype=torch.bool).fill_diagonal_(True)
    given = (query, key, value)
    if not batch_first:
        given = tuple(each.transpose(0, 1) for each in given)
    with torch.no_grad():
        for options in (
            {"key_padding_mask": padding, "attn_mask": mask},
            {"attn_mask": mask.float().repeat(8, 1, 1), "average_attn_weights": False},
            {"need_weights": False},
        ):
            expected = original(*given, **options)
            got = MultiheadAttention(original)(*given, **options)
            assert torch.allclose(got[0], expected[0], atol=1e-6)
            assert (got[1] is None) == (expected[1] is None)
            assert got[1] is None or torch.allclose(got[1], expected[1], atol=1e-6)


def test_attention_that_cannot_be_covered_is_named() -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = nn.MultiheadAttention(8, 2, add_bias_kv=True, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            rows = x.flatten(2).transpose(1, 2)
            return self.attend(rows, rows, rows)[0].transpose(1, 2)

    with pytest.raises(PreparationError, match="module 'inner.attend': attention with add_bias_kv"):
        prepare(Inside(Rows()), IMAGES[:2])


def test_a_torch_transformer_layer() -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.flatten(2).transpose(1, 2)).transpose(1, 2)

    _, names = prepared(Rows())
    assert [name.removeprefix("inner.layer.") for name in names] == [
        *(f"self_attn.{kind}_proj" for kind in ("q", "k", "v", "out")),
        *("linear1", "linear2"),
        *(f"self_attn.attention.scores.{side}" for side in ("left", "right")),
        *(f"self_attn.attention.context.{side}" for side in ("left", "right")),
    ]


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda self, y: y @ self.square, ["inner.product_0.linear"]),
        (lambda self, y: torch.matmul(self.square, y), ["inner.product_0.linear"]),
        (lambda self, y: y @ functional.normalize(self.square), ["inner.product_0.linear"]),
        (lambda self, y: functional.linear(y, self.square * 2, self.row + 1), ["inner.linear_0"]),
        (
            lambda self, y: functional.conv2d(y, self.square[..., None, None] / 2),
            ["inner.conv_0"],
        ),
    ],
    ids=["right", "left", "normalised", "linear", "conv2d"],
)
def test_a_product_with_a_parameter_is_a_layer(
    function: Callable[[nn.Module, Tensor], Tensor], names: list[str]
) -> None:
    inner = operation(function)
    inner.square = nn.Parameter(torch.randn(8, 8))
    inner.row = nn.Parameter(torch.randn(8))
    _, found = prepared(inner)
    assert found == names


def test_a_product_with_a_constant_of_three_axes_is_refused() -> None:
    inner = operation(lambda self, y: y @ self.cube)
    inner.cube = nn.Parameter(torch.randn(8, 8, 8))
    with pytest.raises(PreparationError, match=r"'inner' multiplies by a constant of shape \(8, 8"):
        prepare(Inside(inner), IMAGES[:2])


@pytest.mark.parametrize(
    "equation", ["nchw,ncvw->nchv", "n c h w, n c w v -> n c v h", "nchw,nchv->ncwv"]
)
def test_an_einsum_that_is_a_product_has_two_operands(equation: str) -> None:
    _, names = prepared(operation(lambda self, y: torch.einsum(equation, y, y * 2)))
    assert names == ["inner.einsum_0.left", "inner.einsum_0.right"]


@pytest.mark.parametrize("equation", ["nchw,nchv->nchv", "nchw,nchw->nchw", "...hw,...wv->...hv"])
def test_another_einsum_is_refused(equation: str) -> None:
    with pytest.raises(PreparationError, match=r"'inner': einsum\('.*'\) is no matrix product"):
        prepare(Inside(operation(lambda self, y: torch.einsum(equation, y, y))), IMAGES[:2])
