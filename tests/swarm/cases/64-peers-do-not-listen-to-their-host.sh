# The agents' own port answers on the overlay only: not over docker_gwbridge from the host, and not on the node's address

for node in "${NODES[@]}"; do
  gateway=$(engine "$node" network inspect docker_gwbridge | jq -r --arg id "$(agent_container "$node")" '.[0].Containers[$id].IPv4Address | split("/")[0]')
  in_netns "$node" timeout 2 bash -c "exec 3<>/dev/tcp/$gateway/9001" || fail "9001 over docker_gwbridge on node $node"
  ! in_netns "$node" timeout 2 bash -c "exec 3<>/dev/tcp/$gateway/9002" 2>/dev/null || fail "9002 over docker_gwbridge on node $node"
  ! timeout 2 bash -c "exec 3<>/dev/tcp/$NET.$node/9002" 2>/dev/null || fail "9002 on the address of node $node"
done
