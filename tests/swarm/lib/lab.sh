# shellcheck shell=bash
# The lab: real Docker engines on one machine, each in a network namespace of its own, joined to one Swarm.
#
# Each engine has its own mount namespace, so that every one of them has a /var/run/docker.sock and a
# /var/lib/docker that its containers can mount as on a real host. The namespaces have no default route: nothing
# leaves the machine, and an image that is not there is not pulled. Many kernels of build machines lack IPVS, so
# whatever runs here uses `endpoint_mode: dnsrr` and ports in host mode.

LAB=${SWARMGATE_LAB:-/tmp/swarmgate-e2e}
NEWER=${SWARMGATE_NEWER:-/var/tmp/swarmgate-trixie}   # the cached root of the newer engine; "none": do without
# Two labs can be up at once under two tags and two networks.
TAG=${SWARMGATE_TAG:-sg}
NET=${SWARMGATE_NET:-10.78.0}
NODES=(1 2 3)                                         # 1 leads, 2 is a manager, 3 a worker with the newer engine

engine() { local node=$1; shift; docker -H "unix://$LAB/n$node/docker.sock" "$@"; }
in_netns() { local node=$1; shift; nsenter --net="/run/netns/$TAG$node" "$@"; }
cut_node() { ip link set "v$TAG$1" down; }
heal_node() { ip link set "v$TAG$1" up; }

# The newer engine's root file system. Without it the lab has one kind of engine, and says so.
newer_root() {
  [ "$NEWER" != none ] || return 0
  if [ ! -x "$NEWER/usr/sbin/dockerd" ]; then
    echo "making the root of the newer engine (once, $NEWER)"
    debootstrap --variant=minbase --include=docker.io,docker-compose,iptables,iproute2,procps,ca-certificates trixie "$NEWER.new" \
      >"$LAB/debootstrap.log" 2>&1 && mv "$NEWER.new" "$NEWER" && return 0
    echo "NOTE: no newer engine: debootstrap failed ($(tail -n 1 "$LAB/debootstrap.log")); node 3 runs the same as the others"
    rm -rf "$NEWER.new"
  fi
}

wire_node() {
  local node=$1
  if ! ip link show "br-$TAG" >/dev/null 2>&1; then
    ip link add "br-$TAG" type bridge
    ip addr add $NET.254/24 dev "br-$TAG"
    ip link set "br-$TAG" up
  fi
  [ ! -e "/run/netns/$TAG$node" ] || return 0
  ip netns add "$TAG$node"
  ip link add "v$TAG$node" type veth peer name eth0 netns "$TAG$node"
  ip link set "v$TAG$node" master "br-$TAG" up
  ip -n "$TAG$node" addr add "$NET.$node/24" dev eth0
  ip -n "$TAG$node" link set eth0 up
  ip -n "$TAG$node" link set lo up
}

# Starts node N's engine and waits until it answers. Its host name is what $LAB/nN/hostname says.
start_engine() {
  local node=$1 dir=$LAB/n$1 root=
  ! engine "$node" version >/dev/null 2>&1 || return 0
  mkdir -p "$dir/data" "$dir/run"
  rm -f "$dir/pid" "$dir/exec/containerd/containerd.pid"   # left by an engine that was killed
  [ -s "$dir/hostname" ] || echo "node$node" >"$dir/hostname"
  wire_node "$node"
  [ "$node" != 3 ] || [ ! -x "$NEWER/usr/sbin/dockerd" ] || root=$NEWER
  # nsenter, not `ip netns exec`: that one remounts /sys and hides the cgroup mounts.
  setsid nsenter --net="/run/netns/$TAG$node" unshare --mount --uts --propagation private \
    bash -c "$ENGINE_SCRIPT" engine "$dir" "$root" "$LAB" "/$TAG$node" >>"$dir/log" 2>&1 </dev/null &
  disown
  until_true 60 engine "$node" version || { tail -n 20 "$dir/log"; fail "the engine of node $node did not start"; }
}

# Runs inside the namespaces: $1 state directory, $2 root file system or empty, $3 lab, $4 cgroup.
# A newer engine needs a real root of its own: runc calls pivot_root, so chroot is not enough.
# shellcheck disable=SC2016
ENGINE_SCRIPT='
set -e
dir=$1 root=$2 lab=$3 cgroup=$4
hostname "$(cat "$dir/hostname")"
mkdir -p /var/lib/docker
mount --bind "$dir/run" /run   # it outlives the engine: a killed one finds its containers again and ends them
if [ -n "$root" ]; then
  mount --bind "$root" "$root"
  mkdir -p "$root$lab" "$root/.old" "$root/var/lib/docker"
  mount --rbind "$lab" "$root$lab"
  for m in proc sys dev run; do mount --rbind "/$m" "$root/$m"; done
  cd "$root"
  pivot_root . .old
  umount -l /.old
  cd /
fi
mount --bind "$dir/data" /var/lib/docker
exec dockerd --exec-root "$dir/exec" --pidfile "$dir/pid" --exec-opt native.cgroupdriver=cgroupfs \
  --cgroup-parent "$cgroup" -H "unix://$dir/docker.sock" -H unix:///var/run/docker.sock
'

# The processes of node N that are left when its engine is gone: those that name its directory, and its containers'.
node_pids() {
  pgrep -f -- "$LAB/n$1/" || true
  find /sys/fs/cgroup -path "*/$TAG$1/*" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u
}

# stop_engine NODE [kill]: an orderly stop, or kill -9 of the engine and its containerd.
stop_engine() {
  local node=$1 dir=$LAB/n$1 pid
  [ -s "$dir/pid" ] || return 0
  pid=$(cat "$dir/pid")
  if [ "${2:-}" = kill ]; then
    kill -9 "$pid" "$(cat "$dir"/exec/containerd/*.pid)"
  else
    kill "$pid" 2>/dev/null || return 0
  fi
  until_true 60 gone "$pid" || fail "the engine of node $node (pid $pid) does not end"
  [ "${2:-}" = kill ] || end_leftovers "$node"
}
# What an engine that was stopped in good order has left (a shim, now and then) keeps its mount namespace, and with it
# the overlay's interfaces: the next engine, in a namespace of its own, could neither see nor make them.
end_leftovers() {
  local pid device
  for pid in $(node_pids "$1"); do kill -9 "$pid" 2>/dev/null || true; done
  until_true 10 nothing_left "$1" || fail "processes of node $1 are left: $(node_pids "$1" | paste -sd ' ')"
  # An engine that ends while it takes an overlay down leaves its VXLAN interface here, and the next one cannot make it.
  for device in $(ip -n "$TAG$1" -o link show type vxlan | sed 's/^[0-9]*: \([^:@]*\).*/\1/'); do
    ip -n "$TAG$1" link del "$device"
  done
}
nothing_left() { [ -z "$(node_pids "$1")" ]; }
gone() { ! kill -0 "$1" 2>/dev/null; }

# A root file system made of busybox, as an image on every node.
busybox_image() {
  local root=$LAB/busybox applet
  mkdir -p "$root"/{bin,etc,tmp,var,root,home,proc,sys,dev}
  cp "$(command -v busybox)" "$root/bin/busybox"
  for applet in $("$root/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -sf busybox "$root/bin/$applet"
  done
  echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
  chmod 1777 "$root/tmp"
  tar -C "$root" -c . | engine 1 import --change 'ENV PATH=/bin' --change 'CMD ["/bin/sh"]' - busybox:latest >/dev/null
  spread busybox:latest
}

# spread IMAGE: copies an image from node 1 to the others.
spread() {
  local node
  for node in "${NODES[@]:1}"; do engine 1 save "$1" | engine "$node" load -q >/dev/null; done
}

join_swarm() {
  local node=$1 role=worker
  [ "$node" != 2 ] || role=manager
  engine "$node" swarm join --token "$(engine 1 swarm join-token -q $role)" "$NET.1:2377" >/dev/null
}

lab_up() {
  local node
  [ ! -e "/run/netns/${TAG}1" ] || fail "a lab is up already; tests/swarm/run down"
  mkdir -p "$LAB"
  newer_root
  for node in "${NODES[@]}"; do start_engine "$node"; done
  busybox_image
  engine 1 swarm init --advertise-addr $NET.1 >/dev/null
  for node in "${NODES[@]:1}"; do join_swarm "$node"; done
  engine 1 node ls
}

# Takes down only what carries the lab's names.
lab_down() {
  local node
  for node in "${NODES[@]}"; do node_down "$node"; done
  ip link del "br-$TAG" 2>/dev/null || true
  rm -rf "$LAB" 2>/dev/null || { sync; rm -rf "$LAB"; } || echo "could not delete $LAB" >&2
}
node_down() {
  local node=$1 ids pid
  ids=$(timeout 10 docker -H "unix://$LAB/n$node/docker.sock" ps -aq 2>/dev/null) || ids=
  # shellcheck disable=SC2086
  [ -z "$ids" ] || timeout 60 docker -H "unix://$LAB/n$node/docker.sock" rm -f $ids >/dev/null 2>&1 || true
  stop_engine "$node" || true
  for pid in $(node_pids "$node"); do kill -9 "$pid" 2>/dev/null || true; done
  ip netns del "$TAG$node" 2>/dev/null || true
  ip link del "v$TAG$node" 2>/dev/null || true
  ip neigh flush to "$NET.$node" 2>/dev/null || true   # the next one there has another hardware address
  find /sys/fs/cgroup -depth -type d -path "*/$TAG$node*" -exec rmdir {} + 2>/dev/null || true
  rm -rf "$LAB/n$node" 2>/dev/null || { sync; rm -rf "$LAB/n$node"; } || echo "could not delete $LAB/n$node" >&2
}

# tells BY COMMAND...: a change to a node or a service, by the engine of node BY. The CLI reads the object, changes it and
# writes it back; where Swarm itself has written in between, that is "update out of sequence", and read again.
tells() {
  local by=$1 said end=$((SECONDS + 20)); shift
  until said=$(engine "$by" "$@" 2>&1); do
    [[ $said == *'update out of sequence'* && $SECONDS -lt $end ]] || fail "docker $*: $said"
    sleep 0.1
  done
}
