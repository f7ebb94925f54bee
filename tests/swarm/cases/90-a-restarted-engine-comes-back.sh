# An engine that is stopped and started, or killed and started, is named while it is gone and then found again
# kind: rough

# Node 2 is one of two managers: without it there is no quorum, and the lists go on all the same.
watch 1
stopped=$(now_ms)
stop_engine 2
at_end start_engine 2
within 10 "node 2 is named" absent 1 node2
answers 1 2/3 || fail "the others are not listed: $(header X-Node-Answered) $(header X-Node-Errors)"
start_engine 2
within 60 "whole after the engine of node 2 is back" whole
unwatch
watched_honest
same "lists that failed" 0 "$(watched_failed)"
watched_fast "lists over a second" 1 1000 "$stopped"

settled
watch 1
stop_engine 3 kill
at_end start_engine 3
start_engine 3
within 60 "whole after the engine of node 3 was killed" whole
unwatch
watched_honest
same "lists that failed" 0 "$(watched_failed)"

# The leader's: the other manager has no quorum without it, and its lists go on.
settled
lead=$(leader)
entry=$((3 - lead))                                   # the other manager
watch "$entry"
stop_engine "$lead" kill
at_end start_engine "$lead"
start_engine "$lead"
within 60 "whole after the engine of the leader, node $lead, was killed" whole
unwatch
watched_honest
same "lists that failed" 0 "$(watched_failed)"
