# /info says the same through every agent, a worker's too, and its base is the leader

leader=$(node_id "$(leader)")
for node in "${NODES[@]}"; do
  get "$node" /info
  expect 200 "/info through node $node"
  same "base of /info through node $node" "$leader" "$(field .Swarm.NodeID)"
  same "ControlAvailable through node $node" true "$(field .Swarm.ControlAvailable)"
  get "$node" /info -H 'X-Node: node3'
  same "/info of a named node is its own" "node3 false" "$(field '"\(.Name) \(.Swarm.ControlAvailable)"')"
  get "$node" /info -H 'X-Node-Dialect: docker'
  same "base of the merged one" "$leader" "$(field .Swarm.NodeID)"
  same "X-Node-Answered" 3/3 "$(header X-Node-Answered)"
done
