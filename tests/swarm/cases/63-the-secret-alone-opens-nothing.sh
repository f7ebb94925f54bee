# A service that mounts the cluster secret, and even runs our own image, but is not our service gets nowhere
# kind: rough

at_end engine 1 service rm impostor
engine 1 service create -qd --no-resolve-image --name impostor --endpoint-mode dnsrr --network "name=$OVERLAY,alias=tasks.$SERVICE" \
  --secret swarmgate_cluster_secret --constraint node.hostname==node1 \
  --mount type=bind,source=/var/run/docker.sock,target=/var/run/docker.sock \
  --env AGENT_CLUSTER_SECRET_FILE=/run/secrets/swarmgate_cluster_secret --env "AGENT_CLUSTER_ADDR=tasks.$SERVICE" \
  --env "AGENT_PEERS=$(agent_address 2):9002,$(agent_address 3):9002" --env DATA_PATH=/tmp \
  --env AGENT_METRICS_ADDR=127.0.0.1:9100 swarmgate:latest >/dev/null
impostor() { engine 1 ps -q --no-trunc -f label=com.docker.swarm.service.name=impostor -f status=running; }
up() { [ -n "$(impostor)" ]; }
within 30 "it runs" up
pid=$(engine 1 inspect -f '{{.State.Pid}}' "$(impostor)")

in_impostor() { nsenter --target "$pid" --net "$@"; }
# Its list, from inside its own network: nobody answers but its own engine.
lonely() {
  seen=$(in_impostor curl -gsk --max-time 10 -H "@$CLIENT/signature" -D - -o /dev/null https://127.0.0.1:9001/containers/json | tr -d '\r')
  [[ $seen == *X-Node-Answered:\ 1/* || $seen == *x-node-answered:\ 1/* ]]
}
listens() { in_impostor timeout 1 bash -c "exec 3<>/dev/tcp/$address/9002"; }
address=$(engine 1 inspect -f "{{(index .NetworkSettings.Networks \"$OVERLAY\").IPAddress}}" "$(impostor)")
within 20 "it listens for our agents" listens
in_dns() { in_agent_netns 2 busybox nslookup "tasks.$SERVICE" 127.0.0.11 | grep -q "$address\$"; }
within 60 "the name server gives its address for ours" in_dns
attack_for_a_while
within 10 "nobody answers it" lonely
never_asked in_impostor curl -gs --max-time 10 http://127.0.0.1:9100/metrics

# Nor is it shown a certificate, whatever it has to offer.
for node in "${NODES[@]}"; do
  hello=$(in_impostor timeout 5 openssl s_client -connect "$(agent_address "$node"):9002" -tls1_3 </dev/null 2>&1 || true)
  contains "node $node closes before it says anything" 'read 0 bytes' "$hello"
done
whole || fail "the agents are no longer whole"
