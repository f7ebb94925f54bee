# A promoted node serves manager calls itself within 10 s, a demoted one passes them on, and a new leader is found
# kind: rough

served_by() { # served_by ENTRY NODE
  get "$1" /services && [ "$STATUS" = 200 ] && [ "$(header X-Node)" = "node$2" ]
}
leader_is() { [ "$(engine 2 node inspect -f '{{with .ManagerStatus}}{{.Leader}}{{end}}' "$(node_id "$1")")" = true ]; }

served_by 3 1 || fail "the worker's manager calls go to the leader first"
at_end engine 1 node demote node3
engine 1 node promote node3 >/dev/null
within 10 "a promoted node does it itself" served_by 3 3
engine 1 node demote node3 >/dev/null
within 10 "a demoted node passes it on" served_by 3 1

# The leader steps down: it takes three managers for that.
engine 1 node promote node3 >/dev/null
within 10 "promoted again" served_by 3 3
at_end engine 2 node promote node1
engine 2 node demote node1 >/dev/null
not_here() { get 1 /services && [ "$STATUS" = 200 ] && [ "$(header X-Node)" != node1 ]; }
within 10 "the former leader passes it on" not_here
get 1 /info
lacks "the base of /info is a manager" node1 "$(field .Name)"
engine 2 node promote node1 >/dev/null
within 10 "and serves itself once it is a manager again" served_by 1 1
engine 1 node demote node3 >/dev/null
within 10 "the worker is a worker again" not_node3
not_node3() { get 3 /services && [ "$STATUS" = 200 ] && [ "$(header X-Node)" != node3 ]; }
