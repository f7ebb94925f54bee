# A node cut off costs at most one list of a second, is then named at once, and is back within 3 s of being reachable
# kind: rough

at_end heal_node 3
for entry in 1 2; do
  # The network heals pair by pair: whoever is asked needs its own way to everybody, and node 3 its way back to both.
  watch_ways '1 3' '2 3' '3 1' '3 2' '1 2' '2 1'
  within 5 "the agents reach each other to begin with" ways_carry
  watch "$entry"
  cut_at=$(now_ms)
  cut_node 3
  within 5 "node 3 is named" absent "$entry" node3
  answers "$entry" 2/3 ||
    fail "entry $entry lists not 2/3 but $(header X-Node-Answered) $(header X-Node-Errors); ways: $(ways_told "$cut_at")"
  in_a_row() { [ "$(tail -n 20 "$WATCHED" | grep -c ' 200 2/3 node3=')" = 20 ]; }
  within 20 "it stays named" in_a_row
  watched_fast "one list waits for it" 1 300 "$cut_at"
  watched_fast "and for about a second" 0 1200 "$cut_at"
  get "$entry" /info -H 'X-Node: node3'
  at_least "a request for it fails" 502 "$STATUS"
  at_most "at once (ms)" 1200 "$TOOK"

  # The node that is cut off knows it, too: its clients see what is left.
  alone() { inside 3 get 3 /containers/json && [ "$(header X-Node-Answered)" = 1/3 ]; }
  within 10 "the node that is cut off answers for itself" alone
  ! ways_carry || fail "it is not cut off: $(ways_told "$cut_at")"

  # A healed network comes, goes and comes back while the engines tell each other anew. What counts is how long it has
  # carried without a break.
  healed=$(now_ms)
  heal_node 3
  whole_within 3000 "through node $entry" "$healed"
  unwatch
  watched_honest
  same "lists that failed" 0 "$(watched_failed)"
done
