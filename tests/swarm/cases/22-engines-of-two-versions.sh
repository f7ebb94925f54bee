# A version that the executing engine does not know is brought down to what it knows, and the answer says so

newest() { raw "$1" /version | jq -r .ApiVersion; }
ours=$(newest 1) theirs=$(newest 3)
[ "$ours" != "$theirs" ] || skip "all engines speak $ours"
get 3 "/v$theirs/info" -H 'X-Node: node1'
expect 200 "a newer version on an older engine"
same "X-Node-Api-Version" "$ours" "$(header X-Node-Api-Version)"
get 3 "/v$theirs/containers/json"
expect 200 "a newer version in a list"
same "X-Node-Answered" 3/3 "$(header X-Node-Answered)"
get 1 "/v$ours/containers/json"
same "an older version in a list" 3/3 "$(header X-Node-Answered)"
