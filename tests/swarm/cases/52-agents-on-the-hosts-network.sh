# A service on its hosts' own network: Swarm cannot say where its agents are, so AGENT_PEERS and the cluster secret do
# kind: rough

at_end engine 1 service rm hosted
engine 1 service create -qd --no-resolve-image --name hosted --mode global --network host --secret swarmgate_cluster_secret \
  --mount type=bind,source=/var/run/docker.sock,target=/var/run/docker.sock \
  --env DATA_PATH=/tmp --env AGENT_PORT=9021 --env AGENT_PEER_PORT=9022 \
  --env AGENT_CLUSTER_SECRET_FILE=/run/secrets/swarmgate_cluster_secret \
  --env "AGENT_PEERS=$NET.1:9022,$NET.2:9022,$NET.3:9022" swarmgate:latest >/dev/null
PORT=9021
within 60 "whole, through each of them" whole
get 3 /agents
same "they are known by Swarm's names and roles" 'node1=manager node2=manager node3=worker' \
  "$(field '[.[] | .NodeName + "=" + .NodeRole] | sort | join(" ")')"
hosted() { engine "$1" ps -q --no-trunc -f label=com.docker.swarm.service.name=hosted -f status=running; }
for node in "${NODES[@]}"; do
  same "the one on node $node says what it goes by, once" 1 \
    "$(engine "$node" logs "$(hosted "$node")" 2>&1 | grep -c 'share no overlay network, so Swarm cannot say where they are')"
done
