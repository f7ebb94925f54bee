# Without a cluster secret the agents find each other by their service, warn of it once, and open to nobody else
# kind: rough

fingerprint() { echo "sha256:$(openssl pkey -in "$CLIENT/key.pem" -pubout -outform DER | sha256sum | awk '{ print $1 }')"; }
# The record of the owner is proved by the secret, or else by the service: under another one it has to be made anew.
ours_again() { engine 1 exec "$(agent_container 1)" /swarmgate association reset --key "$(fingerprint)"; }
restore() {
  engine 1 service rm attacker || true
  within 30 "no attacker is left" attacker_gone
  agents_remove
  agents_deploy
  within 60 "an agent runs on node 1" agent_runs 1
  within 30 "its key is the owner's" ours_again
  within 60 "whole with the secret" whole
}
agent_runs() { [ -n "$(agent_container "$1")" ]; }
at_end restore

sed -e '/AGENT_CLUSTER_SECRET_FILE/d' -e '/^    secrets:/,/^    ports:/{/^    ports:/!d}' -e '/^secrets:/,$d' \
  "$REPO/$COMPOSE" >"$CLIENT/no-secret.yml"
agents_remove
COMPOSE=$CLIENT/no-secret.yml agents_deploy
same "it has no secret" null "$(engine 1 service inspect "$SERVICE" | jq -c '.[0].Spec.TaskTemplate.ContainerSpec.Secrets')"
within 60 "an agent runs on node 1" agent_runs 1
within 30 "the owner is named anew" ours_again
within 60 "whole, through each of them" whole

for node in "${NODES[@]}"; do
  warnings=$(agent_log "$node" | grep 'no AGENT_CLUSTER_SECRET' || true)
  same "how often the agent on node $node warns" 1 "$(grep -c WARN <<<"$warnings")"
  contains "and it names the remedy" 'create the secret as the README says' "$warnings"
done
engine 3 run -d --name unsecured busybox sleep 600 >/dev/null
at_end engine 3 rm -f unsecured
same "exec through another agent" 'hello from there' "$(docker_at 1 node3 exec unsecured echo hello from there)"

attacker_up --network "name=$OVERLAY,alias=tasks.$SERVICE" --constraint node.hostname==node1
in_dns() { in_agent_netns 2 busybox nslookup "tasks.$SERVICE" 127.0.0.11 | grep -q "$ATTACKER\$"; }
within 60 "the name server gives its address for ours" in_dns
attack_for_a_while
attacker_silent

restore
for node in "${NODES[@]}"; do lacks "no warning on node $node" 'no AGENT_CLUSTER_SECRET' "$(agent_log "$node")"; done
