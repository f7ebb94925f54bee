# A container that takes the address of an agent that is gone is asked for nothing and told nothing
# kind: rough

dead=$(agent_address 3)
attacker_up --network "$OVERLAY" --constraint node.hostname==node1
at_end tells 1 node update --availability active node3
tells 1 node update --availability drain node3
within 30 "the agent on node 3 is gone" no_agent 3
# On the bridge of its own node nothing stops a container from using any address of the network.
device=$(in_attacker ip -o addr show | awk -v at="$ATTACKER/" 'index($4, at) == 1 { print $2 }')
in_attacker ip addr add "$dead/24" dev "$device"
takes_it() {
  in_attacker busybox arping -U -c 1 -w 1 -I "$device" "$dead" || true    # "that address is mine now"
  in_agent_netns 1 timeout 1 bash -c "exec 3<>/dev/tcp/$dead/9002"
}
within 30 "whoever asks for that address finds the attacker" takes_it
attack_for_a_while 2/3
AT=$dead attacker_silent
in_attacker ip addr del "$dead/24" dev "$device"
tells 1 node update --availability active node3
within 60 "the real one is back" whole
