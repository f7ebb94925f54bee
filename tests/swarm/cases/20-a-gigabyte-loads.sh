# A 1 GB image is loaded on another node through the entry agent, in constant memory on both

# An image as `docker save` writes it, of one layer: a file of zeros.
dir=$(mktemp -d -p "$LAB"); at_end "rm -rf $dir; engine 3 rmi gigabyte:latest"
truncate -s 1G "$dir/zeros"
tar -C "$dir" -cf "$dir/layer.tar" zeros
rm "$dir/zeros"
layer=$(sha256sum "$dir/layer.tar" | awk '{print $1}')
printf '{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$layer" >"$dir/config.json"
echo '[{"Config":"config.json","RepoTags":["gigabyte:latest"],"Layers":["layer.tar"]}]' >"$dir/manifest.json"

began=$(now_ms)
tar -C "$dir" -c manifest.json config.json layer.tar | docker_at 1 node3 load -q || fail "docker load"
note "loaded in $(($(now_ms) - began)) ms"
at_least "it is there in full" 1073741824 "$(engine 3 image inspect -f '{{.Size}}' gigabyte:latest)"

began=$(now_ms)
bytes=$(docker_at 2 node3 save gigabyte:latest | wc -c)
note "saved in $(($(now_ms) - began)) ms"
at_least "docker save brings it back" 1073741824 "$bytes"

# A reader that takes a hundredth of what comes, and leaves.
get 2 /images/gigabyte:latest/get -H 'X-Node: node3' --limit-rate 4M --max-time 5
at_most "what a slow reader got in 5 s" 100000000 "$(stat -c %s "$BODY")"
for node in "${NODES[@]}"; do
  peak=$(awk '/^VmHWM/ { print $2 }' "/proc/$(agent_pid "$node")/status")
  note "peak memory of the agent on node $node: $peak kB"
  at_most "peak memory (kB) of the agent on node $node" 49152 "$peak"
done
