# The agents find each other without DNS, under a wrong name with one warning, and in a stack of any name without one
# kind: rough

# DNS is silent for the agent on node 3; another agent comes back under a new address.
in_agent_netns 3 iptables -t raw -I OUTPUT -d 127.0.0.11 -j DROP
old=$(agent_container 2)
kill_agent 2
within 30 "a new agent on node 2" new_agent 2 "$old"
within 20 "found without DNS" whole
in_agent_netns 3 iptables -t raw -C OUTPUT -d 127.0.0.11 -j DROP || fail "DNS was not silent for the agent on node 3"

restore() {
  [ "$STACK" = swarmgate ] || agents_remove
  STACK=swarmgate SERVICE=swarmgate_agent OVERLAY=swarmgate_agents
  agents_deploy && rolled
}
at_end restore
agents_deploy -c "$HERE/stacks/misled.yml"
rolled
within 30 "whole under a wrong name" whole
for node in "${NODES[@]}"; do
  warned() { [ "$(agent_log "$node" | grep -c 'AGENT_CLUSTER_ADDR leads to no agent.*tasks.nobody')" = 1 ]; }
  within 30 "the agent on node $node says so, once" warned
done

agents_remove
STACK=other SERVICE=other_agent OVERLAY=other_agents
sed '/^ *AGENT_CLUSTER_ADDR:/d' "$REPO/$COMPOSE" >"$CLIENT/nameless.yml"
COMPOSE=$CLIENT/nameless.yml agents_deploy
within 60 "whole in a stack of another name" whole
told() { engine 1 exec "$(agent_container 1)" /swarmgate check | awk '$1 == "AGENT_CLUSTER_ADDR" { print $NF }'; }
same "nobody told them a name" '(default)' "$(told)"
agents_remove
