"""The page's modules and the published client module type-check against the types they declare."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

import coachstream.local
from support.patience import PATIENCE_S
from support.places import CACHE

SCRIPTS = Path(coachstream.local.__file__).parent / "page" / "js"
COMPILER = CACHE / "typescript" / "node_modules" / "typescript" / "bin" / "tsc"
OPTIONS = (
    *("--noEmit", "--strict", "--target", "es2024", "--module", "esnext", "--moduleResolution", "bundler"),
    *("--lib", "es2024,dom,dom.iterable,dom.asynciterable"),
    # The compiler's own declarations of the language and the browser are not under test.
    "--skipDefaultLibCheck",
)

#: How a TypeScript application uses the module.
APPLICATION = """
import { join, resume, ServiceError, start, stop, type Reply } from "./coachstream.js";

const conversation = { conversationUrl: "/c", token: async () => "t" };
const question = { ...conversation, message: "How was my week?", policy: "enqueue" } as const;
const reply: Reply = start({ ...question, transport: "eventsource" });
let text: string = "";
for await (const event of reply) {
  if (event.type === "text") text = event.text;
  if (event.type === "queued") console.log(event.position, event.runId);
  if (event.type === "contextual") console.log(event.stage, event.content);
  if (event.type === "guardrail_warning") console.log(event.message);
  if (event.type === "complete") console.log(event.quotas?.map(({ quota, remaining }) => [quota, remaining]));
  if (event.type === "connection" && event.state === "reconnecting") console.log(event.failures);
  if (event.type === "complete") text = event.aiMessage.content + event.stopReason;
}
const outcome: "stopping" | "withdrawn" | "finished" = await reply.stop();
if (reply.runId !== null) {
  await stop({ ...conversation, runId: reply.runId });
  resume({ ...conversation, runId: reply.runId, after: reply.lastEventId, text });
}
try {
  for await (const event of join(conversation)) console.log(event.type);
} catch (error) {
  if (error instanceof ServiceError && error.retryable) console.log(error.partialMessage?.content);
}
export { outcome };
"""

MISTAKES = {
    "no token": 'import { join } from "./coachstream.js"; join({ conversationUrl: "/c" });',
    "no such event": (
        'import { join } from "./coachstream.js"; const options = {conversationUrl: "/c", token: () => "t"};'
        'for await (const event of join(options)) if (event.type === "chunk") break;'
    ),
    "no such export": 'import { read } from "./coachstream.js"; read();',
}


def compiled(*files: Path, options: tuple[str, ...] = ()) -> tuple[int, str]:
    """The compiler's exit status and output for these files."""
    node = shutil.which("node")
    if node is None or not COMPILER.exists():
        pytest.skip("needs Node.js and TypeScript: tests/browser/typescript/install.sh")
    run = subprocess.run(
        [node, COMPILER, *OPTIONS, *options, *files],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    return run.returncode, run.stdout


def test_the_pages_scripts_type_check() -> None:
    """This covers the types in their comments and those that `coachstream.d.ts` declares."""
    options = ("--allowJs", "--checkJs", "--allowImportingTsExtensions")
    scripts = (SCRIPTS / "main.js", SCRIPTS / "coachstream.js")
    assert compiled(*scripts, options=options) == (0, "")


@pytest.fixture(scope="module")
def said_of_applications(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[str]]:
    """What the compiler reports for each application, given only the two published files.

    All are compiled together, because most of the time is spent on the browser's types; each is a module.
    """
    folder = tmp_path_factory.mktemp("applications")
    for name in ("coachstream.js", "coachstream.d.ts"):
        shutil.copy(SCRIPTS / name, folder)
    sources = {"application": APPLICATION, **MISTAKES}
    files = {name: folder / f"{name.replace(' ', '-')}.ts" for name in sources}
    for name, file in files.items():
        file.write_text(sources[name])
    status, said = compiled(*files.values())
    assert status != 0
    of_each = {
        name: [line for line in said.splitlines() if f"{file.name}(" in line] for name, file in files.items()
    }
    # Every line that is not indented under another one belongs to an application, and none to the module.
    assert sum(map(len, of_each.values())) == sum(not line.startswith(" ") for line in said.splitlines())
    return of_each


def test_an_application_in_typescript_can_use_the_client_module(
    said_of_applications: Mapping[str, list[str]],
) -> None:
    """It needs only the two published files next to its own."""
    assert said_of_applications["application"] == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_compiler_rejects_wrong_use_of_the_client_module(
    said_of_applications: Mapping[str, list[str]], mistake: str
) -> None:
    """The types must catch mistakes, not merely exist."""
    said = said_of_applications[mistake]
    assert said
    assert ".ts(1," in said[0]
