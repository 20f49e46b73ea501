"""Where the time of a draw goes, part by part and one after the other; see `speed.py`."""

import numpy as np
from speed_study import Clock, Study, requests

DRAWS = 5


def profile(study: Study) -> dict[str, dict]:
    """Return the clock of each part, over five draws; what is made once has one stretch."""
    runner = study.runner()
    workload, runtime = runner.workload, runner.workload.runtime
    sets = dict(list(study.sets.items())[:DRAWS])
    clocks = {name: Clock() for name in PARTS}
    with clocks["model folded and traced"]:
        prepared = workload.prepared
    with clocks["weights quantized"]:
        workload.weights(runner.method)
    with clocks["converted to OpenVINO, float model compiled"]:
        runtime.compile(prepared, None)
    workload.statistics  # noqa: B018
    for request in requests(sets, study.audit):
        spec = runner.spec(request.set_id, request.evaluation)
        workload.evaluations[spec.evaluation] = request.evaluation
        workload.sets[request.set_id] = request.images
        with clocks["ranges of images not seen before"]:
            workload.collect([spec])
        with clocks["reduction to a draw's ranges"]:
            parameters = workload.quantize(spec.method, request.images, spec.method_seed)
        with clocks["quantizers put into the graph, compiled"]:
            predictor = runtime.compile(prepared, parameters)
        with clocks["images read and converted to float"]:
            ready = [
                study.model.preprocessing(np.asarray(array[study.audit.rows[shift]]))
                for shift, array in study.audit.arrays.items()
            ]
        with clocks["integer inference"]:
            for array in ready:
                infer(predictor, array, workload.batch_size)
        with clocks["answers written"]:
            runner.store.put(
                spec,
                {
                    shift: np.zeros(len(a), np.int16)
                    for shift, a in zip(study.audit.arrays, ready, strict=True)
                },
            )
    return {name: {**clock.to_json(), "once": PARTS[name]} for name, clock in clocks.items()}


# Each part, and whether it is done once per study.
PARTS = {
    "model folded and traced": True,
    "weights quantized": True,
    "converted to OpenVINO, float model compiled": True,
    "ranges of images not seen before": False,
    "reduction to a draw's ranges": False,
    "quantizers put into the graph, compiled": False,
    "images read and converted to float": False,
    "integer inference": False,
    "answers written": False,
}


def infer(predictor, images: np.ndarray, batch: int) -> None:
    """Run inference alone, on the predictor's streams."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(predictor.streams) as threads:
        starts = range(0, len(images), batch)
        for _ in threads.map(lambda start: predictor(images[start : start + batch]), starts):
            pass
