# Agents that no Swarm service runs find each other by a DNS name, and trust each other by the cluster secret alone
# kind: rough

engine 1 network create -d overlay --attachable loose >/dev/null
cleared() {
  local node; for node in "${NODES[@]}"; do engine "$node" rm -f "loose$node"; done
  within 30 "the network goes" engine 1 network rm loose
}
at_end cleared
secret=$(cat "/proc/$(agent_pid 1)/root/run/secrets/swarmgate_cluster_secret")   # the record of their owner is proved by it
start() { # start NODE SECRET
  engine "$1" run -d --name "loose$1" --network loose --network-alias agents -p 9011:9001 \
    -v /var/run/docker.sock:/var/run/docker.sock -e DATA_PATH=/tmp -e AGENT_CLUSTER_ADDR=agents -e "AGENT_CLUSTER_SECRET=$2" swarmgate:latest >/dev/null
}
for node in "${NODES[@]}"; do start "$node" "$secret"; done
PORT=9011
within 60 "whole, through each of them" whole
get 3 /agents
same "they are known by Swarm's names and roles" 'node1=manager node2=manager node3=worker' \
  "$(field '[.[] | .NodeName + "=" + .NodeRole] | sort | join(" ")')"

# The name alone gives nothing. Nobody can say whose the address is, so the log names it, on both sides.
engine 3 rm -f loose3 >/dev/null
start 3 "what somebody else proves to somebody else"
address() { engine "$1" inspect -f '{{.NetworkSettings.Networks.loose.IPAddress}}' "loose$1"; }
refuses() { engine "$1" logs "loose$1" 2>&1 | grep 'peer refused' | grep -qF "$(address "$2"):9002"; }
for other in 1 2; do
  within 30 "node $other refuses the one on node 3" refuses "$other" 3
  within 30 "and is refused by it" refuses 3 "$other"
  within 10 "and it is missing from the lists" missing "$other" node3=no-agent
done
