# After two silent minutes logs -f, attach, events and an exec still bring what comes next
# kind: background

out=$(mktemp -d); at_end "rm -rf $out"
engine 3 run -d --name quiet busybox sh -c 'echo first; until [ -e /go ]; do sleep 1; done; echo last; sleep 600' >/dev/null
at_end engine 3 rm -f quiet
docker_at 1 node3 logs -f quiet >"$out/logs" & streams=($!)
docker_at 2 node3 attach --no-stdin quiet >"$out/attach" & streams+=($!)
docker_at 1 node3 exec quiet sh -c 'echo first; until [ -e /go ]; do sleep 1; done; echo last' >"$out/exec" & streams+=($!)
docker_at 1 node3 events -f event=tag >"$out/events" & streams+=($!)
at_end "kill ${streams[*]}"
within 10 "the log begins" grep -q first "$out/logs"
within 10 "the exec begins" grep -q first "$out/exec"

quiet_until=$((SECONDS + 120))
while [ "$SECONDS" -lt "$quiet_until" ]; do
  for pid in "${streams[@]}"; do kill -0 "$pid" || fail "a quiet stream ended after $SECONDS s"; done
  sleep 1
done

engine 3 exec quiet touch /go
engine 3 tag busybox:latest quiet:tagged
at_end engine 3 rmi quiet:tagged
for stream in logs attach exec; do within 5 "$stream brings the next line" grep -q last "$out/$stream"; done
within 5 "events bring the next one" grep -q quiet:tagged "$out/events"
