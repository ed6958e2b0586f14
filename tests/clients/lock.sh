#!/bin/sh
# Writes the lock files of the clients that are tested: lock.sh UV [uv options, such as --upgrade].
# None of them names a registry.
set -eu
uv=$(readlink -f "$1")
shift
cd "$(dirname "$0")"
"$uv" pip compile --quiet --no-emit-index-url --no-emit-find-links --python-version 3.11 \
    --custom-compile-command "tests/clients/lock.sh UV" python.in --output-file python.txt "$@"
cd node
npm install --package-lock-only --ignore-scripts --no-audit --no-fund \
    --omit-lockfile-registry-resolved
