import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptq_pipeline.core.canonical import canonical_hash, canonical_json

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def test_known_bytes() -> None:
    value = {"b": [1, 0.1, None, True], "a": "größer"}
    text = '{"a":"größer","b":[1,0.1,null,true]}'.encode()
    assert canonical_json(value) == text
    assert canonical_hash(value) == hashlib.sha256(text).hexdigest()


@given(values)
def test_a_round_trip_through_any_json_file_keeps_the_hash(value: object) -> None:
    indented = json.dumps(value, indent=2)
    assert canonical_hash(json.loads(indented)) == canonical_hash(value)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": {1, 2}}])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no canonical JSON form"):
        canonical_json(value)
