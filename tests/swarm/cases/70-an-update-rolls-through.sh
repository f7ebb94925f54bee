# A rolling update of the agents: every list that is answered stays honest, and the Swarm is whole at the end
# kind: rough

old=$(agent_container 3)
watch 1
tells 1 service update -d --force "$SERVICE"
completed() { [ "$(engine 1 service inspect -f '{{.UpdateStatus.State}}' "$SERVICE")" = completed ]; }
within 120 "the update completes" completed
new_agent 3 "$old" || fail "node 3 was not updated"
within 10 "whole afterwards" whole
unwatch
watched_honest
note "$(watched_failed) of $(wc -l <"$WATCHED") lists met the entry's own restart"
