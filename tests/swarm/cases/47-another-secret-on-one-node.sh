# A wrong cluster secret on one node is named as such, by the others and by that node, and mended by the right one
# kind: rough

for node in "${NODES[@]}"; do
  engine 1 secret rm "secret-of-node$node" >/dev/null 2>&1 || true
  case $node in 3) echo "another secret, quite as long as the right one" ;; *) echo "the secret of those that have the right one" ;; esac |
    engine 1 secret create "secret-of-node$node" - >/dev/null
done
restore() { agents_deploy && rolled; }
at_end restore
agents_deploy -c "$HERE/stacks/secret-by-node.yml"
# Under another secret the record of the owner cannot be proved. That opens no window by itself; a reset does.
closed() { get 1 /containers/json; [ "$STATUS" = 403 ] && grep -q 'association reset' "$BODY"; }
within 90 "nobody owns the agents, and nobody may claim them" closed
engine 1 exec "$(agent_container 1)" /swarmgate association reset
for entry in 1 2; do within 90 "named by node $entry" missing $entry node3=secret; done
# The one with the wrong secret cannot read who owns the agents, so only its log tells.
logged() { agent_log "$1" | grep 'is missing' | grep "$2" | grep -q 'reason="secret"'; }
within 10 "the log of a right one says so" logged 1 node3
for right in 1 2; do within 10 "the log of the wrong one says so of node $right" logged 3 "$(node_id $right)"; done
get 3 /containers/json
expect 503 "who cannot know its owner serves nobody"
restore
for node in "${NODES[@]}"; do engine 1 secret rm "secret-of-node$node" >/dev/null; done
