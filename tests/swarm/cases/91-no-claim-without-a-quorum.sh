# Nobody can claim the agents from a node that is cut off, or while the managers have no quorum
# kind: rough

agent_cli() { local node=$1; shift; engine "$node" exec "$(agent_container "$node")" /swarmgate "$@"; }
refused() { AS=stranger get "$1" /containers/json; [ "$STATUS" = 403 ]; }
# open_window: nobody owns the agents, and each of them knows (asking would be a claim, so its log has to tell).
open_window() {
  local node record
  record=$(agent_cli 1 association reset | sed -n 's/^record \([0-9]*\) .*/\1/p')
  for node in "${NODES[@]}"; do within 6 "node $node knows of record $record" knows "$node" "$record"; done
}
knows() { agent_log "$1" | grep -q " n=$2 "; }
fingerprint() { echo "sha256:$(openssl pkey -in "$CLIENT/key.pem" -pubout -outform DER | sha256sum | awk '{ print $1 }')"; }
at_end agent_cli 1 association reset --key "$(fingerprint)"

# The worker is cut off after the reset has reached it; a stranger tries there, the owner elsewhere.
open_window
cut_node 3; at_end heal_node 3
AS=stranger inside 3 get 3 /containers/json
expect 503 "a claim on a node that is cut off"
claimed() { get 1 /containers/json; [ "$STATUS" = 200 ]; }
within 10 "the owner claims where there is a quorum" claimed
heal_node 3
within 60 "whole" whole
for node in "${NODES[@]}"; do within 10 "the stranger is out on node $node" refused "$node"; done

# One manager of two is no quorum.
open_window
cut_node 2; at_end heal_node 2
no_quorum() { ! timeout 3 docker -H "unix://$LAB/n1/docker.sock" service ls; }
within 30 "there is no quorum" no_quorum
for node in 1 3; do
  AS=stranger get $node /containers/json
  expect 503 "a claim on node $node without a quorum"
done
heal_node 2
within 120 "the owner claims afterwards" claimed
within 60 "whole" whole
for node in "${NODES[@]}"; do within 10 "the stranger is out on node $node" refused "$node"; done
settled
