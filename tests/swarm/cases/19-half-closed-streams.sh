# exec with and without stdin: nothing hangs, nothing is lost, output and errors stay apart, on this node and another

engine 3 run -d --name halves busybox sleep 600 >/dev/null
at_end engine 3 rm -f halves
LIMIT=10
for entry in 1 3; do
  for round in $(seq 10); do
    same "echo hi | exec -i ($entry, $round)" hi "$(echo hi | docker_at "$entry" node3 exec -i halves cat)"
    same "exec without -i ($entry, $round)" out "$(docker_at "$entry" node3 exec halves echo out)"
  done
  docker_at "$entry" node3 exec halves sh -c 'echo one; echo two >&2; exit 5' >"$CLIENT/out" 2>"$CLIENT/err" && status=0 || status=$?
  same "stdout" one "$(cat "$CLIENT/out")"
  same "stderr" two "$(cat "$CLIENT/err")"
  same "exit status" 5 "$status"
  # The command ends although its stdin never does.
  same "yes | exec -i head" y "$(yes | docker_at "$entry" node3 exec -i halves head -n 1)"
done
