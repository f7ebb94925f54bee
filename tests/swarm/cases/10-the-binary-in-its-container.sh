# The agent answers for itself: ping, health, check, and a second one on the same data directory does not start

for node in "${NODES[@]}"; do
  unsigned GET "$node" /ping
  expect 204 "/ping is open"
  same "Portainer-Agent-Platform" 1 "$(header Portainer-Agent-Platform)"
  contains "Portainer-Agent is a version" . "$(header Portainer-Agent)"
  unsigned GET "$node" /containers/json
  expect 403 "nothing else is open"
  same "the error is JSON" application/json "$(header Content-Type)"
  engine "$node" exec "$(agent_container "$node")" /swarmgate health || fail "swarmgate health on node $node"
done

# As little as it needs, as the compose file says.
read -r readonly health <<<"$(engine 1 inspect -f '{{.HostConfig.ReadonlyRootfs}} {{json .State.Health}}' "$(agent_container 1)")"
same "its root is read-only" true "$readonly"
same "nothing checks its health from outside" null "$health"
same "its capabilities: CHOWN, DAC_OVERRIDE, FOWNER" 000000000000000b "$(awk '/^CapEff/ { print $2 }' "/proc/$(agent_pid 1)/status")"

# The image is one file; the rest of the list is what Docker puts into every container.
engine 1 create --name empty swarmgate:latest >/dev/null
at_end engine 1 rm empty
same "all that the image contains" swarmgate "$(engine 1 export empty | tar t |
  grep -vxE '\.dockerenv|dev/(console|pts/|shm/)?|etc/(hostname|hosts|mtab|resolv\.conf)?|proc/|sys/' | paste -sd ' ')"

shown=$(engine 1 exec "$(agent_container 1)" /swarmgate check)
contains "check prints the effective configuration" tasks.swarmgate_agent "$shown"
contains "and who owns the agents" 'association: ' "$shown"
same "the window is the README's one hour" 1h "$(awk '$1 == "AGENT_SECRET_TIMEOUT" { print $2 }' <<<"$shown")"
secret=$(cat "/proc/$(agent_pid 1)/root/run/secrets/swarmgate_cluster_secret")
at_least "length of the secret that was given" 64 "${#secret}"
lacks "check masks secrets" "$secret" "$shown"

engine 1 run --name second -v swarmgate_data:/data -v /var/run/docker.sock:/var/run/docker.sock swarmgate:latest \
  >/tmp/second.$$ 2>&1 && status=0 || status=$?
at_end "rm -f /tmp/second.$$; engine 1 rm -f second"
same "a second agent on one data directory exits" 1 "$status"
contains "and names the directory" /data "$(cat /tmp/second.$$)"
