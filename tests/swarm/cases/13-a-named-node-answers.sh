# X-Node reaches a node by host name, NodeID or prefix from every entry; unknown names are refused with the known ones

steady='map(del(.Status) | .Mounts |= sort | .Ports |= sort)'   # without what differs from one answer to the next
for entry in "${NODES[@]}"; do
  for node in "${NODES[@]}"; do
    id=$(node_id "$node")
    for name in "node$node" "$id" "${id:0:10}"; do
      get "$entry" /info -H "X-Node: $name"
      expect 200 "X-Node: $name through node $entry"
      same "who answered" "node$node $id" "$(field '"\(.Name) \(.Swarm.NodeID)"')"
      same "X-Node of the answer" "node$node" "$(header X-Node)"
    done
  done
  get "$entry" '/containers/json?all=1' -H 'X-Node: node2'
  same "a named node's list is its engine's own" "$(raw 2 '/containers/json?all=1' | jq -c "$steady")" "$(jq -c "$steady" "$BODY")"
  get "$entry" /info -H 'X-Node: node9'
  expect 404 "an unknown node"
  for node in "${NODES[@]}"; do contains "the known nodes are named" "node$node" "$(field .message)"; done
  get "$entry" /info -H 'X-Node: *'
  expect 400 "X-Node: *"
  get "$entry" /info -H 'X-Node: node2' -H 'X-PortainerAgent-ManagerOperation: 1'
  expect 400 "X-Node together with ManagerOperation"
done

# Portainer's own way to name one, which it re-sends where it means nothing.
name=target-$$
docker_at 1 node3 create --name "$name" busybox true >/dev/null
at_end engine 3 rm "$name"
get 1 "/containers/$name/json" -H 'X-PortainerAgent-Target: node3'
expect 200 "a target on one container"
same "X-Node" node3 "$(header X-Node)"
get 1 '/containers/json?all=1' -H 'X-PortainerAgent-Target: node3'
same "a target on a list means nothing" 3/3 "$(header X-Node-Answered)"
