#!/bin/sh
# Makes .venv (or the directory that is named) from requirements.lock, or leaves it alone where that was done before. `make` calls this.
#
#   EXTRAS="cuda wandb"   also install these extras of pyproject.toml; once installed they stay
#   PYTHON=/path/python   use this Python in place of the newest that works
set -eu
cd "$(dirname "$0")/.."

environment=${1:-.venv}
python=$environment/bin/python
installed=$environment/installed # a copy of every requirements file that was installed to its end

works() { # this Python runs, has a version we support, and can make environments
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1
}

identity() {
    "$1" -c 'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null
}

install() { # name, requirements file
    if ! cmp -s "$2" "$installed/$1"; then
        echo "Installing $2 into $environment; the first time this fetches several hundred megabytes" >&2
        # Wheels only, so that no package's own code runs during set-up. Where the file has hashes, pip insists on them.
        if ! "$python" -m pip install --quiet --quiet --disable-pip-version-check --no-input --only-binary :all: --requirement "$2"; then
            echo "set-up did not finish; pip says why above. The same command starts it again" >&2
            exit 1
        fi
        cp "$2" "$installed/$1"
    fi
}

recorded=$(ls "$installed" 2>/dev/null || true)

if ! cmp -s requirements.lock "$installed/base" || ! works "$python" ||
    { [ -n "${PYTHON:-}" ] && [ "$(identity "$PYTHON")" != "$(identity "$python")" ]; }; then
    chosen=
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3.13 python3.12 python3.11 python3 python
    fi
    for candidate in "$@"; do
        if works "$candidate"; then
            chosen=$candidate
            break
        fi
    done
    if [ -z "$chosen" ]; then
        found=${PYTHON:+$PYTHON is not}
        echo "error: ${found:-no command on PATH is} a working Python 3.11, 3.12 or 3.13 with the modules venv and ensurepip" >&2
        echo "install one (Debian and Ubuntu: apt install python3 python3-venv), or name one: make train PYTHON=/path/to/python3" >&2
        exit 2
    fi
    echo "Making $environment with $("$chosen" --version)" >&2
    "$chosen" -m venv --clear "$environment"
    mkdir "$installed"
    # Noted at once, so that they are not forgotten where this is stopped; an empty note never counts as installed.
    for extra in $recorded; do
        : >"$installed/$extra"
    done
    # The checkout itself is importable from its environment, wherever both are moved.
    "$python" -c 'import pathlib, sysconfig
pathlib.Path(sysconfig.get_path("purelib"), "checkout.pth").write_text("../../../..\n")'
    install base requirements.lock
fi

for extra in $recorded ${EXTRAS:-}; do
    if [ "$extra" = base ]; then
        continue
    elif [ -f "requirements-$extra.lock" ]; then
        install "$extra" "requirements-$extra.lock"
    else
        wanted=$(mktemp)
        "$python" -c 'import sys, tomllib
extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]
if sys.argv[1] not in extras:
    sys.exit("error: no extra " + sys.argv[1] + "; there are " + ", ".join(extras))
print(*extras[sys.argv[1]], sep="\n")' "$extra" >"$wanted"
        install "$extra" "$wanted"
        rm "$wanted"
    fi
done
