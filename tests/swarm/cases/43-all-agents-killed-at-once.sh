# All three agents killed at once are whole again within 3 s of their start, or of their network
# kind: rough

for round in 1 2; do
  old=() pids=()
  for node in "${NODES[@]}"; do old[node]=$(agent_container "$node"); pids+=("$(agent_pid "$node")"); done
  kill -9 "${pids[@]}"
  for node in "${NODES[@]}"; do within 30 "another agent runs on node $node" new_agent "$node" "${old[node]}"; done
  began=0
  for node in "${NODES[@]}"; do t=$(agent_started "$node"); [ "$t" -le "$began" ] || began=$t; done
  if until_true 1 whole; then
    carried=$began
  else
    within 90 "the overlay network carries again" overlay_carries
    carried=$(now_ms)
    within 3 "whole again" whole
  fi
  done_at=$(now_ms)
  note "round $round: whole $((done_at - began)) ms after the last one's start, of which the network took $((carried - began))"
  at_most "ms after their start, or after the network carries again" 3000 $((done_at - carried))
done
