# BuildKit, which speaks gRPC over /session and /grpc, builds on the named node through another agent

# The CLI carries it itself before version 23, as a plugin afterwards.
has_buildkit() {
  version=$("$1" version -f '{{.Client.Version}}' 2>/dev/null)
  [ -n "$version" ] || return 1
  [ "${version%%.*}" -lt 23 ] || "$1" buildx version >/dev/null 2>&1
}
kit=
for cli in docker /usr/bin/docker; do
  if has_buildkit "$cli"; then kit=$cli; break; fi
done
[ -n "$kit" ] || skip "no CLI with BuildKit here"

context=$(mktemp -d); at_end "rm -rf $context; engine 3 rmi built:kit"
head -c 20M /dev/urandom >"$context/payload"
sum=$(sha256sum <"$context/payload" | awk '{print $1}')
printf 'FROM busybox:latest\nCOPY payload /payload\nRUN sha256sum /payload >/sum\n' >"$context/Dockerfile"
DOCKER_BUILDKIT=1 "$kit" --config "$(docker_config node3)" --context node1 \
  build --progress plain -t built:kit "$context" >"$context/log" 2>&1 || fail "with CLI $version: $(tail -n 5 "$context/log")"
contains "it was built there" "$sum" "$(engine 3 run --rm built:kit cat /sum)"
! engine 1 image inspect built:kit >/dev/null 2>&1 || fail "it was built on the entry node"
note "with CLI $version"
