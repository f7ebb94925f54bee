# Two agents that do not reach each other name each other, the third reaches both, and all is well within 3 s of the way
# kind: rough

# All that the agent on node 2 sends to the one on node 3 is lost; so no connection opens either way.
there=$(agent_address 3)
allow() { in_agent_netns 2 iptables -D OUTPUT -d "$there" -j DROP; }
at_end allow
watch_ways '2 3' '3 2'
within 5 "they reach each other to begin with" ways_carry
watch 2
cut_at=$(now_ms)
in_agent_netns 2 iptables -I OUTPUT -d "$there" -j DROP
within 5 "the one names the other" absent 2 node3
within 5 "and the other way round" absent 3 node2
answers 2 2/3 || fail "through node 2: $(header X-Node-Answered) $(header X-Node-Errors)"
answers 3 2/3 || fail "through node 3: $(header X-Node-Answered) $(header X-Node-Errors)"
for _ in $(seq 10); do answers 1 3/3 || fail "node 1 reaches both: $(header X-Node-Answered) $(header X-Node-Errors)"; done
get 2 /info -H 'X-Node: node3'
at_least "a request from the one to the other fails" 502 "$STATUS"
get 1 /info -H 'X-Node: node3'
expect 200 "one through node 1 does not"
in_a_row() { [ "$(tail -n 10 "$WATCHED" | grep -c ' 200 2/3 node3=')" = 10 ]; }
within 10 "it stays named" in_a_row
watched_fast "one list waits for it" 1 300 "$cut_at"
watched_fast "and for about a second" 0 1200 "$cut_at"
! ways_carry || fail "they reach each other: $(ways_told "$cut_at")"

healed=$(now_ms)
allow
whole_within 3000 "after the way is open" "$healed"
unwatch
watched_honest
same "lists that failed" 0 "$(watched_failed)"
