from ptq_pipeline.pipelines.requantization import create_pipeline


def test_it_waits_for_nothing_that_the_audit_does_not_give():
    inputs = create_pipeline().inputs()
    assert not [name for name in inputs if name.startswith("requantization.")]
    assert {"production_samples", "production_images", "champion_baseline"} <= inputs


def test_it_asks_what_the_audit_asks():
    parameters = {name for name in create_pipeline().inputs() if name.startswith("params:")}
    assert {"params:calibration", "params:quantization", "params:worst_case_check"} <= parameters
    assert "params:requantization" not in {name.split(".")[0] for name in parameters}


def test_it_writes_nothing_of_the_audit():
    outputs = create_pipeline().all_outputs()
    assert all(name.startswith("requantization.") for name in outputs)
