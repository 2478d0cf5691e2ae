"""Start a tool on several processes with torchrun, after checking that it can start. Used by scripts/launch.sh.

python tools/launch.py --processes 2 --master-port 29500 tools/train_net.py --config-file F KEY VALUE ...
"""

import argparse

import _path  # noqa: F401

from mmn.engine.launch import launch
from mmn.utils.cli import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, required=True, help="on this machine")
    parser.add_argument("--nodes", type=int, default=1, help="machines")
    parser.add_argument("--node-rank", type=int, default=0, help="of this machine")
    parser.add_argument("--master-addr", default="127.0.0.1", help="of node 0")
    parser.add_argument("--master-port", type=int, required=True, help="on node 0")
    parser.add_argument("--max-restarts", type=int, default=0, help="after a failure, continuing a training")
    parser.add_argument("tool", help="tools/train_net.py or tools/test_net.py")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the tool")
    args = parser.parse_args()
    launch(
        args.tool,
        args.arguments,
        args.processes,
        args.nodes,
        args.node_rank,
        args.master_addr,
        args.master_port,
        args.max_restarts,
    )


if __name__ == "__main__":
    run_tool(main)
