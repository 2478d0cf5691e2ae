#!/usr/bin/env bash
# Lint, check types and test, in an environment that this script makes itself.
#     bash scripts/test.sh [core | milvus] [arguments of pytest]
# core: the core alone (utils to engine) and its parity with the recorded outputs, without the uses in mmn/apps.
# milvus: the vector store's whole contract on a real Milvus server, a quarter of an hour; otherwise two tests of it.
set -euo pipefail
only=() room=${1:-}
if [[ $room == core ]]; then
    shift
    for folder in utils structures config data modeling solver evaluation engine; do only+=("tests/$folder"); done
    only+=(tests/test_parity.py tests/test_stvg_parity.py tests/test_tan_parity.py tests/test_reference.py)
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
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

# FOLDER [arguments of pytest]: tests on a real Milvus server, which listens on all addresses: in a network of its own.
on_milvus() {
    unshare --map-root-user --net "$python" tests/milvus_server.py "$@" -q -p no:cacheprovider \
        tests/apps/search/test_milvus_store.py
}

if [[ $# != 0 && $room != milvus || ${#only[@]} != 0 ]]; then
    exec "$python" -m pytest -rs ${only[@]+"${only[@]}"} "$@"
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if ! unshare --map-root-user --net "$python" -c "import milvus" 2> /dev/null; then
    echo "no Milvus server can be started here (unshare, or the package milvus): its tests are skipped" >&2
elif [[ $room == milvus ]]; then
    on_milvus "$scratch/server" "${@:2}"
    exit
else
    on_milvus "$scratch/server" -k "test_replaced or (plain_search and 7)" > "$scratch/log" 2>&1 &  # it mostly waits
    milvus=$!
fi
status=0
"$python" -m pytest -rs || status=$?
if [[ -n ${milvus:-} ]]; then
    wait "$milvus" || status=1
    echo "on a real Milvus server:" && tail -n 30 "$scratch/log"
fi
exit "$status"
