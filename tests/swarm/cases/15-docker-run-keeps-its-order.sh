# docker run on another node brings output and exit status every time: attach, wait and start keep their order

for round in $(seq 10); do
  for way in '1 node3' '3 node1' '2 node2'; do
    read -r entry node <<<"$way"
    out=$(docker_at "$entry" "$node" run --rm busybox sh -c "echo out $round; exit 7") && status=0 || status=$?
    same "round $round, node $entry to $node: output" "out $round" "$out"
    same "round $round, node $entry to $node: exit status" 7 "$status"
  done
done
same "echo hi | docker run -i" hi "$(echo hi | docker_at 1 node3 run -i --rm busybox cat)"
