# A container's whole life on a named node through another agent, with nothing lost in its streams

id=$(docker_at 1 node3 create --name life busybox sh -c 'echo started; sleep 600')
at_end engine 3 rm -f life
same "it is where it was wanted" "$id" "$(engine 3 inspect -f '{{.Id}}' life)"
! engine 1 inspect life >/dev/null 2>&1 || fail "it is on the entry node too"
docker_at 1 node3 start life >/dev/null
logged() { [ "$(docker_at 2 node3 logs life)" = started ]; }
within 5 "logs through another agent" logged

file=$(mktemp -d); at_end "rm -rf $file"
head -c 50M /dev/urandom >"$file/there"
docker_at 1 node3 cp -q "$file/there" life:/there 2>/dev/null || docker_at 1 node3 cp "$file/there" life:/there
docker_at 2 node3 cp life:/there "$file/back" >/dev/null
cmp "$file/there" "$file/back" || fail "a copied file changed"
sum=$(sha256sum <"$file/there" | awk '{print $1}')
same "50 MB into exec -i" "$sum" "$(docker_at 1 node3 exec -i life sha256sum <"$file/there" | awk '{print $1}')"
same "50 MB out of exec" "$sum" "$(docker_at 1 node3 exec life cat /there | sha256sum | awk '{print $1}')"

docker_at 1 node3 attach --no-stdin life >"$file/attached" & attached=$!
docker_at 1 node3 wait life >"$file/waited" & waiting=$!
docker_at 2 node3 kill life >/dev/null
wait "$attached" || true                              # ends with the container's own status
wait "$waiting" || fail "docker wait"
same "docker wait" 137 "$(cat "$file/waited")"

engine 3 run -d --name chatty busybox sh -c 'echo over the websocket; sleep 600' >/dev/null
at_end engine 3 rm -f chatty
websocket() { # the head and the first bytes of an attach over a websocket, whose end is not awaited
  curl -gskiN --max-time 2 -H "@$CLIENT/signature" -H 'X-Node: node3' -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
    -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' -H 'Origin: http://localhost' \
    "https://$NET.1:$PORT/containers/chatty/attach/ws?logs=1&stream=1&stdout=1" | tr -d '\0'
}
seen=$(websocket || true)
contains "attach/ws switches" ' 101 ' "$seen"
contains "attach/ws brings output" 'over the websocket' "$seen"
