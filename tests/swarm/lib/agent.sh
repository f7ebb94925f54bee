# shellcheck shell=bash
# Our agents on the lab: the image, the stack, and what the engines themselves say about them.

STACK=swarmgate
SERVICE=${STACK}_agent
OVERLAY=${STACK}_agents
COMPOSE=docker-compose.agent.yml
BINARY=${SWARMGATE_BIN:-$REPO/target/x86_64-unknown-linux-musl/release/swarmgate}

# The image as released, from a binary that was built before: its own build stage would need base images.
agent_image() {
  local context=$LAB/image
  [ -x "$BINARY" ] || fail "no static binary at $BINARY; cargo build --release --target x86_64-unknown-linux-musl"
  rm -rf "$context" && mkdir -p "$context"
  cp "$BINARY" "$context/swarmgate"
  DOCKER_BUILDKIT=0 engine 1 build -q --target prebuilt -t swarmgate:latest -f "$REPO/Dockerfile" "$context" >"$LAB/build.log" 2>&1 ||
    fail "docker build: $(tail -n 5 "$LAB/build.log")"
  spread swarmgate:latest
}

# As the README says, to the letter; $@ may add `-c FILE` for a case that needs more.
agents_deploy() {
  engine 1 secret inspect swarmgate_cluster_secret >/dev/null 2>&1 ||
    openssl rand -hex 32 | engine 1 secret create swarmgate_cluster_secret - >/dev/null
  local said                                          # a file: what it says is shown as it comes, and read afterwards
  said=$(mktemp -p "$LAB")
  at_end "rm -f $said"
  (cd "$REPO" && engine 1 stack deploy -c "$COMPOSE" "$@" "$STACK" 2>&1) | tee "$said" || fail "docker stack deploy ended so"
  lacks "the engine takes all of the compose file" 'Ignoring unsupported options' "$(cat "$said")"
  [ "$(engine 1 service ls -q -f "name=$SERVICE" | wc -l)" = 1 ] || fail "the stack was not deployed"
}

# The update that a deployment began is over, on every node, and the agents are whole.
rolled() {
  until_true 3 update_is updating || true             # it begins a moment after the deployment; unless nothing changed
  within 90 "the update ends" update_has_ended
  within 60 "whole after the update" whole
}
update_is() { [ "$(engine 1 service inspect -f '{{with .UpdateStatus}}{{.State}}{{end}}' "$SERVICE")" = "$1" ]; }
update_has_ended() { ! update_is updating && ! update_is rollback_started; }

# The stack without its data: what stays is what the Swarm itself keeps.
agents_remove() {
  local node
  engine 1 stack rm "$STACK" >/dev/null
  for node in "${NODES[@]}"; do
    within 60 "the agent on node $node ends" no_agent "$node"
    within 60 "its data goes" engine "$node" volume rm -f "${STACK}_data"
  done
  within 60 "the overlay network goes" no_overlay
}
no_overlay() { [ -z "$(engine 1 network ls -q -f "name=$OVERLAY")" ]; }

agent_container() { engine "$1" ps -q --no-trunc -f "label=com.docker.swarm.service.name=$SERVICE" -f status=running | head -n 1; }
no_agent() { [ -z "$(engine "$1" ps -aq -f "label=com.docker.swarm.service.name=$SERVICE" -f status=running)" ]; }
agent_pid() { engine "$1" inspect -f '{{.State.Pid}}' "$(agent_container "$1")"; }
agent_started() { ms_of "$(engine "$1" inspect -f '{{.State.StartedAt}}' "$(agent_container "$1")")"; }
agent_address() { # its address on the shared overlay
  engine "$1" inspect -f "{{(index .NetworkSettings.Networks \"$OVERLAY\").IPAddress}}" "$(agent_container "$1")"
}
agent_log() { engine "$1" logs "$(agent_container "$1")" 2>&1; }
# Runs a program of this machine inside the network of the agent on node N.
in_agent_netns() { local pid; pid=$(agent_pid "$1"); shift; nsenter --target "$pid" --net "$@"; }
kill_agent() { kill -9 "$(agent_pid "$1")"; }
new_agent() { # new_agent NODE OLD_CONTAINER: another one has taken its place
  local now; now=$(agent_container "$1"); [ -n "$now" ] && [ "$now" != "$2" ]
}

node_id() { engine "$1" info -f '{{.Swarm.NodeID}}'; }
node_state() { engine 1 node inspect -f '{{.Status.State}}' "$1"; }
node_is() { [ "$(node_state "$1")" = "$2" ]; }

leader() { # the number of the node that leads, as a manager's engine says
  local id; id=$(engine 2 node ls -f role=manager --format '{{.ID}} {{.ManagerStatus}}' | awk '$2 == "Leader" { print $1 }')
  local node; for node in "${NODES[@]}"; do [ "$(node_id "$node")" != "$id" ] || echo "$node"; done
}
# settled: whole, with the same agents for ten seconds. After a loss of quorum the new leader may think a node down that
# is slow to register again, and then replaces its task.
settled() {
  local end=$((SECONDS + 90)) since=$SECONDS agents='' now node
  while [ $((SECONDS - since)) -lt 10 ]; do
    [ "$SECONDS" -lt "$end" ] || fail "the agents do not settle"
    now=$(for node in "${NODES[@]}"; do agent_container "$node"; done)
    if [ "$now" != "$agents" ] || ! whole; then agents=$now since=$SECONDS; fi
    sleep 0.5
  done
}

# Every agent answers for every node.
whole() { local node; for node in "${NODES[@]}"; do answers "$node" 3/3 || return 1; done; }
answers() { # answers NODE N/M: the list of the agent on NODE is that complete
  get "$1" '/containers/json?all=1' && [ "$STATUS" = 200 ] && [ "$(header X-Node-Answered)" = "$2" ]
}
missing() { # missing NODE "node3=down": the list of the agent on NODE names exactly these
  get "$1" /containers/json && [ "$(header X-Node-Errors)" = "$2" ]
}
absent() { # absent NODE node3: the list of the agent on NODE names that node, for whatever reason
  get "$1" /containers/json && case ";$(header X-Node-Errors)" in *";$2="*) ;; *) return 1 ;; esac
}
