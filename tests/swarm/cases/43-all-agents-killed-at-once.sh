# All three agents killed at once are whole again within 3 s of their start
# kind: rough

for round in 1 2 3; do
  old=() pids=()
  for node in "${NODES[@]}"; do old[node]=$(agent_container "$node"); pids+=("$(agent_pid "$node")"); done
  kill -9 "${pids[@]}"
  for node in "${NODES[@]}"; do within 30 "another agent runs on node $node" new_agent "$node" "${old[node]}"; done
  within 10 "whole again" whole
  done_at=$(now_ms) began=0
  for node in "${NODES[@]}"; do t=$(agent_started "$node"); [ "$t" -le "$began" ] || began=$t; done
  note "round $round: whole $((done_at - began)) ms after the last one's start"
  at_most "ms after the last one's start" 3000 $((done_at - began))
done
