#!/bin/sh
# Installs what a folder's package-lock.json pins into .cache/NAME, once for each package-lock.json.
#
#   npm_ci.sh FOLDER NAME WHAT [--check]
#
# Needs node and npm (Debian: nodejs npm). No package's own install script is run. It takes a few seconds, and a
# moment when it is there already.
set -eu
folder=$1 name=$2 what=$3 peer_mode=${4:-}
cache=$(cd "$(dirname "$0")/../.." && pwd)/.cache/$name

if cmp -s "$folder/package-lock.json" "$cache/installed.json"; then
  exit 0
fi
. "$(dirname "$0")/peer.sh"
require "$what" node npm

echo "$what: installing in .cache/$name (once) ..." >&2
mkdir -p "$cache"
rm -f "$cache/installed.json"
cp "$folder/package.json" "$folder/package-lock.json" "$cache/"
cd "$cache"
if ! npm ci --no-audit --no-fund --ignore-scripts >install.log 2>&1; then
  tail -n 30 install.log >&2
  echo "npm ci failed; all of its output is in $cache/install.log" >&2
  exit 1
fi
cp package-lock.json installed.json
