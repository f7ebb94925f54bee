# shellcheck shell=bash
# Assertions. Each one says what was claimed and what was seen. Nothing waits without a deadline.

fail() { echo "FAILED: $*" >&2; exit 1; }
note() { echo "  $*"; }
# What a case needs is not on this machine. It is counted apart, so that nobody takes it for proved.
SKIPPED=77
skip() { echo "  not tried: $*"; exit "$SKIPPED"; }

# until_true SECONDS COMMAND...: polls ten times a second. The command's output is dropped.
until_true() {
  local end=$((SECONDS + $1 + 1)); shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}

# within SECONDS CLAIM COMMAND...: the command becomes true in time, or the case fails and shows the last try.
within() {
  local seconds=$1 claim=$2; shift 2
  until_true "$seconds" "$@" && return
  echo "last try of: $*" >&2
  "$@" >&2 || true
  [ -z "${STATUS:-}" ] || last_answer >&2
  fail "$claim: not within $seconds s"
}

same() { # same CLAIM EXPECTED SEEN
  [ "$2" = "$3" ] || fail "$1: expected «$2», saw «$3»"
}
contains() { # contains CLAIM PART TEXT
  case $3 in *"$2"*) ;; *) fail "$1: expected «$2» in «$3»" ;; esac
}
lacks() { # lacks CLAIM PART TEXT
  case $3 in *"$2"*) fail "$1: did not expect «$2» in «$3»" ;; esac
}
at_most() { # at_most CLAIM LIMIT NUMBER
  [ "$3" -le "$2" ] || fail "$1: $3 is more than $2"
}
at_least() { # at_least CLAIM LIMIT NUMBER
  [ "$3" -ge "$2" ] || fail "$1: $3 is less than $2"
}

# at_end COMMAND: runs when the shell ends, however it ends; the last one given comes first.
AT_END=()
at_end() { AT_END=("$*" "${AT_END[@]}"); }
trap 'for undo in "${AT_END[@]}"; do (eval "$undo") >/dev/null 2>&1 || true; done' EXIT

now_ms() { date +%s%3N; }
ms_of() { date -d "$1" +%s%3N; }                      # of an RFC 3339 time
