"""Imports inside functions wait for a heavy library; all others are at the top of their module."""

import ast
from functools import cache
from pathlib import Path

import ptq_pipeline

PACKAGE = Path(ptq_pipeline.__file__).parent
# What takes long to import; listing pipelines and most commands need none of it.
HEAVY = {
    "pandas",
    *("torch", "torchvision", "openvino", "onnx", "onnxruntime", "nncf", "safetensors"),
    *("matplotlib", "great_expectations", "evidently", "dask", "distributed"),
}


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def file_of(module):
    path = PACKAGE.parent.joinpath(*module.split("."))
    found = [each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()]
    return found[0] if found else None


def imported(node):
    """Return the modules that an import statement loads, with the packages that they are in."""
    names = [each.name for each in node.names]
    if isinstance(node, ast.ImportFrom):
        names = [node.module, *(f"{node.module}.{name}" for name in names)]
    parts = [name.split(".") for name in names]
    return {".".join(each[: i + 1]) for each in parts for i in range(len(each))}


def at_the_top(body):
    """Yield the imports that run with the module: not those of functions or for type checkers."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from at_the_top(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from at_the_top(ast.iter_child_nodes(node))


@cache
def brought(module):
    """Return what importing one of our modules loads at once."""
    path = file_of(module) if module.startswith("ptq_pipeline") else None
    nodes = [] if path is None else at_the_top(tree(path).body)
    return frozenset().union(*map(imported, nodes))


def is_heavy(modules):
    """Say whether importing these loads a heavy library, directly or through our own modules."""
    waiting, seen = set(modules), set()
    while waiting:
        module = waiting.pop()
        seen.add(module)
        if module in HEAVY:
            return True
        waiting |= brought(module) - seen
    return False


def test_an_import_inside_a_function_waits_for_a_heavy_library():
    light = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        if "project_template" not in path.parts
        for function in ast.walk(tree(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        # A module's name that is imported when it is asked for.
        and function.name != "__getattr__"
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and imported(node) & {"ptq_pipeline"}
        and not is_heavy(imported(node))
    ]
    assert light == [], "\n".join(light)


def test_what_waits_for_torch_is_known():
    """The test above cannot pass because nothing is heavy, or everything."""
    assert is_heavy({"ptq_pipeline.ptq"})
    assert not is_heavy({"ptq_pipeline.judgement.baseline"})


def test_a_name_is_one_thing():
    """Two public classes of one name are two things that a reader takes for one."""
    places = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path.relative_to(PACKAGE).as_posix())
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
