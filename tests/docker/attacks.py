"""What hostile code tries from inside a container; sent in as text and run there, with nothing but Python's library.

Each attempt returns what it gained, or raises. The last line printed is JSON: for each attempt ``null`` where
nothing was gained, else what was.
"""

import ctypes
import ctypes.util
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys

libc = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6", use_errno=True)
FACTS = json.loads(sys.argv[1])
CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWNET = 0x10000000, 0x00020000, 0x40000000
ATTEMPTS = {}


def attempt(function):
    ATTEMPTS[function.__name__] = function
    return function


def called(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def connected(host, port, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        probe.connect((host, port))
    return f"{host}:{port} answers"


@attempt
def unshare_user():
    called(libc.unshare(CLONE_NEWUSER))
    return "a user namespace"


@attempt
def unshare_mount():
    called(libc.unshare(CLONE_NEWNS))
    return "a mount namespace"


@attempt
def unshare_network():
    called(libc.unshare(CLONE_NEWNET))
    return "a network namespace"


@attempt
def mount_proc():
    called(libc.mount(b"proc", b"/tmp", b"proc", 0, None))
    return "a mount"


@attempt
def mount_cgroup():
    # release_agent: the classic way out of a privileged container (CVE-2022-0492)
    called(libc.mount(b"cgroup", b"/tmp", b"cgroup", 0, b"rdma"))
    return "a cgroup mount"


@attempt
def remount_root_writable():
    called(libc.mount(None, b"/", None, 32, None))
    return "a writable root"


@attempt
def write_release_agent():
    for path in pathlib.Path("/sys/fs/cgroup").rglob("release_agent"):
        path.write_text("/tmp/x")
        return str(path)
    raise FileNotFoundError


@attempt
def raise_own_limits():
    for name in ("memory/memory.limit_in_bytes", "pids/pids.max", "cgroup.procs"):
        for root in ("/sys/fs/cgroup", "/proc/1/root/sys/fs/cgroup"):
            path = pathlib.Path(root, name)
            if path.exists():
                path.write_text("-1")
                return str(path)
    raise FileNotFoundError


@attempt
def ptrace_the_first_process():
    # PTRACE_SEIZE, which does not stop it
    called(libc.ptrace(0x4206, 1, None, None))
    ours = pathlib.Path("/proc/1/comm").read_text().strip()
    # attaching to one's own container's processes gains nothing; to anything else it would
    if ours in {"docker-init", "tini", "timeout", "python", "python3"}:
        raise PermissionError("only our own")
    return ours


@attempt
def see_processes_of_others():
    seen = [p for p in os.listdir("/proc") if p.isdigit()]
    if len(seen) <= 6:
        raise PermissionError(f"only {len(seen)}")
    return f"{len(seen)} processes"


@attempt
def raw_socket():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return "a raw socket"


@attempt
def packet_socket():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)).close()
    return "a packet socket"


@attempt
def low_level_netlink_route():
    # RTM_NEWADDR: take another container's address
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
        link.settimeout(2)
        body = struct.pack("BBBBI", socket.AF_INET, 24, 0, 0, 2) + struct.pack(
            "HH4s", 8, 2, b"\x0a\xd7\x00\x63"
        )
        link.send(struct.pack("IHHII", 16 + len(body), 20, 0x405, 1, 0) + body)
        code = struct.unpack("i", link.recv(4096)[16:20])[0]
    if code:
        raise OSError(-code, os.strerror(-code))
    return "another address"


@attempt
def become_root():
    os.setuid(0)
    return f"uid {os.getuid()}"


@attempt
def setuid_programs():
    found = []
    for folder in ("/bin", "/sbin", "/usr", "/opt"):
        for top, _, files in os.walk(folder):
            for name in files:
                path = os.path.join(top, name)
                if not os.path.islink(path) and os.lstat(path).st_mode & 0o6000:
                    found.append(path)
    if not found:
        raise FileNotFoundError
    return found[:5]


@attempt
def capabilities():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    held = {
        k: int(v, 16) for k, v in (line.split(":\t") for line in lines if line.startswith("Cap"))
    }
    if not any(held.values()):
        raise PermissionError
    return held


@attempt
def gain_privileges_by_exec():
    lines = dict(
        line.split(":\t", 1)
        for line in pathlib.Path("/proc/self/status").read_text().splitlines()
        if ":\t" in line
    )
    if lines["NoNewPrivs"].strip() == "1":
        raise PermissionError
    return "no_new_privs is off"


@attempt
def seccomp_off():
    lines = dict(
        line.split(":\t", 1)
        for line in pathlib.Path("/proc/self/status").read_text().splitlines()
        if ":\t" in line
    )
    if lines["Seccomp"].strip() == "2":
        raise PermissionError
    return "no filter of system calls"


@attempt
def device_node():
    os.mknod("/tmp/disk", 0o60600, os.makedev(254, 0))
    return os.open("/tmp/disk", os.O_RDONLY)


@attempt
def host_disk():
    for name in os.listdir("/dev"):
        if name.startswith(("sd", "vd", "nvme", "loop", "mem", "kmsg", "port", "dm-")):
            os.open(f"/dev/{name}", os.O_RDONLY)
            return name
    raise FileNotFoundError


@attempt
def kernel_log():
    buffer = ctypes.create_string_buffer(4096)
    called(libc.klogctl(3, buffer, 4096))
    return buffer.value[:80].decode(errors="replace")


@attempt
def sysrq():
    pathlib.Path("/proc/sysrq-trigger").write_text("h")
    return "sysrq"


@attempt
def kernel_parameters():
    pathlib.Path("/proc/sys/kernel/core_pattern").write_text("|/tmp/x")
    return "core_pattern"


@attempt
def load_module():
    called(libc.syscall(313, -1, b"", 0))
    return "a module"


@attempt
def berkeley_packet_filter():
    called(libc.syscall(321, 0, ctypes.create_string_buffer(128), 128))
    return "a BPF map"


@attempt
def performance_events():
    called(libc.syscall(298, ctypes.create_string_buffer(b"\x01" + b"\0" * 127), 0, -1, -1, 0))
    return "performance counters"


@attempt
def keyring():
    called(libc.syscall(250, 0, -3, 1))
    return "the kernel's keyring"


@attempt
def reboot():
    called(libc.syscall(169, 0xFEE1DEAD, 672274793, 0, None))
    return "a reboot switch"


@attempt
def change_clock():
    called(libc.syscall(164, ctypes.create_string_buffer(16), None))
    return "the clock"


@attempt
def open_by_handle():
    # shocker.c: files of the host by number
    handle = struct.pack("IiQ", 8, 1, 2)
    called(
        libc.syscall(
            304,
            os.open("/", os.O_RDONLY),
            ctypes.create_string_buffer(handle + b"\0" * 128),
            os.O_RDONLY,
        )
    )
    return "a file of the host"


@attempt
def write_the_image():
    for folder in ("/", "/opt/gavip", "/usr", "/etc", "/gavip", "/gavip/release"):
        try:
            pathlib.Path(folder, "planted").write_text("x")
        except OSError:
            continue
        return folder
    raise PermissionError


@attempt
def read_what_was_not_granted():
    for path in FACTS["forbidden_paths"]:
        if os.path.exists(path) and os.listdir(path):
            return path
    raise FileNotFoundError


@attempt
def engine_socket():
    for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"):
        if os.path.exists(path):
            return path
    raise FileNotFoundError


@attempt
def host_listener_on_all_addresses():
    return connected(FACTS["gateway"], FACTS["host_port"])


@attempt
def host_by_its_other_addresses():
    for address in FACTS["host_addresses"]:
        try:
            return connected(address, FACTS["host_port"])
        except OSError:
            continue
    raise ConnectionError


@attempt
def another_container():
    return connected(FACTS["neighbour"], FACTS["neighbour_port"])


@attempt
def another_container_by_datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(2)
        probe.sendto(b"hello", (FACTS["neighbour"], FACTS["neighbour_port"]))
        return probe.recv(64).decode()


@attempt
def metadata_address():
    return connected("169.254.169.254", 80)


@attempt
def the_world():
    return connected("192.0.2.1", 80)


@attempt
def the_world_by_ipv6():
    return connected("2001:db8::1", 80, socket.AF_INET6)


@attempt
def name_service():
    return socket.getaddrinfo(FACTS["secret_name"], 80)


@attempt
def name_service_of_the_engine():
    question = (
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06secret\x07example\x00\x00\x01\x00\x01"
    )
    for server in ("127.0.0.11", FACTS["gateway"], "127.0.0.1"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(2)
            try:
                probe.sendto(question, (server, 53))
                answer = probe.recv(512)
            except OSError:
                continue
            # an answer that refuses (rcode 2 or 5) tells nothing and has asked nobody
            if answer[3] & 15 == 0:
                return server
    raise ConnectionError


@attempt
def platform_environment():
    kept = {k: v for k, v in os.environ.items() if any(s in v for s in FACTS["secrets"])}
    if not kept:
        raise LookupError
    return sorted(kept)


@attempt
def environment_of_the_first_process():
    text = pathlib.Path("/proc/1/environ").read_bytes().decode(errors="replace")
    if not any(s in text for s in FACTS["secrets"]):
        raise LookupError
    return "secrets of the platform"


@attempt
def symlink_in_own_folder():
    own = pathlib.Path(FACTS["own_folder"])
    link = own / "result.json"
    link.unlink(missing_ok=True)
    link.symlink_to("/etc/shadow")
    return link.read_text()[:20]


@attempt
def executable_memory_of_the_host():
    return subprocess.run(
        ["dd", "if=/dev/mem", "bs=1", "count=1"], check=True, capture_output=True, timeout=10
    ).stdout


outcome = {}
for name, function in ATTEMPTS.items():
    if name not in FACTS.get("skip", ()):
        # in a process of its own: what one attempt breaks must not hide another
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            try:
                gained = function()
            except BaseException as e:  # noqa: BLE001 - whatever stopped it, it gained nothing
                gained = None
                print(f"{name}: {type(e).__name__}: {e}", file=sys.stderr)
            os.write(writer, json.dumps(gained, default=str).encode()[:4000])
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as told:
            text = told.read()
        os.waitpid(child, 0)
        outcome[name] = json.loads(text) if text else "it ended without saying"
print(json.dumps(outcome), flush=True)
