# docker build runs on the named node through another agent

context=$(mktemp -d); at_end "rm -rf $context; engine 3 rmi built:classic"
head -c 20M /dev/urandom >"$context/payload"
sum=$(sha256sum <"$context/payload" | awk '{print $1}')
printf 'FROM busybox:latest\nCOPY payload /payload\nRUN sha256sum /payload >/sum\n' >"$context/Dockerfile"

DOCKER_BUILDKIT=0 docker_at 1 node3 build -q -t built:classic "$context" || fail "docker build"
contains "it was built there" "$sum" "$(engine 3 run --rm built:classic cat /sum)"
! engine 1 image inspect built:classic >/dev/null 2>&1 || fail "it was built on the entry node"
