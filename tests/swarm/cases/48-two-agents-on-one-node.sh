# Two agents of one service on one node: the node's containers are listed once, and both say who is missing
# kind: rough

engine 1 network create -d overlay twins >/dev/null
cleared() { engine 1 service rm twins; within 30 "the twins end" no_twins; within 30 "their network goes" engine 1 network rm twins; }
no_twins() { [ -z "$(twins)" ]; }
at_end cleared
engine 1 service create -qd --no-resolve-image --name twins --endpoint-mode dnsrr --network twins --replicas 2 \
  --constraint node.hostname==node1 --secret swarmgate_cluster_secret \
  --mount type=bind,source=/var/run/docker.sock,target=/var/run/docker.sock \
  --env DATA_PATH=/tmp --env AGENT_CLUSTER_SECRET_FILE=/run/secrets/swarmgate_cluster_secret swarmgate:latest >/dev/null
twins() { engine 1 ps -q --no-trunc -f label=com.docker.swarm.service.name=twins -f status=running; }
both_run() { [ "$(twins | wc -l)" = 2 ]; }
within 30 "both run" both_run

# They publish no port: each is asked from inside its own network.
list_of() { # list_of CONTAINER: its ids, and the line of X-Node-Answered and X-Node-Errors
  nsenter --target "$(engine 1 inspect -f '{{.State.Pid}}' "$1")" --net curl -gsk --max-time 10 -H "@$CLIENT/signature" \
    -D "$CLIENT/twin.head" -o "$CLIENT/twin.body" "https://127.0.0.1:9001$2"
  seen=$(tr -d '\r' <"$CLIENT/twin.head" | awk 'tolower($1) ~ /^x-node-(answered|errors):$/ { print $2 }' | sort | paste -sd ' ')
}
named() { list_of "$1" '/containers/json?all=1' && [ "$seen" = '1/3 node2=no-agent;node3=no-agent' ]; }
for twin in $(twins); do
  within 20 "a twin names the nodes without an agent" named "$twin"
  same "and lists each container once" "$(raw 1 '/containers/json?all=1' | jq -r '[.[].Id] | sort | join(" ")')" \
    "$(jq -r '[.[].Id] | sort | join(" ")' "$CLIENT/twin.body")"
  list_of "$twin" /agents
  same "and knows one agent of this node" node1 "$(jq -r '[.[].NodeName] | join(" ")' "$CLIENT/twin.body")"
done
