#!/bin/sh
# Writes the lock files from pyproject.toml: compile.sh VENV [uv options, such as --upgrade].
# Versions that are locked already stay unless --upgrade or --upgrade-package says otherwise.
set -eu
uv=$(readlink -f "$1")/bin/uv
shift
cd "$(dirname "$0")/../.."

compile() {
    extra=$1
    shift
    "$uv" pip compile pyproject.toml --quiet --extra "$extra" --extra test \
        --override cluster/locks/overrides.txt --no-emit-index-url --no-emit-find-links \
        --python-version 3.11 --custom-compile-command "make lock" \
        --output-file "cluster/locks/$extra.txt" "$@"
}

# The CPU set follows torch's build without CUDA, from a local wheel folder where there is one.
# The file names no build: the plain index must satisfy it too.
if [ -n "${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}" ]; then
    # What is locked is preferred: without its build that would be the plain index's, with CUDA.
    sed -i 's/^torch==\([0-9.]*\)$/torch==\1+cpu/' cluster/locks/cpu.txt
    UV_FIND_LINKS=${UV_FIND_LINKS:-$PIP_FIND_LINKS} compile cpu "$@"
else
    compile cpu --torch-backend=cpu "$@"
fi
sed -i 's/^torch==\([0-9.]*\)+cpu$/torch==\1/' cluster/locks/cpu.txt
unset UV_FIND_LINKS || true
compile gpu "$@"
