#!/usr/bin/env bash
# Lint, check types and test, in an environment that this script makes itself.
#     bash scripts/test.sh [core] [arguments of pytest]
# core: the core alone (utils to engine) and its parity with the recorded outputs, without the uses in mmn/apps.
set -euo pipefail
only=()
if [[ ${1:-} == core ]]; then
    shift
    for room in utils structures config data modeling solver evaluation engine; do only+=("tests/$room"); done
    only+=(tests/test_parity.py tests/test_stvg_parity.py tests/test_reference.py)
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
make_environment requirements-dev.txt
if [[ ${#only[@]} == 0 && ! -d .venv/torchvision/torchvision ]]; then
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target .venv/torchvision \
        -r requirements-torchvision.txt || echo "torchvision cannot be had here: the tests of its backbones are skipped" >&2
fi
if [[ ${#only[@]} == 0 ]]; then
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-conse.txt ||
        echo "the packages of zero-shot:conse cannot be had here: its tests are skipped" >&2
fi

# The page of tools/demo.py is tested in a browser. Where none can be installed, those tests are skipped and say so.
if [[ ${#only[@]} == 0 ]] && ! command -v chromium > /dev/null && [[ $(id -u) == 0 ]] && command -v apt-get > /dev/null; then
    echo "installing chromium"
    { timeout 300 apt-get -qq update && DEBIAN_FRONTEND=noninteractive timeout 600 apt-get -qq install -y \
        --no-install-recommends chromium; } > /dev/null 2>&1 || echo "chromium could not be installed"
fi

"$python" -m ruff check .
"$python" -m ruff format --check .
.venv/bin/lint-imports --no-logo
"$python" -m mypy
# Tests run beside each other's subprocesses on few cores: threads that wait must not spin.
OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} exec "$python" -m pytest -rs ${only[@]+"${only[@]}"} "$@"
