# shellcheck shell=bash
# An attacker on our overlay network: a service of its own, since nothing else can join, whose container holds the
# network identity, while this machine's tools act from inside it. It listens on 9002 with TLS and writes down what
# arrives, and it dials our agents. Where it is our own program, its own figures say what it was asked.

# attacker_up [options of `docker service create`]: sets ATTACKER, its address on our overlay network.
attacker_up() {
  within 30 "no attacker is left from before" attacker_gone
  at_end engine 1 service rm attacker
  engine 1 service create -qd --no-resolve-image --name attacker --endpoint-mode dnsrr --stop-grace-period 1s "$@" busybox sleep 3600 >/dev/null
  within 30 "the attacker runs" attacker_found
  ATTACKER=$(engine 1 inspect -f "{{(index .NetworkSettings.Networks \"$OVERLAY\").IPAddress}}" "$(attacker_container)")
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj "/CN=$(node_id 3).peer.swarmgate.internal" \
    -addext "subjectAltName=DNS:$(node_id 3).peer.swarmgate.internal" -keyout "$CLIENT/attacker.key" -out "$CLIENT/attacker.crt" 2>/dev/null
  HEARD=$CLIENT/heard
  # A stdin that never ends: openssl hangs up on its clients when it does.
  rm -f "$CLIENT/stdin" && mkfifo "$CLIENT/stdin"
  nsenter --target "$(attacker_pid)" --net openssl s_server -accept 9002 -cert "$CLIENT/attacker.crt" \
    -key "$CLIENT/attacker.key" -verify 1 -quiet -naccept 1000 >"$HEARD" 2>/dev/null <>"$CLIENT/stdin" & LISTENER=$!
  at_end "kill $LISTENER"
  listens() { in_attacker timeout 1 bash -c 'exec 3<>/dev/tcp/127.0.0.1/9002'; }
  within 5 "the attacker listens" listens
  prove_hearing
}
# What it would hear, it writes down: one line over TLS, as a request of our agents would come.
CONTROL='a line that the attacker must hear'
heard() { tr -d '\0' <"$HEARD"; }
prove_hearing() {
  local dialler
  nsenter --target "$(attacker_pid)" --net openssl s_client -connect 127.0.0.1:9002 -quiet <<<"$CONTROL" >/dev/null 2>&1 & dialler=$!
  at_end "kill $dialler"
  heard_control() { [ "$(heard)" = "$CONTROL" ]; }
  within 10 "the attacker writes down what it hears" heard_control
  kill "$dialler"                                     # it stays until then, and the attacker hears one at a time
}
attacker_container() { engine 1 ps -q --no-trunc -f label=com.docker.swarm.service.name=attacker -f status=running | head -n 1; }
attacker_found() { [ -n "$(attacker_container)" ]; }
attacker_gone() { ! attacker_found; }
attacker_pid() { engine 1 inspect -f '{{.State.Pid}}' "$(attacker_container)"; }
in_attacker() { nsenter --target "$(attacker_pid)" --net "$@"; }

# attack_for_a_while [N/M]: ten seconds in which discovery runs several times. Every list stays what it was.
attack_for_a_while() {
  local end=$((SECONDS + 10)) complete=${1:-3/3} node
  while [ "$SECONDS" -lt "$end" ]; do
    for node in "${NODES[@]}"; do
      [ "$node" != 3 ] || [ "$complete" = 3/3 ] || continue
      get "$node" '/containers/json?all=1'
      expect 200 "a list through node $node under attack"
      same "a list under attack is complete" "$complete" "$(header X-Node-Answered)"
      lacks "nobody else is listed" stranger "$(field '[.[].Portainer.Agent.NodeName] | unique | join(" ")')"
    done
    sleep 0.5
  done
}

# attacker_silent: no byte of HTTP came to it, and none comes back when it dials our agents. AT: it speaks from this
# address, which Swarm had listed for one of ours: the handshake begins, and only the agent on its own node can answer.
attacker_silent() {
  local node answer
  kill -0 "$LISTENER" || fail "the attacker's listener ended: nothing was proved"
  same "what the attacker heard, besides our own line" "$CONTROL" "$(heard)"
  for node in "${NODES[@]}"; do
    [ -z "${AT:-}" ] || [ "$node" = 1 ] || continue
    answer=$(printf 'GET /containers/json HTTP/1.1\r\nHost: docker\r\n\r\n' |
      in_attacker timeout 5 openssl s_client -connect "$(agent_address "$node"):9002" -bind "${AT:-$ATTACKER}" \
        -cert "$CLIENT/attacker.crt" -key "$CLIENT/attacker.key" -tls1_3 -ign_eof 2>&1 || true)
    contains "the attacker reaches the port of node $node" CONNECTED "$answer"
    [ -n "${AT:-}" ] || contains "which closes before it says anything" 'read 0 bytes' "$answer"
    lacks "and gives no HTTP" 'HTTP/1' "$answer"
  done
}

# Requests that came in at one of its listeners, by the figures of a program of ours in the text on stdin.
came_in() { awk -v at="listener=\"$1\"" '/^swarmgate_requests_total/ && index($1, at) { sum += $2; seen = 1 } END { print seen ? sum : "no figure" }'; }
# never_asked FETCH...: that command prints the figures of one who pretends to be one of our agents. Clients have asked it,
# and it counts them; no agent has.
never_asked() {
  local figures node
  figures=$("$@")
  at_least "clients' requests that it counted" 1 "$(came_in public <<<"$figures")"
  same "requests of our agents that it counted" 0 "$(came_in peers <<<"$figures")"
  for node in "${NODES[@]:0:2}"; do
    get "$node" /metrics
    at_least "what our own agents ask each other is counted so, on node $node" 1 "$(came_in peers <"$BODY")"
  done
}
