import numpy as np
import pytest

from ptq_pipeline.monitoring.clipping import CLIP_MEAN, clip_rates


@pytest.fixture(scope="module")
def quantized(random_model):
    import torch

    from ptq_pipeline.ptq import MethodSpec, as_tensor_batches, calibrate, prepare

    dim = np.random.default_rng(0).integers(0, 100, (64, 1, 16, 16), np.uint8)
    prepared = prepare(
        random_model.module, torch.from_numpy(random_model.example_input((1, 16, 16)))
    )
    batches = as_tensor_batches(random_model.preprocessing(dim))
    return random_model, prepared, calibrate(prepared, batches, MethodSpec()), dim


def rates(quantized, images):
    model, prepared, parameters, _ = quantized
    return clip_rates(prepared, parameters, images, model.preprocessing, batch_size=30)


def test_nothing_of_the_calibration_images_is_clipped(quantized):
    table = rates(quantized, quantized[3])
    assert table.shape[0] == 64
    assert set(table) == {CLIP_MEAN, *(f"clip:{name}" for name in quantized[2].layers)}
    assert (table == 0).all(axis=None)


def test_brighter_images_are_clipped_from_the_first_layer_on(quantized):
    bright = np.minimum(quantized[3].astype(int) * 2, 255).astype(np.uint8)
    table = rates(quantized, bright)
    first = next(iter(quantized[2].layers))
    # Every range holds zero, which is what a pixel of 127.5 becomes.
    assert table[f"clip:{first}"].mean() == pytest.approx((bright > 128).mean(), abs=0.02)
    assert table[CLIP_MEAN].mean() > 0.01


def test_a_row_does_not_depend_on_its_batch(quantized):
    bright = np.minimum(quantized[3].astype(int) * 2, 255).astype(np.uint8)
    whole, part = rates(quantized, bright), rates(quantized, bright[40:])
    np.testing.assert_allclose(whole[40:].to_numpy(), part.to_numpy(), atol=1e-3)


def test_no_hook_is_left_behind(quantized):
    rates(quantized, quantized[3][:2])
    modules = quantized[1].module.modules()
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in modules)
