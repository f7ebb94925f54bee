# A promoted node serves manager calls itself within 10 s, a demoted one passes them on, and a new leader is found
# kind: rough

served_by() { # served_by ENTRY NODE
  get "$1" /services && [ "$STATUS" = 200 ] && [ "$(header X-Node)" = "node$2" ]
}
promote() { # promote BY NODE, until the node's own engine says so; from there on it is our agents' turn
  tells "$1" node promote "node$2"
  within 60 "the engine of node $2 is a manager" is_manager "$2"
}
demote() {
  tells "$1" node demote "node$2"
  within 60 "the engine of node $2 is a worker" is_worker "$2"
}
is_manager() { [ "$(engine "$1" info -f '{{.Swarm.ControlAvailable}}')" = true ]; }
is_worker() { ! is_manager "$1"; }

first=$(leader)
served_by 3 "$first" || fail "the worker's manager calls go to the leader first"
at_end demote "$first" 3
promote "$first" 3
within 10 "a promoted node does it itself" served_by 3 3
demote "$first" 3
within 10 "a demoted node passes it on" served_by 3 "$first"

# The leader steps down: it takes three managers for that.
promote "$first" 3
within 10 "promoted again" served_by 3 3
other=$((3 - first))                                   # the one of the first two that does not lead
at_end promote $other "$first"
demote $other "$first"
not_here() { get "$first" /services && [ "$STATUS" = 200 ] && [ "$(header X-Node)" != "node$first" ]; }
within 10 "the former leader passes it on" not_here
get "$first" /info
lacks "the base of /info is a manager" "node$first" "$(field .Name)"
promote $other "$first"
within 10 "and serves itself once it is a manager again" served_by "$first" "$first"
demote $other 3
not_node3() { get 3 /services && [ "$STATUS" = 200 ] && [ "$(header X-Node)" != node3 ]; }
within 10 "the worker is a worker again" not_node3
