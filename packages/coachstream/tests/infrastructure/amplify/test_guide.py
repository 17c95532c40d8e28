"""The instructions show code that is compiled and synthesized here, and name existing files and options."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from textwrap import dedent

from support.places import ROOT

HERE = Path(__file__).parent
DROP_IN = ROOT / "deploy" / "amplify"
GUIDE = ROOT / "docs" / "how-to" / "amplify.md"
PAGE = GUIDE.read_text()
FUNCTION = Path("functions", "stream-coach-conversation")

_OPTION = re.compile(r"`((?:[a-z]+\.)?[a-z]+(?:[A-Z][a-z]+)+)(?::[^`]*)?`")


def blocks(language: str) -> list[str]:
    """The page's code blocks in one language, as a reader would copy them."""
    return [
        dedent(code).strip("\n")
        for code in re.findall(rf"^ *```{language}\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
    ]


def test_its_typescript_is_the_sample_app_s() -> None:
    """Line by line and in order; the sample app is compiled and compared with the Python construct."""
    app = HERE / "apps" / "usual"
    files = (app / "amplify" / "backend.ts", app / "amplify" / "backend.ts", app / "src" / "coach.ts")
    for block, file in zip(blocks("ts"), files, strict=True):
        rest = iter(file.read_text().splitlines())
        assert not [line for line in block.splitlines() if line not in rest]


def test_its_commands_put_the_function_into_an_app(tmp_path: Path) -> None:
    """The package is copied to where the function looks for it."""
    checkout, app = tmp_path / "checkout", tmp_path / "app"
    (checkout / "dist").mkdir(parents=True)
    (checkout / "dist" / "coachstream.zip").write_bytes(b"a package")
    (checkout / "deploy").symlink_to(ROOT / "deploy")
    (app / "amplify" / "functions").mkdir(parents=True)
    (commands,) = [block for block in blocks("") if block.startswith("cp ")]
    environment = {"APP": str(app), "PATH": "/usr/bin:/bin"}
    subprocess.run(["sh", "-euc", commands], cwd=checkout, env=environment, check=True)
    there = {path.name for path in (app / "amplify" / FUNCTION).iterdir()}
    assert there == {path.name for path in (DROP_IN / FUNCTION).iterdir()} | {"coachstream.zip"}


def test_it_names_files_and_options_that_are_there() -> None:
    """Files and folders of this checkout, and options that the drop-in declares."""
    for path in re.findall(r"`((?:src|deploy)/[\w./-]+)`", PAGE):
        assert (ROOT / path).exists(), path
    for link in re.findall(r"\]\(([\w./-]+)", PAGE):
        assert (GUIDE.parent / link).exists(), link
    declared = "".join(path.read_text() for path in (DROP_IN / FUNCTION).glob("*.ts"))
    named = set(_OPTION.findall(PAGE)) - {"referenceAuth"}
    assert {"packageZip", "outputName", "recall.apiKeySecretArn"} <= named
    for option in named:
        assert re.search(rf"readonly {option.rpartition('.')[2]}\??:", declared), option
