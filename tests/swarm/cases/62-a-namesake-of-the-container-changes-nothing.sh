# A container named like the agent's host name is not taken for the agent's own
# kind: rough

at_end tells 1 service update -d --hostname "''" "$SERVICE"
for node in "${NODES[@]}"; do
  engine "$node" run -d --name "agent-node$node" --label com.docker.swarm.service.id=stranger \
    --label com.docker.swarm.service.name=stranger --label com.docker.swarm.node.id=stranger \
    --label com.docker.swarm.task.id=stranger busybox sleep 600 >/dev/null
  at_end engine "$node" rm -f "agent-node$node"
done
tells 1 service update -d --hostname 'agent-{{.Node.Hostname}}' "$SERVICE"
renamed() { [ "$(engine "$1" inspect -f '{{.Config.Hostname}}' "$(agent_container "$1")")" = "agent-node$1" ]; }
for node in "${NODES[@]}"; do within 120 "the agent on node $node has that host name" renamed "$node"; done
within 30 "whole all the same" whole
for node in "${NODES[@]}"; do
  get "$node" '/containers/json?all=1'
  same "names of the nodes" "node1 node2 node3" "$(field '[.[].Portainer.Agent.NodeName] | unique | join(" ")')"
done
tells 1 service update -d --hostname '' "$SERVICE"
plain() { ! renamed "$1" && [ -n "$(agent_container "$1")" ]; }
for node in "${NODES[@]}"; do within 120 "the agent on node $node has its own host name again" plain "$node"; done
