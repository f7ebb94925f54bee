# SIGTERM: an idle agent ends at once, one with a stream within its eight seconds, both with status 0
# kind: rough

engine 1 run -d --name followed busybox sleep 600 >/dev/null
at_end engine 1 rm -f followed
ended() { [ "$(engine 1 inspect -f '{{.State.Status}}' "$1")" = exited ]; }
for streams in none one; do
  within 60 whole whole
  old=$(agent_container 1)
  if [ $streams = one ]; then
    docker_at 1 node1 logs -f followed & at_end "kill $!"
    opened() { ss -Htn state established "( sport = :$PORT )" -N "${TAG}1" | grep -q . || in_agent_netns 1 ss -Htn state established "( sport = :9001 )" | grep -q .; }
    within 5 "the stream is open" opened
  fi
  began=$(now_ms)
  engine 1 kill -s TERM "$old" >/dev/null
  within 12 "it ends" ended "$old"
  took=$(($(now_ms) - began))
  note "with $streams stream: $took ms"
  if [ $streams = none ]; then at_most "an idle agent (ms)" 2000 $took; else at_most "a busy agent (ms)" 9500 $took; fi
  same "exit status" 0 "$(engine 1 inspect -f '{{.State.ExitCode}}' "$old")"
done
within 30 "its successor is found" whole
