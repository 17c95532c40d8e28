#!/bin/sh
# Installs the AWS SDK for JavaScript into .cache/bedrock-node, once for each package-lock.json.
#
# Needs node and npm (Debian: nodejs npm). It takes a few seconds, and a moment when it is there already.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/../../../.." && pwd)/.cache/bedrock-node

if cmp -s "$here/package-lock.json" "$cache/installed.json"; then
  exit 0
fi
for tool in node npm; do
  command -v "$tool" >/dev/null || missing="${missing:-} $tool"
done
if [ -n "${missing:-}" ]; then
  echo "The AWS SDK for JavaScript cannot be installed without:$missing" >&2
  exit 1
fi

echo "Installing the AWS SDK for JavaScript in .cache/bedrock-node (once) ..." >&2
mkdir -p "$cache"
rm -f "$cache/installed.json"
cp "$here/package.json" "$here/package-lock.json" "$cache/"
cd "$cache"
if ! npm ci --no-audit --no-fund --ignore-scripts >install.log 2>&1; then
  tail -n 30 install.log >&2
  echo "npm ci failed; all of its output is in $cache/install.log" >&2
  exit 1
fi
cp package-lock.json installed.json
