# docker exec -it on another node has a real terminal of the right size and the command's exit status

engine 3 run -d --name terminal busybox sleep 600 >/dev/null
at_end engine 3 rm -f terminal
# shellcheck disable=SC2016
ask='for i in $(seq 50); do [ "$(stty size)" = "33 111" ] && break; sleep 0.1; done; tty; stty size; exit 3'
for entry in 1 2 3; do
  config=$(docker_config node3)
  out=$(script -qec "stty rows 33 cols 111; docker --config $config --context node$entry exec -it terminal sh -c '$ask'" /dev/null </dev/null) &&
    status=0 || status=$?
  contains "there is a terminal through node $entry" /dev/pts/ "$out"
  contains "of our size" "33 111" "$out"
  same "exit status" 3 "$status"
done
out=$(script -qec "docker --config $config --context node1 run --rm -it busybox sh -c 'tty; exit 4'" /dev/null </dev/null) && status=0 || status=$?
contains "docker run -it" /dev/pts/ "$out"
same "docker run -it: exit status" 4 "$status"
