import sys

import cuda_check
import numpy as np
import pytest
import torch


def logits(rows):
    return np.array(rows, np.float32)


def test_an_answer_that_was_hardly_preferred_may_differ_and_another_may_not():
    expected = logits([[10.0, 9.99, 0.0], [8.0, 0.0, 1.0]])
    close = cuda_check.compare(expected, logits([[9.99, 10.0, 0.0], [8.0, 0.0, 1.0]]))
    assert close == {
        **{"same_answers": 0.5, "largest_difference": 0.001},
        **{"most_preferred_where_different": 0.001, "equal": True},
    }
    assert not cuda_check.compare(expected, expected[:, [2, 1, 0]])["equal"]
    same = cuda_check.compare(expected, expected)
    assert same["same_answers"] == 1.0
    assert same["largest_difference"] == 0.0


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_without_a_device_it_says_so_in_a_sentence_and_writes_nothing(monkeypatch, tmp_path):
    output = tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", ["cuda_check.py", "--output", str(output)])
    with pytest.raises(
        SystemExit, match="nothing was measured: .*where PyTorch sees a CUDA device"
    ):
        cuda_check.main()
    assert not output.exists()


def test_the_processor_answers_as_itself(monkeypatch, tmp_path):
    output = tmp_path / "found.json"
    arguments = ["--device", "cpu", "--images", "60", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["cuda_check.py", *arguments])
    cuda_check.main()
    assert output.read_text().count('"same_answers": 1.0') == 4
