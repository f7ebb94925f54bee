# Containers, images, volumes and networks are the same through every agent, and are what the engines say

for node in "${NODES[@]}"; do
  engine "$node" volume create same-name >/dev/null
  engine "$node" volume create "only-$node" >/dev/null
  engine "$node" network create "local-$node" >/dev/null
  engine "$node" create --name "stopped-$node" busybox true >/dev/null
  at_end "engine $node rm stopped-$node; engine $node volume rm same-name only-$node; engine $node network rm local-$node"
done

path_of() { case $1 in containers) echo '/v1.41/containers/json?all=1' ;; images) echo /v1.41/images/json ;; *) echo "/v1.41/$1" ;; esac; }
# Each element as the engines give it, with its node in front. The words on a container's age change by the second,
# and an engine gives its mounts and ports in another order each time.
rows='(if type == "object" then .Volumes // [] else . end)[] | if has("State") then del(.Status) | .Mounts |= sort | .Ports |= sort else . end'
truth() {
  local node
  for node in "${NODES[@]}"; do raw "$node" "$(path_of "$1")" | jq -c "($rows) | [\"node$node\", .]"; done | sort
}
listed() {
  get "$2" "$(path_of "$1")"
  expect 200 "list of $1 through node $2"
  same "X-Node-Answered of $1 through node $2" 3/3 "$(header X-Node-Answered)"
  same "X-Node-Errors of $1 through node $2" '' "$(header X-Node-Errors)"
  same "X-Node of a merged list is the entry" "node$2" "$(header X-Node)"
  jq -c "($rows) | [.Portainer.Agent.NodeName, del(.Portainer)]" "$BODY" | sort
}
agree() { diff <(truth "$1") <(listed "$1" "$2"); }

for what in containers images volumes networks; do
  at_least "there is something to compare" 6 "$(truth $what | wc -l)"
  for node in "${NODES[@]}"; do within 5 "$what through node $node" agree $what "$node"; done
done

# What a client sees that is not Portainer: one row for what is one object.
for node in "${NODES[@]}"; do
  get "$node" /images/json -H 'X-Node-Dialect: docker'
  same "an image on three nodes is one row" 1 "$(field '[.[] | select(.RepoTags // [] | index("busybox:latest"))] | length')"
  get "$node" /networks -H 'X-Node-Dialect: docker'
  same "an overlay network is one row" 1 "$(field "[.[] | select(.Name == \"$OVERLAY\")] | length")"
  same "no row is decorated" 0 "$(field '[.[] | select(has("Portainer"))] | length')"
  get "$node" /volumes -H 'X-Node-Dialect: docker'
  same "local volumes of one name stay apart" 3 "$(field '[.Volumes[] | select(.Name == "same-name")] | length')"
done

get 1 '/containers/json?all=1&limit=2'
same "limit counts over all nodes" 2 "$(field length)"
names=$(docker_at 3 - ps -a --format '{{.Names}}')
for node in "${NODES[@]}"; do contains "docker ps through the worker" "stopped-$node" "$names"; done
