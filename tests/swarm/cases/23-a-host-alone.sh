# An engine outside of any Swarm: all is its own and undecorated, and the first key owns it through every restart

at_end node_down 4
start_engine 4
engine 1 save swarmgate:latest busybox:latest | engine 4 load -q >/dev/null
# The README's line.
engine 4 run -d --name swarmgate --restart always -p "$PORT:9001" --read-only \
  --cap-drop ALL --cap-add CHOWN --cap-add DAC_OVERRIDE --cap-add FOWNER \
  -v /var/run/docker.sock:/var/run/docker.sock -v /var/lib/docker/volumes:/var/lib/docker/volumes \
  -v swarmgate_data:/data swarmgate:latest >/dev/null
let_in() { AS=$1 get 4 /version && [ "$STATUS" = 200 ]; }
refused() { AS=$1 get 4 /version && [ "$STATUS" = 403 ]; }
within 20 "the first key is let in" let_in signature
refused stranger || fail "a second key: $STATUS"

get 4 /version
same "an answer is the engine's, byte for byte" "$(raw 4 /version)" "$(body)"
get 4 /containers/json
steady() { jq -S 'map(del(.Status)) | walk(if type == "array" then sort else . end)'; } # what is alike from call to call
same "a list is the engine's" "$(raw 4 /containers/json | steady)" "$(steady <"$BODY")"
same "and says nothing of nodes" '' "$(header X-Node-Answered)$(header X-Node-Errors)"
get 4 /nodes
same "Swarm's routes say what the engine says" "503 $(raw 4 /nodes | jq -r .message)" "$STATUS $(field .message)"
unsigned GET 4 /ping
same "Portainer takes it for a Docker host" 1 "$(header Portainer-Agent-Platform)"
same "docker works through it" hello "$(docker_at 4 - run --rm busybox echo hello)"

stop_engine 4
start_engine 4
within 30 "after a restart of the engine the owner is let in" let_in signature
refused stranger || fail "a second key after a restart: $STATUS"

# It becomes a Swarm of one, and a host alone again, and belongs to whom it belonged all along.
post 4 /swarm/init "{\"ListenAddr\":\"0.0.0.0:2377\",\"AdvertiseAddr\":\"$NET.4\"}"
expect 200 "a Swarm is begun through the agent"
answered() { get 4 /containers/json && [ "$STATUS" = 200 ] && [ "$(header X-Node-Answered)" = "$1" ]; }
within 20 "a Swarm of one" answered 1/1
refused stranger || fail "a second key in the new Swarm: $STATUS"
docker_at 4 - node ls
post 4 '/swarm/leave?force=true' ''
expect 200 "the Swarm is left through the agent"
within 30 "a host alone" answered ''
refused stranger || fail "a second key after the Swarm was left: $STATUS"
