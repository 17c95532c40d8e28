"""The drop-in and the backends that use it, checked by the real compiler."""

from __future__ import annotations

from support.amplify import Apps

# It reads all of CDK's declarations.


def test_the_compiler_finds_nothing_but_the_mistakes(apps: Apps) -> None:
    """Stricter than Amplify's settings; each line of `mistakes.ts` states the error expected there."""
    run = apps.node(apps.libraries / "node_modules/typescript/bin/tsc", "--project", apps.folder)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
