# kill -9 of an agent: no list hides it or waits for it, and its successor is found without help
# kind: rough

for node in 2 3 1; do
  entry=$((node % 3 + 1))
  old=$(agent_container "$node")
  watch "$entry"
  killed=$(now_ms)
  kill_agent "$node"
  within 30 "another agent runs on node $node" new_agent "$node" "$old"
  began=$(agent_started "$node")
  within 10 "the Swarm is whole again" whole
  note "node $node: whole $(($(now_ms) - began)) ms after its agent's start"
  unwatch
  watched_honest
  same "lists that failed" 0 "$(watched_failed)"
  watched_fast "lists over a second" 1 1000 "$killed"
done
