"""The npm package as it is packed: its own tests in Node, its types, and the size of each entry point."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import jsonschema_rs
import pytest

from coachstream.conversation.another_try import MOST_VERSIONS
from support.npm_package import FRONT_ENDS, MODULES, PACKAGE, node, pack, run, unpack
from support.patience import PATIENCE_S
from support.places import ROOT

pytestmark = pytest.mark.peer

IN_NODE = Path(__file__).parent / "node"
README = (PACKAGE / "README.md").read_text()
TYPE_SCRIPT = MODULES / "typescript" / "bin" / "tsc"
STRICT = (
    *("--noEmit", "--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess"),
    *("--target", "es2024", "--module", "esnext", "--moduleResolution", "bundler"),
    *("--lib", "es2024,dom,dom.iterable,dom.asynciterable", "--jsx", "react-jsx"),
    # The compiler's own declarations of the language and the browser are not under test.
    "--skipDefaultLibCheck",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the packed package, React and the AI SDK can be imported."""
    node()
    folder = tmp_path_factory.mktemp("npm")
    unpack(pack(folder), folder)
    return folder


@pytest.mark.parametrize("file", sorted(IN_NODE.glob("*.test.mjs")), ids=lambda file: file.name)
def test_the_tests_in_node_pass(installed: Path, file: Path) -> None:
    """They run React and the AI SDK against the package's own scripted server."""
    for script in IN_NODE.glob("*.mjs"):
        (installed / script.name).write_bytes(script.read_bytes())
    timeout = f"--test-timeout={1000 * int(PATIENCE_S)}"
    said = run([node(), "--test", timeout, "--test-reporter=tap", file.name], installed)
    assert int(re.findall(r"^# pass (\d+)$", said, re.MULTILINE)[0]) == file.read_text().count("\ntest(")


def test_the_scripted_server_speaks_the_protocol_of_the_service(installed: Path) -> None:
    """Every event and every error that it can send fits the schemas that the service's code gives."""
    (installed / "every-event.mjs").write_bytes((IN_NODE / "every-event.mjs").read_bytes())
    responses = [json.loads(line) for line in run([node(), "every-event.mjs"], installed).splitlines()]
    blocks: list[dict[str, str]] = [
        dict(line.split(": ", 1) for line in block.splitlines())
        for status, content_type, body in responses
        if status == 200 and content_type.startswith("text/event-stream")
        for block in body.strip().split("\n\n")
        if block  # a response that is cut has no text
    ]
    schemas = json.loads((ROOT / "docs" / "reference" / "asyncapi.json").read_text())["components"]
    seen = set()
    for fields in blocks:
        event = json.loads(fields["data"])
        cursor = schemas["messages"][event["type"]]["headers"]["properties"]["id"]["description"]
        assert fields.keys() <= {"data", "id", "retry"}
        assert re.fullmatch(r"run_[0-9A-Za-z_]{1,100}:[0-9]{1,18}", fields.get("id", "run_1:0"))
        of_start = "runId" in event
        has_id = of_start if event["type"] == "start" else not cursor.endswith("Never.")
        assert ("id" in fields) is has_id, event["type"]
        fits(event, schemas)
        seen.add(event["type"])
    assert seen == set(schemas["messages"]) - {"newMessage"}
    bodies = [json.loads(body) for _, content_type, body in responses if content_type == "application/json"]
    refusals = [body for body in bodies if "type" in body]
    for refusal in refusals:
        fits(refusal, schemas)
    assert [refusal["code"] for refusal in refusals] == [
        "TURN_IN_PROGRESS",
        "INVALID_CLIENT_MESSAGE_ID",
        "INVALID_USER_RESPONSE",
        "RUN_NOT_FOUND",
        "MISSING_AUTH_HEADER",
        "SERVER_BUSY",
        "TURN_IN_PROGRESS",
        "MESSAGE_WITHDRAWN",
    ]
    of_versions = [body for body in bodies if "type" not in body and "runId" not in body]
    schemas = json.loads((ROOT / "docs" / "reference" / "openapi.json").read_text())["components"]
    for body in of_versions:
        name = "VersionsBody" if "versions" in body else "ErrorBody"
        reference = f"#/components/schemas/{name}"
        jsonschema_rs.validator_for({"$ref": reference, "components": schemas}).validate(body)
        assert body.keys() <= schemas["schemas"][name]["properties"].keys()
    assert [body.get("code", len(body.get("versions", ()))) for body in of_versions] == [
        2,
        "METHOD_NOT_ALLOWED",
        "NOT_THE_LAST_EXCHANGE",
        2,
        "MISSING_AUTH_HEADER",
        "TURN_IN_PROGRESS",
    ]


def fits(event: dict[str, object], schemas: dict[str, dict[str, dict[str, object]]]) -> None:
    """Fails if the event does not fit its schema, or has a field that the schema does not know."""
    payload = schemas["messages"][str(event["type"])]["payload"]
    jsonschema_rs.validator_for({**_dict(payload), "components": schemas}).validate(event)
    name = str(_dict(payload)["$ref"]).rpartition("/")[2]
    assert event.keys() <= _dict(schemas["schemas"][name]["properties"]).keys()


def _dict(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


# Types.


def compiled(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """The compiler's exit status and the lines that it printed."""
    done = subprocess.run(
        [node(), str(TYPE_SCRIPT), *STRICT, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * PATIENCE_S,
    )
    return done.returncode, done.stdout.splitlines()


def test_the_sources_have_the_types_that_they_declare(installed: Path) -> None:
    """Hand-written declarations are compared with the code by the compiler."""
    folder = installed / "sources"
    folder.mkdir()
    for path in (PACKAGE / "src").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    checked = ("react.js", "ai-sdk.js", "testing.js", "coachstream.js")
    options = ("--allowJs", "--checkJs", "--skipLibCheck", "--types", "node")
    # An optional field that is `undefined` is absent within the package, and only there.
    lenient = ("--exactOptionalPropertyTypes", "false", "--noUncheckedIndexedAccess", "false")
    assert compiled(folder, *options, *lenient, *checked) == (0, [])


APPLICATION = """
import { start, type StoredMessage } from "coachstream";
import { useCoachStream, type ChatMessage, type Status } from "coachstream/react";
import { cut, fail, gate, startTestServer } from "coachstream/testing";

const history: StoredMessage[] = [];
const options = { conversationUrl: "/c", token: () => "t", history, storage: null };
const { messages, status, send } = useCoachStream(options);
const shown: readonly ChatMessage[] = messages, now: Status = status, accepted: boolean = send("Hello");
const server = await startTestServer();
const held = gate();
server.reply("Well ", cut(), held, fail({ code: "MODEL_THROTTLED" }));
const { conversationUrl } = server;
for await (const event of start({ conversationUrl, token: async () => "t", message: "?", fetch })) {
  if (event.type === "run") held.open();
}
export { accepted, now, shown };
"""

MISTAKES = {
    "no token": 'import { start } from "coachstream"; start({ conversationUrl: "/c", message: "Hello" });',
    "an undefined option": (
        'import { useCoachStream } from "coachstream/react";'
        'useCoachStream({ conversationUrl: "/c", token: () => "t", timeZone: undefined });'
    ),
    "an inner module": 'import { Chat } from "coachstream/src/chat.js"; Chat;',
    "no such step": (
        'import { startTestServer } from "coachstream/testing";'
        'const server = await startTestServer(); server.reply({ type: "say" });'
    ),
    "no such option": (
        'import { CoachStreamTransport } from "coachstream/ai-sdk";'
        'new CoachStreamTransport({ conversationUrl: "/c", token: () => "t", api: "/chat" });'
    ),
}


def test_a_strict_application_can_use_every_entry_point(installed: Path) -> None:
    """Even the package's declarations are checked, with `exactOptionalPropertyTypes`."""
    (installed / "application.ts").write_text(APPLICATION)
    assert compiled(installed, "--types", "react", "application.ts") == (0, [])
    # The AI SDK's own declarations are not as strict, so `ai-sdk.d.ts` is looked at among them.
    transport = """
import { useChat } from "@ai-sdk/react";
import { CoachStreamTransport, type CoachStreamUIMessage } from "coachstream/ai-sdk";

const transport = new CoachStreamTransport({ conversationUrl: (id) => `/c/${id}`, token: () => "t" });
const { messages } = useChat<CoachStreamUIMessage>({
  transport,
  onData: (part) => {
    if (part.type === "data-contextual") part.data.stage satisfies string;
  },
});
export const runId: string | null | undefined = messages[0]?.metadata?.runId;
"""
    (installed / "transport.ts").write_text(transport)
    _, said = compiled(installed, "--types", "react", "transport.ts")
    assert [line for line in said if re.match(r"transport|node_modules/coachstream", line)] == []


def test_the_compiler_rejects_wrong_use(installed: Path) -> None:
    """The types must catch mistakes, not merely exist."""
    files = {name: f"{name.replace(' ', '-')}.ts" for name in MISTAKES}
    for name, file in files.items():
        (installed / file).write_text(MISTAKES[name] + "\nexport {};\n")
    _, said = compiled(installed, "--skipLibCheck", "--types", "react", *files.values())
    rejected = {file for file in files.values() if any(line.startswith(f"{file}(1,") for line in said)}
    assert rejected == set(files.values())


def test_the_scripted_server_keeps_as_many_versions_as_the_service() -> None:
    """It counts those besides the chosen one."""
    source = (PACKAGE / "src" / "testing.js").read_text()
    kept = re.search(r"^const MOST_OLDER_VERSIONS = (\d+);$", source, re.MULTILINE)
    assert kept is not None
    assert int(kept[1]) == MOST_VERSIONS - 1


# Size.


class Bound(NamedTuple):
    """The most bytes that an entry point may have, minified and compressed, with what it imports of ours."""

    entry: str
    gzipped: int
    platform: str = "browser"


BOUNDS = (
    Bound("coachstream", 4_900),
    Bound("coachstream/react", 8_700),
    Bound("coachstream/ai-sdk", 6_450),
    Bound("coachstream/testing", 5_300, "node"),
)

MEASURE = """
import { build } from "esbuild";
import { gzipSync } from "node:zlib";

const [contents, platform] = process.argv.slice(1);
const { outputFiles } = await build({
  stdin: { contents, resolveDir: process.cwd() },
  bundle: true, write: false, minify: true, format: "esm", target: "es2022",
  platform, external: ["react", "ai"], legalComments: "none",
});
const { contents: bundle, text } = outputFiles[0];
console.log(JSON.stringify({ bytes: bundle.length, gzipped: gzipSync(bundle, { level: 9 }).length, text }));
"""


def bundled(folder: Path, contents: str, platform: str = "browser") -> tuple[int, int, str]:
    """The size of a bundle, its size when compressed, and its text."""
    measured = json.loads(run([node(), "--input-type=module", "--eval", MEASURE, contents, platform], folder))
    return measured["bytes"], measured["gzipped"], measured["text"]


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.entry)
def test_an_entry_point_stays_small(
    installed: Path, bound: Bound, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it is bundled, minified and compressed; React and the AI SDK are the application's own."""
    size, gzipped, _ = bundled(installed, f'export * from "{bound.entry}";', bound.platform)
    with capsys.disabled():
        print(f"\n{bound.entry}: {gzipped:,} bytes gzipped, {size:,} minified")  # noqa: T201 (a figure to read)
    assert gzipped <= bound.gzipped


def test_what_is_not_used_is_not_bundled(installed: Path) -> None:
    """An unused import vanishes, and a page that only stops a reply does not load the reader."""
    unused = 'import { start } from "coachstream"; import { useCoachStream } from "coachstream/react";'
    assert bundled(installed, unused)[0] == 0
    whole, part = (bundled(installed, f'export {what} from "coachstream";')[1] for what in ("*", "{ stop }"))
    assert part < whole / 2


def test_the_core_and_react_import_nothing_but_react(installed: Path) -> None:
    """The AI SDK's entry point imports its types only."""
    imported = {}
    for entry in ("coachstream", "coachstream/react", "coachstream/ai-sdk"):
        _, _, text = bundled(installed, f'export * from "{entry}";')
        imported[entry] = re.findall(r'from"([^"]+)"', text)
    assert imported == {"coachstream": [], "coachstream/react": ["react"], "coachstream/ai-sdk": []}


# The README.


def block(language: str, containing: str) -> str:
    """The README's code block with this text."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    (only,) = (code for code in found if containing in code)
    return str(only)


@pytest.mark.parametrize("name", ["Chat.tsx", "AiChat.tsx"])
def test_the_components_of_the_readme_are_those_that_the_apps_show(name: str) -> None:
    """`tests/browser/test_apps.py` builds them, and drives them in Chromium."""
    component = (FRONT_ENDS / name).read_text()
    assert component == block("tsx", f"export function {name.removesuffix('.tsx')}(")


def test_the_readmes_test_runs(installed: Path) -> None:
    """It is saved as it is."""
    (installed / "readme.test.mjs").write_text(block("js", "coachstream/testing"))
    run([node(), "--test", "readme.test.mjs"], installed)


def test_the_reference_gives_the_bounds() -> None:
    """The table of the JavaScript API has each entry point's in kilobytes."""
    page = (ROOT / "docs" / "reference" / "javascript-api.md").read_text()
    told = re.findall(r"^\| `(coachstream[^`]*)` \|.*\| ([\d.]+) kB \|$", page, re.MULTILINE)
    bounds = [(bound.entry, bound.gzipped / 1000) for bound in BOUNDS]
    assert [(entry, float(size)) for entry, size in told] == bounds
