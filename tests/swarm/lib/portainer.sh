# shellcheck shell=bash
# A Portainer server and the browser behind it, as an agent sees them: every request signed anew, with the headers that
# they really send.

CONSOLE=${SWARMGATE_CONSOLE:-$REPO/target/debug/examples/console}

sign_anew() { "$SIGN" --key "$CLIENT/key.pem" >"$CLIENT/anew"; }
# server METHOD NODE PATH [curl arguments]: what the server asks by itself.
server() {
  sign_anew
  AS=anew request "$1" "$2" "$3" -A Go-http-client/1.1 -H 'Accept-Encoding: gzip' --compressed "${@:4}"
}
# ui METHOD NODE PATH [curl arguments]: what a browser asks through the server, with all that browsers send along.
ui() {
  sign_anew
  AS=anew request "$1" "$2" "$3" -A 'Mozilla/5.0 (X11; Linux x86_64)' -H 'Accept: application/json, text/plain, */*' \
    -H 'Cookie: portainer_api_key=eyJhbGciOiJIUzI1NiJ9.e30.c2VydmVy' -H 'X-Csrf-Token: token' -H "Referer: https://$NET.254:9443/" \
    -H 'Sec-Fetch-Site: same-origin' -H 'X-Forwarded-For: 192.0.2.7' -H 'X-PortainerAgent-SA-Token;' "${@:4}"
}
on() { echo "X-PortainerAgent-Target: $1"; }

# console NODE PATH [options]: a browser's console; stdin and stdout are its keyboard and screen. Its exit code is 0
# after a normal close (1000).
console() {
  [ -x "$CONSOLE" ] || (cd "$REPO" && cargo build -q --example console)
  timeout --foreground 60 "$CONSOLE" --key "$CLIENT/key.pem" "${@:3}" "wss://$NET.$1:$PORT$2"
}
