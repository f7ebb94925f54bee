# The first key owns all agents; no restart, fresh volume or second key changes that; only a reset does
# kind: rough

agent_cli() { local node=$1; shift; engine "$node" exec "$(agent_container "$node")" /swarmgate "$@"; }
fingerprint() { echo "sha256:$(openssl pkey -in "$CLIENT/$1" -pubout -outform DER | sha256sum | awk '{ print $1 }')"; }
ours=$(fingerprint key.pem) theirs=$(fingerprint stranger.pem)
refused() { # refused AS NODE: in the words that Portainer looks for
  AS=$1 get "$2" /containers/json
  [ "$STATUS" = 403 ] && [[ $(field .message) == *'Invalid request signature'* ]]
}
let_in() { AS=$1 get "$2" /containers/json; [ "$STATUS" = 200 ]; }
for_all() { local node test=$1; for node in "${NODES[@]}"; do "$test" "$2" "$node" || return 1; done; }
restore() { agent_cli 1 association reset --key "$ours" && within 10 "ours again" for_all let_in signature; }
at_end restore

contains "association show names the owner" "$ours" "$(agent_cli 1 association show)"
for_all refused stranger || fail "a second key is refused everywhere: $STATUS $(body)"

# Everything that the agents themselves kept is gone; the stranger comes first.
agents_remove
agents_deploy
for node in "${NODES[@]}"; do within 60 "still refused on node $node, with a fresh volume" refused stranger "$node"; done
within 30 "and still open to the owner" whole

agent_cli 3 association reset >"$CLIENT/out" 2>&1 && status=0 || status=$?
same "a reset on a worker" 2 "$status"
contains "names the managers" "$NET.1:" "$(cat "$CLIENT/out")"

# A reset with another key ends what the old one opened, streams too.
engine 3 run -d --name owned busybox sleep 600 >/dev/null
at_end engine 3 rm -f owned
docker_at 1 node3 logs -f owned & stream=$!
agent_cli 1 association reset --key "$theirs"
within 5 "the other key is in" for_all let_in stranger
within 5 "the old one is out" for_all refused signature
within 5 "and its stream" gone "$stream"

# A reset with a new window: the first of two that ask at once gets it, and all agents agree on who it was.
window=$(agent_cli 2 association reset)
ends=$(sed -n 's/^ *window: *open until //p' <<<"$window")
contains "the reset says until when it is open" UTC "$ends"
left=$(($(ms_of "$ends") - $(now_ms)))
at_least "ms that are left of the README's hour" 3590000 $left
at_most "ms that are left of the README's hour" 3600000 $left
for_both() { let_in signature 1 || let_in stranger 1; }
(for _ in $(seq 20); do HEAD=$CLIENT/h1 BODY=$CLIENT/b1 let_in signature 1; done) &
(for _ in $(seq 20); do HEAD=$CLIENT/h2 BODY=$CLIENT/b2 let_in stranger 3; done) &
wait
within 10 "one of two is in" for_both
winner=signature loser=stranger
let_in signature 1 || winner=stranger loser=signature
within 5 "the one everywhere" for_all let_in $winner
within 5 "the other nowhere" for_all refused $loser
note "$winner won"
restore
