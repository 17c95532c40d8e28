#!/bin/sh
# Installs the monitoring tools for Lambda into .cache/monitoring, a virtual environment of their own, whenever their
# versions change. Takes half a minute.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../../.." && pwd)
cache=$root/.cache/monitoring
lock=$root/requirements/monitoring.lock

if cmp -s "$lock" "$cache/installed.lock"; then
  exit 0
fi
peer_mode=${1:-}
. "$root/tests/support/peer.sh"
require "The monitoring tools" python3
# The Python that runs the tests, if it has been set up.
python=$root/.venv/bin/python
if [ ! -x "$python" ]; then python=python3; fi
echo "Installing the monitoring tools in .cache/monitoring ..." >&2
mkdir -p "$cache"
if ! { "$python" -m venv --clear "$cache" && "$cache/bin/python" "$root/requirements/install.py" "$lock"; } \
  >"$root/.cache/monitoring.log" 2>&1; then
  tail -n 30 "$root/.cache/monitoring.log" >&2
  exit 1
fi
cp "$lock" "$cache/installed.lock"
