# docker build runs on the named node through another agent, with BuildKit too where the CLI has it

context=$(mktemp -d); at_end "rm -rf $context; engine 3 rmi built:classic built:kit"
head -c 20M /dev/urandom >"$context/payload"
sum=$(sha256sum <"$context/payload" | awk '{print $1}')
printf 'FROM busybox:latest\nCOPY payload /payload\nRUN sha256sum /payload >/sum\n' >"$context/Dockerfile"

DOCKER_BUILDKIT=0 docker_at 1 node3 build -q -t built:classic "$context" || fail "docker build"
contains "it was built there" "$sum" "$(engine 3 run --rm built:classic cat /sum)"
! engine 1 image inspect built:classic >/dev/null 2>&1 || fail "it was built on the entry node"

# The CLI carries BuildKit itself before version 23, as a plugin afterwards. It speaks gRPC over /session and /grpc.
kit=
for cli in docker /usr/bin/docker; do
  version=$("$cli" version -f '{{.Client.Version}}' 2>/dev/null || true)
  [ "${version%%.*}" -ge 23 ] && ! "$cli" buildx version >/dev/null 2>&1 && continue
  DOCKER_BUILDKIT=1 "$cli" --config "$(docker_config node3)" --context node1 \
    build --progress plain -t built:kit "$context" >"$context/log" 2>&1 || fail "BuildKit with CLI $version: $(tail -n 5 "$context/log")"
  contains "BuildKit with CLI $version" "$sum" "$(engine 3 run --rm built:kit cat /sum)"
  kit="BuildKit with CLI $version"
  break
done
note "${kit:-no CLI with BuildKit here: not tried}"
