#!/bin/sh
# Fetches and builds what the tests talk to: first says what this machine lacks, then fetches all the others.
#
#   [JOBS=N] fetch_peers.sh FOLDER...   each with an install.sh; JOBS at a time, one by default
#
# The exit status is 1 if anything is not there at the end.
set -u
lacking="" ready=""
for peer in "$@"; do
  if "$peer/install.sh" --check; then ready="$ready $peer"; else lacking="$lacking $peer"; fi
done
failures=$(mktemp)
trap 'rm -f "$failures"' EXIT
trap 'exit 130' INT
if [ -n "$ready" ]; then
  # shellcheck disable=SC2086 # folders of this repository, without blanks
  printf '%s\n' $ready | xargs -P "${JOBS:-1}" -I {} sh -c '"$1/install.sh" || echo "$1" >>"$2"' sh {} "$failures"
fi
failed=$(tr '\n' ' ' <"$failures")
if [ -z "$lacking$failed" ]; then exit 0; fi
if [ -n "$lacking" ]; then echo "Skipped, because the tools named above are missing:$lacking" >&2; fi
if [ -n "$failed" ]; then echo "Failed, for the reason given above: $failed" >&2; fi
echo "Their tests are skipped; the others have what they need." >&2
exit 1
