# A service that calls itself tasks.<our service> is asked for nothing and told nothing
# kind: rough

attacker_up --network "name=$OVERLAY,alias=tasks.$SERVICE" --constraint node.hostname==node1
in_dns() { in_agent_netns 2 busybox nslookup "tasks.$SERVICE" 127.0.0.11 | grep -q "$ATTACKER\$"; }
within 60 "the name server gives its address for ours" in_dns
attack_for_a_while
attacker_silent
