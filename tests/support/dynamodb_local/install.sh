#!/bin/sh
# Fetches DynamoDB Local with Maven into .cache/dynamodb-local, once for each pom.xml. Needs mvn and Java 17 or
# newer (Debian: maven openjdk-17-jre-headless); takes some seconds, and a moment when it is there already.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/../../.." && pwd)/.cache/dynamodb-local

if cmp -s "$here/pom.xml" "$cache/installed.xml"; then
  exit 0
fi
peer_mode=${1:-}
. "$here/../peer.sh"
require "DynamoDB Local" mvn java
echo "Fetching DynamoDB Local into .cache/dynamodb-local (once) ..." >&2
mkdir -p "$cache"
rm -rf "$cache/installed.xml" "$cache/lib"
if ! mvn --batch-mode --file "$here/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$cache/lib" \
  >"$cache/install.log" 2>&1; then
  grep '^\[ERROR\]' "$cache/install.log" | head -n 5 >&2 || tail -n 30 "$cache/install.log" >&2
  echo "mvn failed; all of its output is in $cache/install.log" >&2
  exit 1
fi
cp "$here/pom.xml" "$cache/installed.xml"
