#!/usr/bin/env bash
# Lint and test, in an environment that this script makes itself. Further arguments go on to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
make_environment requirements-dev.txt
if [[ ! -d .venv/torchvision/torchvision ]]; then
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target .venv/torchvision \
        -r requirements-torchvision.txt || echo "torchvision cannot be had here: the tests of its backbones are skipped" >&2
fi

"$python" -m ruff check .
"$python" -m ruff format --check .
# Tests run beside each other's subprocesses on few cores: threads that wait must not spin.
OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} exec "$python" -m pytest "$@"
