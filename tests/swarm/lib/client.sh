# shellcheck shell=bash
# Clients from outside: signed requests with curl, and the real docker CLI.

CLIENT=$LAB/client
SIGN=${SWARMGATE_SIGN:-$REPO/target/debug/examples/sign}
PORT=${SWARMGATE_PORT:-9001}

client_setup() {
  [ -x "$SIGN" ] || (cd "$REPO" && cargo build -q --example sign)
  mkdir -p "$CLIENT"
  "$SIGN" --key "$CLIENT/key.pem" >"$CLIENT/signature"
  "$SIGN" --key "$CLIENT/stranger.pem" >"$CLIENT/stranger"
  local node
  for node in "${NODES[@]}" 4; do
    docker --config "$CLIENT" context create "node$node" --docker "host=tcp://$NET.$node:$PORT,skip-tls-verify=true" >/dev/null 2>&1
  done
}

# request METHOD NODE PATH [curl arguments]: signed. Leaves STATUS, BODY (a file), HEAD (a file), TOOK (ms), and SHOOK
# (ms), when the TLS handshake was over.
# A client that got no answer at all sees STATUS 000.
AS=signature                                          # whose signature: signature, stranger
HEAD=$(mktemp) BODY=$(mktemp)
at_end "rm -f $HEAD $BODY"
request() {
  local method=$1 node=$2 path=$3 seen; shift 3
  local verb=(-X "$method"); [ "$method" != HEAD ] || verb=(--head)
  : >"$HEAD"; : >"$BODY"
  seen=$(${VIA:-} curl -gsk --max-time 20 "${verb[@]}" -H "@$CLIENT/$AS" -D "$HEAD" -o "$BODY" \
    -w '%{http_code} %{time_total} %{time_appconnect}' "$@" "https://$NET.$node:$PORT$path") || true
  # shellcheck disable=SC2034
  read -r STATUS TOOK SHOOK <<<"$(awk '{printf "%s %d %d", $1, $2 * 1000, $3 * 1000}' <<<"${seen:-000 0 0}")"
}
get() { request GET "$@"; }
post() { # post NODE PATH JSON [curl arguments]
  local node=$1 path=$2 body=$3; shift 3
  request POST "$node" "$path" -H 'Content-Type: application/json' --data-binary "$body" "$@"
}
delete() { request DELETE "$@"; }
unsigned() { AS=/dev/null CLIENT='' request "$@"; }
as_stranger() { AS=stranger "$@"; }
inside() { local node=$1; shift; VIA="nsenter --net=/run/netns/$TAG$node" "$@"; }

header() { # its value, or nothing; several are joined by a bar, which no claim expects
  tr -d '\r' <"$HEAD" | awk -v name="$1:" 'tolower($1) == tolower(name) { sub(/^[^:]*: */, ""); print }' | paste -sd '|'
}
last_answer() {
  echo "last answer: $STATUS by $(header X-Node), answered $(header X-Node-Answered), errors $(header X-Node-Errors): $(head -c 200 "$BODY")"
}
body() { cat "$BODY"; }
field() { jq -r "$1" "$BODY"; }
expect() { # expect STATUS CLAIM
  [ "$STATUS" = "$1" ] || fail "$2: expected status $1, saw $STATUS: $(head -c 600 "$BODY")"
}

# docker_at ENTRY TARGET ARGS...: the docker CLI to the agent on node ENTRY; TARGET is an X-Node, or `-` for none,
# or `manager` for Portainer's ManagerOperation header.
docker_at() {
  local entry=$1 target=$2 config; shift 2
  config=$(docker_config "$target")
  timeout --foreground "${LIMIT:-240}" docker --config "$config" --context "node$entry" "$@"
}
docker_config() { # the directory of the CLI's configuration, made once: its headers, and a context for each entry
  local dir=$CLIENT/docker-$1 new more=()
  if [ ! -s "$dir/config.json" ]; then
    mkdir -p "$dir"
    cp -r "$CLIENT/contexts" "$dir/"
    new=$(mktemp -p "$dir")
    case $1 in
      -) ;;
      manager) more=('X-PortainerAgent-ManagerOperation' 1) ;;
      *) more=(X-Node "$1") ;;
    esac
    "$SIGN" --key "$CLIENT/key.pem" --config |
      jq --arg k "${more[0]:-}" --arg v "${more[1]:-}" 'if $k == "" then . else .HttpHeaders[$k] = $v end' >"$new"
    mv "$new" "$dir/config.json"                      # several may be at it
  fi
  echo "$dir"
}

# raw NODE PATH [curl arguments]: the engine's own socket, to compare with.
raw() { local node=$1 path=$2; shift 2; curl -gs --unix-socket "$LAB/n$node/docker.sock" "$@" "http://docker$path"; }

# Lists, asked for ten times a second while something happens.
#
# watch ENTRY starts it; unwatch ends it and leaves the file $WATCHED, a line for each list: when it began (ms), how
# long it took (ms), how long of that its TLS handshake took (ms), its status, X-Node-Answered, X-Node-Errors. A client
# that got no answer at all saw 000.
watch() {
  WATCHED=$CLIENT/watched
  watch_lists "$1" >"$WATCHED" & WATCHER=$!
  at_end "kill $WATCHER"
}
unwatch() { kill "$WATCHER"; wait "$WATCHER" 2>/dev/null || true; }
watch_lists() {
  local began HEAD BODY
  HEAD=$(mktemp -p "$CLIENT") BODY=$(mktemp -p "$CLIENT")
  while :; do
    began=$(now_ms)
    get "$1" /containers/json
    echo "$began $TOOK $SHOOK $STATUS $(header X-Node-Answered) $(header X-Node-Errors)"
    sleep 0.1
  done
}
# Every list that was answered said for how many of the three nodes, and named each one that was missing.
watched_honest() {
  [ -s "$WATCHED" ] || fail "no list was watched"
  awk '$4 == 200 { split($5, n, "/"); if (n[2] != 3 || n[1] + split($6, names, ";") != 3) print }' "$WATCHED" >"$WATCHED.bad"
  [ ! -s "$WATCHED.bad" ] || fail "lists that hide a node: $(head -n 3 "$WATCHED.bad")"
}
# watched_fast CLAIM COUNT MS SINCE: at most COUNT lists took longer than MS. Otherwise it says which, and when they began
# after SINCE: one whose handshake was slow, too, waited for this machine and for no node.
watched_fast() {
  local slow
  slow=$(awk -v ms="$3" -v from="$4" '$2 > ms {
    printf "at %+d ms one of %d ms, handshake %d ms, %s %s %s\n", $1 - from, $2, $3, $4, $5, $6 }' "$WATCHED")
  [ "$(grep -c . <<<"$slow")" -le "$2" ] ||
    fail "$1: more than $2 took over $3 ms: $(paste -sd ';' <<<"$slow"); load $(cut -d ' ' -f 1-3 /proc/loadavg)"
}
watched_failed() { awk '$4 != 200' "$WATCHED" | wc -l; }
