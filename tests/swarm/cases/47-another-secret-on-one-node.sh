# A wrong cluster secret on one node is named as such, by the others and by that node, and mended by the right one
# kind: rough

for node in "${NODES[@]}"; do
  engine 1 secret rm "secret-of-node$node" >/dev/null 2>&1 || true
  case $node in 3) echo "another secret, quite as long as the right one" ;; *) echo "the secret of those that have the right one" ;; esac |
    engine 1 secret create "secret-of-node$node" - >/dev/null
done
restore() { agents_deploy && within 90 "whole" whole; }
at_end restore
agents_deploy -c "$HERE/stacks/secret-by-node.yml"
for entry in 1 2; do within 90 "named by node $entry" missing $entry node3=secret; done
within 10 "the one names the others" missing 3 'node1=secret;node2=secret'
contains "the log of a right one says so" secret "$(agent_log 1)"
contains "the log of the wrong one says so" secret "$(agent_log 3)"
get 3 /info -H 'X-Node: node3'
expect 200 "the wrong one still serves its own node"
restore
for node in "${NODES[@]}"; do engine 1 secret rm "secret-of-node$node" >/dev/null; done
