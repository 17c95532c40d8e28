#!/bin/sh
# Installs the SAM CLI, the AWS CLI and a parser of Terraform's language into .cache/deployment-tools, once for each
# tools.lock. Needs Python 3.11 or newer; takes half a minute, and a moment when it is there already.
#
# tools.lock is `uv pip compile --universal --python-version 3.11 --generate-hashes tools.in`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../../../.." && pwd)
cache=$root/.cache/deployment-tools

if cmp -s "$here/tools.lock" "$cache/installed.lock"; then
  exit 0
fi
peer_mode=${1:-}
. "$root/tests/support/peer.sh"
require "The SAM CLI" python3

echo "Installing the SAM CLI in .cache/deployment-tools (once) ..." >&2
rm -rf "$cache"
mkdir -p "$cache"
for python in python3.13 python3.12 python3.11 python3; do
  if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
    "$python" -m venv "$cache/venv" >"$cache/install.log" 2>&1; then
    break
  fi
done
if ! {
  "$cache/venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
    --requirement "$root/requirements/install.lock" &&
    "$cache/venv/bin/python" -m uv pip install --quiet --python "$cache/venv/bin/python" --require-hashes \
      --requirement "$here/tools.lock"
} >>"$cache/install.log" 2>&1; then
  tail -n 30 "$cache/install.log" >&2
  exit 1
fi
cp "$here/tools.lock" "$cache/installed.lock"
