#!/usr/bin/env bash
# Lint, check types and test, in an environment that this script makes itself. Further arguments go on to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
make_environment requirements-dev.txt
if [[ ! -d .venv/torchvision/torchvision ]]; then
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target .venv/torchvision \
        -r requirements-torchvision.txt || echo "torchvision cannot be had here: the tests of its backbones are skipped" >&2
fi

# The page of tools/demo.py is tested in a browser. Where none can be installed, those tests are skipped and say so.
if ! command -v chromium > /dev/null && [[ $(id -u) == 0 ]] && command -v apt-get > /dev/null; then
    echo "installing chromium"
    { timeout 300 apt-get -qq update && DEBIAN_FRONTEND=noninteractive timeout 600 apt-get -qq install -y \
        --no-install-recommends chromium; } > /dev/null 2>&1 || echo "chromium could not be installed"
fi

"$python" -m ruff check .
"$python" -m ruff format --check .
.venv/bin/lint-imports --no-logo
"$python" -m mypy
# Tests run beside each other's subprocesses on few cores: threads that wait must not spin.
OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} exec "$python" -m pytest -rs "$@"
