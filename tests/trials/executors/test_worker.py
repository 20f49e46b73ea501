from ptq_pipeline.trials.executors.worker import differences, environment


def test_environment_tells_code_versions_and_processor():
    found = environment()
    assert found["torch"].startswith("2.")
    assert found["cpu_flags"]
    assert len(found["source code"]) == 16


def test_differences_name_what_differs():
    assert differences(environment(), environment()) == ""
    text = differences({"torch": "2", "numpy": "1"}, {"torch": "3", "numpy": "1"})
    assert text == "torch is 3 there and 2 here"
