# docker stack deploy works through the worker's agent, with Portainer's ManagerOperation header and without any

stack=$CLIENT/stack.yml
cat >"$stack" <<'YML'
version: "3.8"
services:
  web:
    image: busybox:latest
    command: sleep 600
    networks: [net]
    configs: [note]
    deploy: { replicas: 3, endpoint_mode: dnsrr }
networks:
  net: { driver: overlay }
configs:
  note: { file: ./note.txt }
YML
echo hello >"$CLIENT/note.txt"
for header in manager -; do
  docker_at 3 $header stack deploy -c "$stack" --resolve-image never proof || fail "stack deploy ($header)"
  at_end engine 1 stack rm proof
  replicas() { [ "$(docker_at 3 $header stack services proof --format '{{.Replicas}}')" = 3/3 ]; }
  within 60 "the stack runs ($header)" replicas
  get 3 '/containers/json' -G --data-urlencode 'filters={"label":["com.docker.stack.namespace=proof"]}'
  same "its containers are found on all nodes" 3 "$(field '[.[].Portainer.Agent.NodeName] | length')"
  docker_at 3 $header stack rm proof || fail "stack rm ($header)"
  # An engine has the network for as long as its last container takes to stop, and the CLI makes none while one is listed.
  gone_all() {
    local left
    left=$(docker_at 3 - network ls -q -f name=proof_net && engine 1 config ls -q -f name=proof_note) && [ -z "$left" ]
  }
  within 60 "the stack goes ($header)" gone_all
done
