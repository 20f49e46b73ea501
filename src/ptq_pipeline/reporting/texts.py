"""The words of the report: one TOML file per language beside the templates."""

import tomllib
from collections.abc import Mapping
from importlib import resources

from ptq_pipeline.core.errors import InputError

_FOLDER = resources.files("ptq_pipeline.reporting").joinpath("templates")


class Texts:
    """Texts of one language by dotted key, with ``{placeholders}`` filled at the call.

    A key that holds ``one`` and ``many`` is chosen by the value ``n``. A missing key is a
    ``KeyError``: a report with holes must not be written.

    Example:
        >>> texts = Texts({"draws": {"one": "{n} draw", "many": "{n} draws"}})
        >>> texts("draws", n=1)
        '1 draw'
    """

    def __init__(self, messages: Mapping[str, object]) -> None:
        self._messages = dict(_flatten(messages))

    def __call__(self, key: str, **values: object) -> str:
        """Give the text of ``key`` with ``values`` filled in, without any escaping."""
        if key not in self._messages:
            singular = str(values.get("n")) == "1"
            key = f"{key}.{'one' if singular else 'many'}"
        return self._messages[key].format(**values)

    def template(self, key: str) -> str:
        """Give the text of ``key`` with its placeholders as they are."""
        return self._messages[key]

    def keys(self) -> frozenset[str]:
        """Give all dotted keys."""
        return frozenset(self._messages)

    def __contains__(self, key: str) -> bool:
        """Tell whether ``key`` has a text of its own."""
        return key in self._messages


def _flatten(tree: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            pairs += _flatten(value, f"{prefix}{key}.")
        else:
            pairs.append((prefix + key, str(value)))
    return pairs


def available_languages() -> list[str]:
    """Give the languages that have a file of texts, sorted."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in _FOLDER.iterdir()
        if entry.name.endswith(".toml")
    )


def load_texts(language: str) -> Texts:
    """Read the texts of ``language``, for example ``en``.

    Raises:
        InputError: If there is no file of texts for that language.
    """
    if language not in available_languages():
        raise InputError(
            f"The report has no texts for the language {language!r}; set reporting.language to "
            f"one of: {', '.join(available_languages())}."
        )
    source = _FOLDER.joinpath(f"{language}.toml").read_text(encoding="utf-8")
    return Texts(tomllib.loads(source))
