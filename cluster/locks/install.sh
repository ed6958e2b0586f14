#!/bin/sh
# Makes a virtual environment with the locked set: install.sh VENV cpu|gpu. Needs Python 3.11 only.
# A second run with nothing changed ends at once.
set -eu
venv=$1 extra=$2
cd "$(dirname "$0")/../.."
locks=cluster/locks
uv_version=0.13.8

case $extra in
    cpu | gpu) ;;
    *) echo "EXTRA must be cpu or gpu, not '$extra'" >&2; exit 2 ;;
esac

# The folder is part of the key: an environment that was moved or copied does not work.
key="$extra $(readlink -m "$venv") $(cat "$0" pyproject.toml "$locks/$extra.txt" \
    "$locks/overrides.txt" | sha256sum)"
if [ -f "$venv/.installed" ] && [ "$(cat "$venv/.installed")" = "$key" ]; then
    exit 0
fi

if ! "$venv/bin/python" -c '' 2>/dev/null || ! grep -q "$(readlink -m "$venv")/bin" \
    "$venv/bin/pip" 2>/dev/null; then
    for candidate in ${PYTHON:-} python3.11 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    if [ -z "${python:-}" ]; then
        echo "Lorikeet needs Python 3.11; none of python3.11, python3 and python is one." \
            "Name it with: make up PYTHON=/path/to/python3.11" >&2
        exit 1
    fi
    rm -rf "$venv"
    "$python" -m venv "$venv" || {
        echo "'$python -m venv' failed. On Debian and Ubuntu: apt-get install python3.11-venv" >&2
        exit 1
    }
fi
rm -f "$venv/.installed"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$uv_version"

# uv reads none of pip's settings: hand over those that say where packages come from.
if [ -n "${PIP_FIND_LINKS:-}" ] && [ -z "${UV_FIND_LINKS:-}" ]; then
    UV_FIND_LINKS=$PIP_FIND_LINKS && export UV_FIND_LINKS
fi
if [ -n "${PIP_INDEX_URL:-}" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
    UV_DEFAULT_INDEX=$PIP_INDEX_URL && export UV_DEFAULT_INDEX
fi
VIRTUAL_ENV=$(readlink -m "$venv") && export VIRTUAL_ENV
# Whole packages over the network: a slow line must not be taken for a dead one.
export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-300}"

install() {
    file=$1
    shift
    "$venv/bin/uv" pip install --quiet -r "$file" --override "$locks/overrides.txt" "$@"
}
echo "Installing the $extra set into $venv ..."
if [ -n "${UV_FIND_LINKS:-}" ]; then
    install "$locks/$extra.txt"
else
    # torch's own index has the builds without CUDA, and those for each CUDA version.
    backend=cpu
    [ "$extra" = cpu ] || backend=auto
    install "$locks/$extra.txt" --torch-backend="$backend" || {
        echo "torch's own index did not serve: taking the build of the plain index." >&2
        # That build brings its own triton.
        sed '/^triton==/d' "$locks/$extra.txt" >"$venv/locked.txt"
        install "$venv/locked.txt"
    }
fi
"$venv/bin/uv" pip install --quiet --no-deps --no-build-isolation \
    --config-settings editable_mode=compat -e .
if [ -n "${PYTHONDONTWRITEBYTECODE:-}" ]; then
    # Else every process compiles what it imports at each start: many seconds of each.
    # The parts of packages that are templates, and no Python, stay as they are.
    "$venv/bin/python" -m compileall -qq -j 0 -x '/tests?/' "$venv/lib" || true
fi
printf '%s' "$key" >"$venv/.installed"
