# Who knows the cluster secret and speaks from an agent's address, but as another node, is told nothing and changes nothing
# kind: rough

# The worst there is: our own program with the right secret, on an address that Swarm listed for node 3's agent, whose
# engine says that it is node 1: the leader, by its NodeID, its host name and its certificate.
dead=$(agent_address 3)
attacker_up --network "$OVERLAY" --constraint node.hostname==node1
secret=$(cat "/proc/$(agent_pid 1)/root/run/secrets/swarmgate_cluster_secret")
kill "$LISTENER"                                      # its place on 9002 is the liar's
at_end tells 1 node update --availability active node3
tells 1 node update --availability drain node3
within 30 "the agent on node 3 is gone" no_agent 3
device=$(in_attacker ip -o addr show | awk -v at="$ATTACKER/" 'index($4, at) == 1 { print $2 }')
in_attacker ip addr add "$dead/24" dev "$device"
lie() { # lie ADDRESS: the liar speaks from there
  in_attacker ip route replace "${NET_OF_PEERS:=$(in_attacker ip -o route show dev "$device" | awk '{ print $1; exit }')}" dev "$device" src "$1"
}
lie "$dead"
DATA_PATH=$CLIENT/liar LOG_LEVEL=DEBUG DOCKER_HOST=unix://$LAB/n1/docker.sock AGENT_HOST=127.0.0.1 AGENT_PORT=9011 AGENT_CLUSTER_SECRET=$secret \
  AGENT_METRICS_ADDR=127.0.0.1:9100 \
  AGENT_PEERS="$(agent_address 1):9002,$(agent_address 2):9002" \
  nsenter --target "$(attacker_pid)" --net "$BINARY" >"$CLIENT/liar.log" 2>&1 & LIAR=$!
at_end "kill $LIAR"
listens() { in_attacker timeout 1 bash -c "exec 3<>/dev/tcp/$dead/9002"; }
within 20 "the liar listens where node 3's agent did" listens
takes_it() {
  in_attacker busybox arping -U -c 1 -w 1 -I "$device" "$dead" || true
  in_agent_netns 1 timeout 1 bash -c "exec 3<>/dev/tcp/$dead/9002"
}
within 30 "and our agents find it there" takes_it
attack_for_a_while 2/3
for entry in 1 2; do
  get "$entry" '/containers/json?all=1'
  same "nobody but node 3 is missing, through node $entry" node3=drained "$(header X-Node-Errors)"
  get "$entry" /agents
  same "the roles are Swarm's" 'node1=manager node2=manager' "$(field '[.[] | .NodeName + "=" + .NodeRole] | sort | join(" ")')"
done
# It called, and was hung up on: while Swarm still has node 3 at its address, for naming another node; then at once.
hung_up() { agent_log 1 | grep "connection closed remote=$dead " | grep -E 'names another node than Swarm has|no agent of this service has its address'; }
within 10 "the agent beside it hangs up" hung_up
# So only its own engine answers it.
seen=$(in_attacker curl -gsk --max-time 10 -H "@$CLIENT/signature" -D - -o /dev/null https://127.0.0.1:9011/containers/json | tr -d '\r')
contains "no other node answers it" 'x-node-answered: 1/' "${seen,,}"
never_asked in_attacker curl -gs --max-time 10 http://127.0.0.1:9100/metrics
kill -0 "$LIAR" || fail "the liar ended: nothing was proved: $(tail -n 3 "$CLIENT/liar.log")"
in_attacker ip addr del "$dead/24" dev "$device"
tells 1 node update --availability active node3
within 60 "the real one is back" whole
