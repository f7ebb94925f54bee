# One Portainer life through each agent, in the server's own order: creation, snapshot, dashboard, a container's page,
# console, volume browser, stack, removal

for node in "${NODES[@]}"; do
  engine "$node" run -d --name "life$node" busybox sh -c 'while sleep 1; do :; done' >/dev/null
  at_end engine "$node" rm -f "life$node"
done

life() { # life ENTRY TARGET: an environment at the agent of ENTRY, whose user works on TARGET
  local entry=$1 target=$2 id name exec

  # Creation: the unsigned ping, twice; then the Docker client of the server.
  for _ in 1 2; do
    unsigned GET "$entry" /ping
    expect 204 "the unsigned ping"
    same "which says that an agent is here" "2.23.0 2 1" \
      "$(header Portainer-Agent) $(header Portainer-Agent-API-Version) $(header Portainer-Agent-Platform)"
    same "and nothing else" 0 "$(body | wc -c)"
  done
  for _ in 1 2; do
    server HEAD "$entry" /_ping
    expect 200 "the signed ping of the engine"
    at_least "its API version" 40 "$(header Api-Version | cut -d. -f2)"
  done

  # Snapshot: every running container of every node is inspected, and no node is named.
  server GET "$entry" /v1.41/info
  same "the snapshot is one of a Swarm" true "$(field .Swarm.ControlAvailable)"
  same "with the Swarm's id, for the volumes" "$(engine 1 info -f '{{.Swarm.Cluster.ID}}')" "$(field .Swarm.Cluster.ID)"
  server GET "$entry" /v1.41/services; expect 200 services
  server GET "$entry" /v1.41/nodes; same "nodes" 3 "$(field length)"
  server GET "$entry" '/v1.41/containers/json?all=1'
  expect 200 containers
  local ids; ids=$(field '.[] | select(.State == "running") | .Id + " " + .Portainer.Agent.NodeName')
  at_least "running containers" 6 "$(wc -l <<<"$ids")"
  while read -r id name; do
    server GET "$entry" "/v1.41/containers/$id/json"
    # One that a case beside this one has removed since is gone from its engine too.
    if [ "$STATUS" = 404 ] && ! engine "${name#node}" inspect "$id" >/dev/null 2>&1; then continue; fi
    expect 200 "an inspection without a node"
    same "is answered by the owner" "$name" "$(header X-Node)"
    same "with the container" "$id" "$(field .Id)"
    same "undecorated" null "$(field .Portainer)"
  done <<<"$ids"
  server GET "$entry" /v1.41/containers/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/json
  expect 404 "an unknown container"
  contains "in Docker's words" 'No such container' "$(field .message)"
  for name in images/json volumes networks version; do server GET "$entry" "/v1.41/$name"; expect 200 "$name"; done

  # Dashboard: what the browser asks when it enters.
  ui GET "$entry" /version; expect 200 version
  ui GET "$entry" /_ping; expect 200 _ping
  ui GET "$entry" /ping; expect 204 "the signed ping"
  ui GET "$entry" /v2/agents
  same "all agents with their roles" 'node1 manager|node2 manager|node3 worker' \
    "$(field '[.[] | .NodeName + " " + .NodeRole] | sort | join("|")')"
  ui GET "$entry" /networks -H "$(on "$target")"
  same "networks of all nodes, each of a node that is an agent's" 'node1 node2 node3' \
    "$(field '[.[].Portainer.Agent.NodeName] | unique | join(" ")')"
  ui GET "$entry" '/volumes?filters=%7B%22dangling%22:[%22true%22]%7D'
  same "volumes are an array" array "$(field '.Volumes | type')"

  # A container's page, on a node that is not the entry.
  ui POST "$entry" "/containers/create?name=life-$entry" -H "$(on "$target")" -H 'Content-Type: application/json' \
    -d '{"Image":"busybox:latest","Cmd":["sh"],"Tty":true,"OpenStdin":true,"Labels":{"of":"life"}}'
  expect 201 "a container is created"
  id=$(field .Id)
  at_end engine "${target#node}" rm -f "$id"
  ui POST "$entry" "/containers/$id/start" -H "$(on "$target")"; expect 204 "and started"
  for name in json 'logs?stderr=1&stdout=1&tail=100' top 'stats?stream=false'; do
    ui GET "$entry" "/containers/$id/$name" -H "$(on "$target")"; expect 200 "its $name"
    same "of its node" "$target" "$(header X-Node)"
  done

  # Console: exec and attach.
  ui POST "$entry" "/containers/$id/exec" -H "$(on "$target")" -H 'Content-Type: application/json' \
    -d '{"AttachStdin":true,"AttachStdout":true,"AttachStderr":true,"Tty":true,"Cmd":["sh"]}'
  expect 201 "an exec is made"
  exec=$(field .Id)
  printf 'echo $((6*7))-ä\nexit\n' | console "$entry" "/websocket/exec?endpointId=1&id=$exec&nodeName=$target" \
    --header "$(on "$target")" >"$CLIENT/screen" || fail "the console's end: $(cat "$CLIENT/screen")"
  contains "the console's screen" '42-ä' "$(cat "$CLIENT/screen")"
  printf 'echo $((6*7))\nexit\n' | console "$entry" "/websocket/attach?endpointId=1&id=$id&nodeName=$target" \
    --header "$(on "$target")" >"$CLIENT/screen" || fail "the attached console's end: $(cat "$CLIENT/screen")"
  contains "the attached console's screen" 42 "$(cat "$CLIENT/screen")"
  for name in "id=$exec nope 404" "id=xyz $target 400" "id= $target 400"; do
    read -r name node status <<<"$name"
    ui GET "$entry" "/websocket/exec?$name" -H "$(on "$node")" -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
      -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
    expect "$status" "a console with $name on $node"
  done

  # Volume browser.
  ui POST "$entry" /volumes/create -H "$(on "$target")" -H 'Content-Type: application/json' -d "{\"Name\":\"life-$entry\"}"
  expect 201 "a volume is created"
  at_end engine "${target#node}" volume rm -f "life-$entry"
  browse() { ui "$1" "$entry" "/v2/browse/$2" -H "$(on "$target")" "${@:3}"; }
  head -c 3000000 /dev/urandom >"$CLIENT/upload.bin"
  browse POST "put?volumeID=life-$entry" -F "file=@$CLIENT/upload.bin;filename=a.bin" -F Path=/dir
  expect 204 "an upload"
  browse GET "ls?volumeID=life-$entry&path=/dir"
  same "its directory" '[{"Dir":false,"Name":"a.bin","Size":3000000}]' "$(jq -Sc 'map(del(.ModTime))' "$BODY")"
  browse GET "get?volumeID=life-$entry&path=/dir/a.bin"
  expect 200 "a download"
  cmp -s "$BODY" "$CLIENT/upload.bin" || fail "what was uploaded comes back"
  head -c 100 /dev/urandom >"$CLIENT/upload.bin"
  browse POST "put?volumeID=life-$entry" -F "file=@$CLIENT/upload.bin;filename=a.bin" -F Path=/dir
  browse GET "get?volumeID=life-$entry&path=dir/a.bin"
  cmp -s "$BODY" "$CLIENT/upload.bin" || fail "a shorter file replaces a longer one whole"
  browse PUT "rename?volumeID=life-$entry" -H 'Content-Type: application/json' \
    -d '{"CurrentFilePath":"/dir/a.bin","NewFilePath":"/dir/b.bin"}'
  expect 204 "a rename"
  browse DELETE "delete?volumeID=life-$entry&path=/dir/b.bin"; expect 204 "a deletion"
  browse GET "ls?volumeID=life-$entry&path=/dir"; same "nothing is left" '[]' "$(jq -c . "$BODY")"
  browse GET "ls?volumeID=${STACK}_data&path=/"; expect 403 "the agents' own volume"
  browse GET "ls?path=/host"; expect 403 "the host, which nobody allowed"
  ui GET "$entry" /v2/host/info -H "$(on "$target")"
  expect 200 "host info"
  same "disks are an array" array "$(field '.PhysicalDisks | type')"

  # A stack, by the server's docker CLI.
  cat >"$CLIENT/life.yml" <<'YML'
version: "3.8"
services:
  web: { image: "busybox:latest", command: sleep 600, networks: [net], deploy: { endpoint_mode: dnsrr } }
networks:
  net: { driver: overlay }
YML
  at_end engine 1 stack rm "life$entry"
  docker_at "$entry" manager stack deploy -c "$CLIENT/life.yml" --resolve-image never "life$entry" || fail "stack deploy"
  replicas() { [ "$(docker_at "$entry" manager stack services "life$entry" --format '{{.Replicas}}')" = 1/1 ]; }
  within 60 "the stack runs" replicas
  ui GET "$entry" '/containers/json?all=true' -H "$(on "$target")"
  same "its container is in the list" 1 "$(field "[.[] | select(.Labels[\"com.docker.stack.namespace\"] == \"life$entry\")] | length")"

  # Removal.
  docker_at "$entry" manager stack rm "life$entry" >/dev/null
  gone_all() { [ -z "$(engine 1 network ls -q -f "name=life${entry}_net")" ]; }
  within 60 "the stack goes" gone_all
  ui DELETE "$entry" "/containers/$id?force=1&v=1" -H "$(on "$target")"; expect 204 "the container goes"
  ui DELETE "$entry" "/volumes/life-$entry" -H "$(on "$target")"; expect 204 "the volume goes"
}
life 1 node3
life 3 node2
life 2 node2
