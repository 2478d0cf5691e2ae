# Sourced by quickstart.sh and test.sh: makes .venv beside the checkout and installs the pinned requirements into it.
# Usage: make_environment REQUIREMENTS_FILE; afterwards $python is the environment's interpreter.
make_environment() {
    local requirements=$1
    python=.venv/bin/python
    # The requirements that were installed are kept, so that an environment that is up to date costs nothing.
    local stamp=.venv/installed-${requirements//\//-}
    if [[ -x $python && -f $stamp ]] && cat requirements*.txt | cmp -s - "$stamp"; then
        return
    fi
    local base=${PYTHON:-python3}
    if ! "$base" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; then
        echo "error: the pinned requirements need Python 3.11 to 3.13, but $base is $("$base" --version 2>&1):" \
            "name another with PYTHON=..." >&2
        exit 2
    fi
    [[ -x $python ]] || "$base" -m venv .venv
    "$python" -m pip install --quiet --disable-pip-version-check -r "$requirements" 2> >(grep -v '^WARNING' >&2)
    cat requirements*.txt > "$stamp"
}
