"""Any value that a stored attribute might have."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import strategies as st

_SCALARS: st.SearchStrategy[object] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.decimals(),
    st.just(Decimal("sNaN")),
    st.text(st.characters(exclude_categories=())),
    st.binary(max_size=8),
    st.datetimes(),
    st.sampled_from(
        ["2026-03-01T10:00:00.000Z", "2026-03-01", "9999-12-31T23:59:59-23:00", "1e999", "high", " "]
    ),
    st.builds(object),
)

ODD_VALUES: st.SearchStrategy[object] = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.frozensets(st.one_of(st.text(max_size=3), st.integers()), max_size=3),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), inner, max_size=3),
    ),
    max_leaves=6,
)


def odd_records(shape: dict[str, tuple[str, ...]]) -> st.SearchStrategy[dict[str, object]]:
    """Records with any subset of the fields and their nested fields, each with any value."""

    def field(inner: tuple[str, ...]) -> st.SearchStrategy[object]:
        return st.one_of(ODD_VALUES, st.fixed_dictionaries({}, optional=dict.fromkeys(inner, ODD_VALUES)))

    return st.fixed_dictionaries({}, optional={name: field(inner) for name, inner in shape.items()})
