# shellcheck shell=bash
# The ways between agents over the overlay network, tried one after the other while something happens. Engines tell each
# other of a container in their own time, pair by pair, and after all agents were gone some take most of a minute. No
# agent can do anything about that, so what is asked of them counts from when the network has carried without a break.

# watch_ways 'FROM TO'...: between the agents that run now; unwatch_ways ends it. The file $WAYS has a line for each try
# of all of them: when it began and ended (ms), and `up` or the first way that was not.
watch_ways() {
  local pair from to pids=() addresses=()
  for pair in "$@"; do
    read -r from to <<<"$pair"
    pids+=("$(agent_pid "$from")") addresses+=("$(agent_address "$to")")
  done
  WAYS=$CLIENT/ways
  : >"$WAYS"
  try_ways "$@" >"$WAYS" & WAYS_WATCHER=$!
  at_end "kill $WAYS_WATCHER"
}
unwatch_ways() { kill "$WAYS_WATCHER"; wait "$WAYS_WATCHER" 2>/dev/null || true; }
try_ways() {
  local began i seen
  local pairs=("$@")
  while :; do
    began=$(now_ms) seen=up
    for i in "${!pairs[@]}"; do
      carries "${pids[i]}" "${addresses[i]}" || { seen=${pairs[i]/ />}; break; }
    done
    echo "$began $(now_ms) $seen"
    sleep 0.05
  done
}
# Asks a port that nobody listens on, so that no agent notices: who refuses is reached.
carries() {
  local said
  said=$(nsenter --target "$1" --net timeout 0.3 bash -c "exec 3<>/dev/tcp/$2/9" 2>&1) || [[ $said == *refused* ]]
}
# carried_since: when the last unbroken run of `up` was seen to begin (ms), or nothing. If that was the first try of all,
# they may have carried all along, and $1 is when that would be.
carried_since() {
  awk -v first="$1" '$3 == "up" { if (!run) run = NR == 1 ? first : $2; next } { run = "" } END { print run }' "$WAYS"
}
ways_carry() { [ -n "$(carried_since 0)" ]; }
# ways_told MS: every change, in ms after that time.
ways_told() {
  awk -v from="$1" '$3 != last { told = told sprintf("%s%s %+d", told ? ", " : "", $3 == "up" ? "up" : "no way " $3, $2 - from); last = $3 }
    END { print told ? told : "never tried" }' "$WAYS"
}

# whole_within MS CLAIM SINCE: the agents are whole at most MS after SINCE, or after the watched ways carry. Ends the watch
# and notes what happened, in ms after SINCE.
whole_within() {
  local limit=$1 claim=$2 since=$3 carried done_at
  until whole; do
    carried=$(carried_since "$since") done_at=$(now_ms)
    if [ -n "$carried" ] && [ $((done_at - carried)) -gt "$limit" ]; then
      unwatch_ways
      fail "$claim: not whole $((done_at - carried)) ms after the network carried; ways: $(ways_told "$since"); $(last_answer)"
    fi
    [ $((done_at - since)) -lt 90000 ] || fail "the network does not carry in 90 s; ways: $(ways_told "$since")"
  done
  done_at=$(now_ms)
  carried=$(carried_since "$since")                   # nothing: whole before they were seen to carry
  [ -s "$WAYS" ] || carried=$since                    # nor tried yet
  within 10 "$claim: whole, so the ways carry" ways_carry
  unwatch_ways
  note "$claim: whole at +$((done_at - since)) ms, of which the network took $((${carried:-$done_at} - since)); ways: $(ways_told "$since")"
  at_most "$claim: ms until whole" "$limit" $((done_at - ${carried:-$done_at}))
}
