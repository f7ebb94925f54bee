# What only a manager can do works through the worker's agent, and says who did it

get 3 /services
expect 200 "service list through the worker"
same "the leader did it" "node$(leader)" "$(header X-Node)"
get 2 /services
same "a manager does it itself" node2 "$(header X-Node)"
get 3 /services -H 'X-Node: node3'
expect 503 "a worker that is named is asked itself"
contains "in the engine's words" "not a swarm manager" "$(field .message)"

contains "service ls" swarmgate_agent "$(docker_at 3 - service ls)"
same "node ls" "node1 node2 node3" "$(docker_at 3 - node ls --format '{{.Hostname}}' | sort | paste -sd ' ')"
echo hello | docker_at 3 - config create through-worker - >/dev/null
at_end engine 1 config rm through-worker
same "config inspect" through-worker "$(engine 1 config inspect -f '{{.Spec.Name}}' through-worker)"
docker_at 3 - service create -qd --no-resolve-image --name through-worker --endpoint-mode dnsrr --constraint node.hostname==node3 busybox sleep 600 >/dev/null
at_end engine 1 service rm through-worker
running() { docker_at 3 - service ps through-worker --format '{{.CurrentState}}' | grep -q ^Running; }
within 30 "a service created through the worker runs" running
docker_at 3 - service scale -d through-worker=2 >/dev/null
same "service inspect" 2 "$(docker_at 3 - service inspect -f '{{.Spec.Mode.Replicated.Replicas}}' through-worker)"

docker_at 3 - network create -d overlay --attachable through-worker >/dev/null
at_end engine 1 network rm through-worker
same "an overlay network made through the worker" "swarm true" "$(engine 1 network inspect -f '{{.Scope}} {{.Attachable}}' through-worker)"
