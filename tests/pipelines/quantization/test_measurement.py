from ptq_pipeline.pipelines.quantization.measurement import seconds_beside_trials

LAST = {
    "seconds": 60.0,
    "node_seconds": {"decode": 5.0, "run_trials": 30.0, "measure_parity": 2.0, "write_report": 3.0},
}


def test_everything_but_trials_and_what_is_done_is_taken_from_the_last_run():
    # Loading, saving and the start belong to it: they are in the whole, not in the nodes.
    assert seconds_beside_trials(LAST, ["decode"]) == 60 - 5 - 30 - 2


def test_a_run_of_some_pipelines_says_nothing():
    assert seconds_beside_trials(LAST, ["decode", "profile_samples"]) == 60 - 5 - 30 - 2
    for missing in ("run_trials", "write_report"):
        nodes = {name: 1.0 for name in LAST["node_seconds"] if name != missing}
        assert seconds_beside_trials({**LAST, "node_seconds": nodes}, []) is None
