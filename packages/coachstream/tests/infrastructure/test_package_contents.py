"""What a deployment reads from its package: the user pool's keys and the target platform."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from coachstream.infrastructure.package_contents import check_target, packaged_keys

POOL = "us-west-2_Existing1"


def package_with(folder: Path, files: dict[str, str]) -> Path:
    path = folder / "package.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.fixture
def with_keys(tmp_path: Path) -> Path:
    """A package with the keys of a user pool."""
    keys = {"issuer": f"https://cognito-idp.us-west-2.amazonaws.com/{POOL}", "keys": []}
    return package_with(tmp_path, {"handler.py": "", "cognito-jwks.json": json.dumps(keys)})


def test_a_package_without_keys_has_none(tmp_path: Path) -> None:
    """Whatever the pool."""
    package = package_with(tmp_path, {"handler.py": ""})
    assert packaged_keys(package, POOL) is None
    assert packaged_keys(package, None) is None


def test_keys_of_the_pool_are_found_zipped_and_unzipped(with_keys: Path, tmp_path: Path) -> None:
    """The functions get the name of the file."""
    from coachstream.infrastructure.backend import Backend
    from coachstream.infrastructure.service import Service

    assert packaged_keys(with_keys, POOL) == "cognito-jwks.json"
    with zipfile.ZipFile(with_keys) as archive:
        archive.extractall(tmp_path / "unzipped")
    assert packaged_keys(tmp_path / "unzipped", POOL) == "cognito-jwks.json"
    backend = Backend(
        table="T123", user_pool_id=POOL, client_ids=("web1client",), packaged_keys="cognito-jwks.json"
    )
    environment = Service().environment(backend, region="us-west-2", with_tickets=False)
    assert environment["COACHSTREAM_JWKS_FILE"] == "cognito-jwks.json"


@pytest.mark.parametrize("pool", ["us-west-2_Existing12", "us-west-2_Other9", None])
def test_keys_of_another_pool_are_refused_before_they_are_deployed(with_keys: Path, pool: str | None) -> None:
    """The functions would refuse to start with them."""
    with pytest.raises(ValueError, match=f"holds the keys of .*{POOL}"):
        packaged_keys(with_keys, pool)


def test_a_package_for_what_is_deployed_is_taken(tmp_path: Path) -> None:
    """A package that does not name its target is accepted as well."""
    check_target(package_with(tmp_path, {"coachstream-package.json": '{"python":"3.14","cpu":"arm64"}'}))
    check_target(package_with(tmp_path, {"handler.py": ""}))


@pytest.mark.parametrize(("python", "cpu"), [("3.13", "arm64"), ("3.14", "x86_64")])
def test_a_package_for_something_else_is_refused_before_it_is_deployed(
    tmp_path: Path, python: str, cpu: str
) -> None:
    """The functions could not load its libraries."""
    target = json.dumps({"python": python, "cpu": cpu})
    with pytest.raises(ValueError, match=f"is for Python {python} on {cpu}, and the functions run"):
        check_target(package_with(tmp_path, {"coachstream-package.json": target}))


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    """The error names the file."""
    path = tmp_path / "notes.txt"
    path.write_text("not a zip")
    with pytest.raises(ValueError, match=r"notes\.txt is not a zip file"):
        packaged_keys(path, POOL)
