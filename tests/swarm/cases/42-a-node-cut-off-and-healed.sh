# A node cut off costs at most one list of a second, is then named at once, and is back within 3 s of being reachable
# kind: rough

at_end heal_node 3
addresses=() pids=()
for node in "${NODES[@]}"; do addresses[node]=$(agent_address "$node") pids[node]=$(agent_pid "$node"); done
# The network heals pair by pair: whoever is asked needs its own way there, and node 3 its way back to both.
reachable() {
  local pair
  for pair in '1 3' '2 3' '3 1' '3 2'; do
    nsenter --target "${pids[${pair% *}]}" --net timeout 0.3 bash -c "exec 3<>/dev/tcp/${addresses[${pair#* }]}/9002" || return 1
  done
}
reachable || fail "the agents do not reach each other to begin with"
for entry in 1 2; do
  watch "$entry"
  cut_node 3
  within 5 "node 3 is named" absent "$entry" node3
  answers "$entry" 2/3 || fail "the others are not listed: $(header X-Node-Answered)"
  in_a_row() { [ "$(tail -n 20 "$WATCHED" | grep -c ' 200 2/3 node3=')" = 20 ]; }
  within 20 "it stays named" in_a_row
  at_most "one list waits for it" 1 "$(watched_slow 300)"
  same "and for about a second" 0 "$(watched_slow 1200)"
  get "$entry" /info -H 'X-Node: node3'
  at_least "a request for it fails" 502 "$STATUS"
  at_most "at once (ms)" 1200 "$TOOK"

  # The node that is cut off knows it, too: its clients see what is left.
  alone() { inside 3 get 3 /containers/json && [ "$(header X-Node-Answered)" = 1/3 ]; }
  within 10 "the node that is cut off answers for itself" alone

  # A healed network comes, goes and comes back while the engines tell each other anew. What counts is how long it has
  # carried without a break.
  heal_node 3
  healed=$SECONDS began='' breaks=0
  until whole; do
    [ $((SECONDS - healed)) -lt 60 ] || fail "the network does not carry again"
    if reachable; then
      [ -n "$began" ] || began=$(now_ms)
    elif [ -n "$began" ]; then
      began='' breaks=$((breaks + 1))
    fi
    if [ -n "$began" ] && [ $(($(now_ms) - began)) -gt 3000 ]; then
      agent_log "$entry" | tail -n 5 >&2
      fail "reachable for $(($(now_ms) - began)) ms and not whole: $(last_answer)"
    fi
  done
  note "through node $entry: whole $(($(now_ms) - ${began:-$(now_ms)})) ms after it was reachable, which broke $breaks times again"
  unwatch
  watched_honest
  same "lists that failed" 0 "$(watched_failed)"
done
