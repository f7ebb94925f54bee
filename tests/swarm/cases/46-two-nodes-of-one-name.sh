# Two nodes of one host name: both are listed under names of their own, and the bare name is refused with both
# kind: rough

rename() { stop_engine 3; echo "$1" >"$LAB/n3/hostname"; start_engine 3; }
at_end rename node3
rename node2
one=$(node_id 2) two=$(node_id 3)
within 60 "whole" whole
for entry in "${NODES[@]}"; do
  twins() {
    get "$entry" '/containers/json?all=1'
    [ "$(field '[.[].Portainer.Agent.NodeName] | unique | join(" ")')" = "$(printf '%s\n' node1 "node2.${one:0:6}" "node2.${two:0:6}" | sort | paste -sd ' ')" ]
  }
  within 10 "each has a name of its own, through node $entry" twins
  get "$entry" /info -H 'X-Node: node2'
  expect 400 "the bare name"
  contains "names the one" "$one" "$(field .message)"
  contains "and the other" "$two" "$(field .message)"
  for id in "$one" "$two"; do
    get "$entry" /info -H "X-Node: node2.${id:0:6}"
    same "by its own name" "$id" "$(field .Swarm.NodeID)"
    get "$entry" /info -H "X-Node: $id"
    same "by its id" "$id" "$(field .Swarm.NodeID)"
  done
done
rename node3
within 60 "whole under three names" whole
