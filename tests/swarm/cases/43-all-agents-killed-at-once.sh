# All three agents killed at once are whole again within 3 s of their start, or of their network
# kind: rough

for round in 1 2; do
  old=() pids=()
  for node in "${NODES[@]}"; do old[node]=$(agent_container "$node"); pids+=("$(agent_pid "$node")"); done
  kill -9 "${pids[@]}"
  # Engines that join a network at the same time may wait 30 s for each other ("Bulk sync ... timed out").
  for node in "${NODES[@]}"; do within 60 "another agent runs on node $node" new_agent "$node" "${old[node]}"; done
  watch_ways '1 2' '1 3' '2 1' '2 3' '3 1' '3 2'
  began=0
  for node in "${NODES[@]}"; do t=$(agent_started "$node"); [ "$t" -le "$began" ] || began=$t; done
  whole_within 3000 "round $round, after the last one's start" "$began"
done
