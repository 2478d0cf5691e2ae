# Sourced by the *_train.sh scripts after their own values: the rest of the values, then tools/train_net.py.
master_addr=${master_addr:-127.0.0.1}  # of node 0
nnodes=${nnodes:-1}                    # machines; start the script on each with its node_rank
node_rank=${node_rank:-0}
max_restarts=${max_restarts:-0}        # how often a failed run goes on by itself from its last checkpoint
output_dir=${output_dir:-outputs/$(basename "$config" .yaml)}

export gpus gpun master_addr master_port nnodes node_rank max_restarts

flags=()
while [[ ${1:-} == --* ]]; do  # flags stand before the KEY VALUE pairs
    flags+=("$1")
    shift
done
exec bash "$(dirname "${BASH_SOURCE[0]}")/launch.sh" tools/train_net.py "$config" \
    ${flags[@]+"${flags[@]}"} OUTPUT_DIR "$output_dir" "$@"
