# docker compose up and down, run as Portainer runs it, through every agent: compose finds again what it created

# Compose v2 comes with the newer engine's root; its own loader runs it on this machine.
plugin=$NEWER/usr/libexec/docker/cli-plugins/docker-compose
[ -x "$plugin" ] || skip "no Compose v2 here"
for dir in "$(docker_config manager)" "$(docker_config -)"; do
  mkdir -p "$dir/cli-plugins"
  printf '#!/bin/sh\nexec %s --library-path %s %s "$@"\n' "$(echo "$NEWER"/lib64/ld-linux-*)" \
    "$(echo "$NEWER"/usr/lib/*-linux-gnu)" "$plugin" >"$dir/cli-plugins/docker-compose"
  chmod +x "$dir/cli-plugins/docker-compose"
done
cat >"$CLIENT/compose.yml" <<'YML'
services:
  web: { image: "busybox:latest", command: sleep 600, networks: [net], volumes: ["data:/data"], depends_on: [store] }
  store: { image: "busybox:latest", command: sleep 600, networks: [net] }
networks:
  net: {}
volumes:
  data: {}
YML
compose() { docker_at "$1" manager compose -p "composed$1" -f "$CLIENT/compose.yml" "${@:2}" 2>&1; }
for entry in "${NODES[@]}"; do
  at_end compose "$entry" down -v -t 1
  out=$(compose "$entry" up -d --pull never) || fail "up through node $entry: $out"
  same "both run, says compose through node $entry" 'store web' "$(compose "$entry" ps --services --status running | sort | paste -sd ' ')"
  out=$(compose "$entry" up -d --pull never) || fail "up again through node $entry: $out"
  contains "a second up finds them" Running "$out"
  lacks "and makes nothing" Created "$out"
  # Whoever is asked next lands on the same engine.
  for other in "${NODES[@]}"; do
    same "the same two, through node $other" 2 \
      "$(docker_at "$other" manager ps -q -f "label=com.docker.compose.project=composed$entry" | wc -l)"
  done
  get "$entry" /containers/json -G --data-urlencode "filters={\"label\":[\"com.docker.compose.project=composed$entry\"]}"
  same "all of it is on one node" 1 "$(field '[.[].Portainer.Agent.NodeName] | unique | length')"
  out=$(compose "$entry" down -v -t 1) || fail "down through node $entry: $out"
  same "nothing is left" '' "$(docker_at "$entry" manager ps -aq -f "label=com.docker.compose.project=composed$entry")"
  for what in network volume; do
    same "no $what is left" '' "$(docker_at "$entry" manager $what ls -q -f "label=com.docker.compose.project=composed$entry")"
  done
done

# Without Portainer's header, on an overlay network that every node has: it is one network, not three of one name.
engine 1 network create -d overlay --attachable everywhere >/dev/null
gone() { engine 1 network rm everywhere; }
at_end gone
for node in "${NODES[@]}"; do
  engine "$node" run -d --name "everywhere$node" --network everywhere busybox sleep 600 >/dev/null
  at_end engine "$node" rm -f "everywhere$node"
done
cat >"$CLIENT/everywhere.yml" <<'YML'
services:
  web: { image: "busybox:latest", command: sleep 600, networks: [everywhere] }
networks:
  everywhere: { external: true }
YML
compose_at() { docker_at "$1" - compose -p "outside$1" -f "$CLIENT/everywhere.yml" "${@:2}" 2>&1; }
for entry in "${NODES[@]}"; do
  at_end compose_at "$entry" down -t 1
  out=$(compose_at "$entry" up -d --pull never) || fail "up on an overlay through node $entry: $out"
  same "it runs, says compose through node $entry" web "$(compose_at "$entry" ps --services --status running)"
  out=$(compose_at "$entry" down -t 1) || fail "down through node $entry: $out"
done
