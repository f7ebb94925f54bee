# Drained, down and removed nodes are told apart within 10 s of Swarm's own word; strict clients get a 503
# kind: rough

id=$(node_id 3)
at_end tells 1 node update --availability active node3
tells 1 node update --availability drain node3
for entry in 1 2; do within 10 "drained, through node $entry" missing $entry node3=drained; done
answers 1 2/3 || fail "drained: $(header X-Node-Answered)"
get 1 /containers/json -H 'X-Node-Strict: 1'
expect 503 "a partial answer to a strict client"
contains "names who is missing" node3 "$(field .message)"
get 1 /info -H 'X-Node: node3'
at_least "a request for it" 502 "$STATUS"
tells 1 node update --availability active node3
within 30 "active again" whole
get 1 /containers/json -H 'X-Node-Strict: 1'
expect 200 "a whole answer to a strict client"

at_end start_engine 3
stop_engine 3
within 60 "Swarm calls it down" node_is "$id" down
for entry in 1 2; do within 10 "down, through node $entry" missing $entry node3=down; done
start_engine 3
within 60 "whole after it was down" whole

at_end rejoin
rejoin() { [ "$(engine 3 info -f '{{.Swarm.LocalNodeState}}')" = active ] || join_swarm 3; }
engine 3 swarm leave >/dev/null
within 60 "Swarm calls it down" node_is "$id" down
engine 1 node rm "$id" >/dev/null
for entry in 1 2; do within 10 "a removed node leaves the count, through node $entry" answers $entry 2/2; done
missing 1 '' || fail "and is not named any more: $(header X-Node-Errors)"
get 1 /info -H "X-Node: $id"
expect 404 "nor known"
rejoin
within 60 "it joins as another node" whole
