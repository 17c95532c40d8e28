"""Whether Lambda takes a zip file."""

from __future__ import annotations

import pytest

from lambda_streaming.layer.build import MOST_ZIPPED
from lambda_streaming.packaging.errors import PackageError
from lambda_streaming.packaging.sizes import MOST_UNZIPPED, Component, check_size


def check(*, zipped: int, unzipped: int) -> None:
    components = (Component("large", unzipped - 1, zipped - 1), Component("small", 1, 1))
    check_size("layer", components, zipped=zipped, most_zipped=MOST_ZIPPED)


def test_a_zip_at_the_limits_is_accepted() -> None:
    """Zipped and unzipped."""
    check(zipped=MOST_ZIPPED, unzipped=MOST_UNZIPPED)


@pytest.mark.parametrize(
    ("zipped", "unzipped", "refusal"),
    [
        (MOST_ZIPPED + 1, MOST_UNZIPPED, "The layer is 50.0 MB, more than 50 MB"),
        (MOST_ZIPPED, MOST_UNZIPPED + 1, "Unzipped, the layer is 250.0 MB, more than 250 MB"),
    ],
)
def test_a_zip_one_byte_past_a_limit_is_refused(zipped: int, unzipped: int, refusal: str) -> None:
    """With its largest component, which is the one to leave out."""
    with pytest.raises(PackageError, match=refusal) as refused:
        check(zipped=zipped, unzipped=unzipped)
    assert "The largest: large 50.0 MB, small 0.0 MB." in str(refused.value)
