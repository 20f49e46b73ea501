"""How the code is built, in counts: files, lines, long functions, long signatures, hidden imports.

Usage: ``python benchmarks/structure.py [CHECKOUT ...]``; one column for each checkout, this one
when none is given. `git worktree add FOLDER REVISION` makes a checkout of an earlier state.
"""

import argparse
import ast
import re
from collections import defaultdict
from itertools import combinations
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
LONG_FUNCTION, LONG_MODULE, MANY_PARAMETERS, COPIED_LINES = 50, 400, 6, 6


def counts(checkout: Path) -> dict[str, int]:
    """Return what is counted in the package of a checkout."""
    texts = [path.read_text("utf-8") for path in (checkout / "src/ptq_pipeline").rglob("*.py")]
    trees = [ast.parse(text) for text in texts]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    functions = [n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    hidden = {
        inner: isinstance(inner, ast.ImportFrom) and (inner.module or "").startswith("ptq_pipeline")
        for function in functions
        for inner in ast.walk(function)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    }
    text = "\n".join(texts)
    return {
        "files": len(texts),
        **lines_of(texts, trees),
        "lines of signatures": sum(each.body[0].lineno - each.lineno for each in functions),
        "lines that raise errors": sum(
            len(_lines(node)) for node in nodes if isinstance(node, ast.Raise)
        ),
        "typed fields": sum(
            isinstance(each, ast.AnnAssign)
            for node in nodes
            if isinstance(node, ast.ClassDef)
            for each in node.body
        ),
        f"modules over {LONG_MODULE} lines": sum(
            len(each.splitlines()) > LONG_MODULE for each in texts
        ),
        f"functions over {LONG_FUNCTION} lines": sum(
            function.end_lineno - function.lineno >= LONG_FUNCTION for function in functions
        ),
        f"functions with more than {MANY_PARAMETERS} parameters": sum(
            len(_parameters(function)) > MANY_PARAMETERS for function in functions
        ),
        "`dict[str, Any]` and `Mapping[str, Any]`": len(
            re.findall(r"(?:dict|Mapping)\[str, Any\]", text)
        ),
        "hand-written `to_json` and `from_json`": len(
            re.findall(r"def (?:to_json|from_json)\b", text)
        ),
        "imports inside functions": len(hidden),
        "of these our own": sum(hidden.values()),
        "calls with `*(a, b)`": sum(
            isinstance(each, ast.Starred) and isinstance(each.value, ast.Tuple)
            for node in nodes
            if isinstance(node, ast.Call)
            for each in node.args
        ),
        f"pairs of files that share {COPIED_LINES} lines": len(_copies(texts)),
    }


def lines_of(texts: list[str], trees: list[ast.Module]) -> dict[str, int]:
    """Return what the lines are; each counts once."""
    found = dict.fromkeys(("lines", "of code", "of docstrings", "of imports", "of comments"), 0)
    found["blank"] = 0
    for text, tree in zip(texts, trees, strict=True):
        kinds = dict.fromkeys(range(1, len(text.splitlines()) + 1), "of code")
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                kinds[number] = "blank"
            elif line.lstrip().startswith("#"):
                kinds[number] = "of comments"
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                kinds |= dict.fromkeys(_lines(node), "of imports")
            elif isinstance(node, _DOCUMENTED) and ast.get_docstring(node) is not None:
                kinds |= dict.fromkeys(_lines(node.body[0]), "of docstrings")
        for kind in ("lines", *kinds.values()):
            found[kind] += len(kinds) if kind == "lines" else 1
    return found


def _lines(node: ast.stmt) -> range:
    return range(node.lineno, node.end_lineno + 1)


def _copies(texts: list[str]) -> set[tuple[int, int]]:
    """Pairs of files with a run of equal lines; white space, imports and lone brackets aside."""
    places = defaultdict(set)
    for file, text in enumerate(texts):
        lines = [line.strip() for line in text.splitlines()]
        lines = [
            line
            for line in lines
            if re.search(r"\w", line) and not line.startswith(("#", "from ", "import "))
        ]
        for start in range(len(lines) - COPIED_LINES + 1):
            places[tuple(lines[start : start + COPIED_LINES])].add(file)
    return {pair for files in places.values() for pair in combinations(sorted(files), 2)}


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    given = function.args
    names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkouts", nargs="*", type=Path, default=[PROJECT])
    found = [counts(checkout) for checkout in parser.parse_args().checkouts]
    print(f"| |{'  |' * len(found)}\n|---|{'---|' * len(found)}")
    for name in found[0]:
        print(f"| {name} | {' | '.join(f'{each[name]:,}' for each in found)} |")


if __name__ == "__main__":
    main()
