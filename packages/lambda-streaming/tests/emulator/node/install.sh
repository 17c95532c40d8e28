#!/bin/sh
# Installs the official Node runtime clients into .cache/node, once for each package-lock.json.
#
# Their native part is compiled by their own install scripts. That needs node, npm, a C++ compiler, make, cmake,
# python3, autoconf, automake, libtool and xz (Debian: nodejs npm g++ make cmake python3 autoconf automake libtool
# xz-utils). It takes about two minutes, and a moment when it is there already.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/../../../../.." && pwd)/.cache/node

if cmp -s "$here/package-lock.json" "$cache/installed.json"; then
  exit 0
fi
peer_mode=${1:-}
. "$here/../../../../../tests/support/peer.sh"
require "The Node runtime clients" node npm c++ make cmake python3 autoreconf aclocal libtoolize xz

# Node's headers, if they came with it; otherwise node-gyp fetches them.
prefix=$(node -p 'require("path").dirname(require("path").dirname(process.execPath))')
if [ -f "$prefix/include/node/node_api.h" ]; then
  export npm_config_nodedir="$prefix"
fi

echo "Building the Node runtime clients in .cache/node (once, about two minutes) ..." >&2
mkdir -p "$cache"
rm -f "$cache/installed.json"
cp "$here/package.json" "$here/package-lock.json" "$cache/"
cd "$cache"
if ! npm ci --no-audit --no-fund --foreground-scripts >install.log 2>&1; then
  tail -n 30 install.log >&2
  echo "npm ci failed; all of its output is in $cache/install.log" >&2
  exit 1
fi
for client in aws-lambda-ric aws-lambda-ric-3; do
  if [ -z "$(find "node_modules/$client" -name 'rapid-client.node' -print -quit)" ]; then
    echo "npm did not run the install scripts of $client; see $cache/install.log" >&2
    exit 1
  fi
done
cp package-lock.json installed.json
