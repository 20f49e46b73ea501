from ptq_pipeline.pipelines.drift import create_pipeline


def test_inputs_and_outputs() -> None:
    pipeline = create_pipeline()
    assert pipeline.inputs() == {
        "calibration_sets",
        "calibration_set_index",
        "verdict",
        "profiles",
        "production_windows",
        "group_definitions",
        "float_model",
        "feature_projection",
        "params:data_loading",
        "params:drift",
    }
    assert pipeline.outputs() == {"drift_table", "drift_summary", "drift_reports"}
