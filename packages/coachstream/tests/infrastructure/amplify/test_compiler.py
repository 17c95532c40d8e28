"""The drop-in and the backends that use it, as the real compiler sees them."""

from __future__ import annotations

from support.amplify import Apps

# It reads all of CDK's declarations.


def test_the_compiler_finds_nothing_but_the_mistakes(apps: Apps) -> None:
    """Stricter than Amplify asks for; `mistakes.ts` says in each line what must be found there."""
    run = apps.node(apps.libraries / "node_modules/typescript/bin/tsc", "--project", apps.folder)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
