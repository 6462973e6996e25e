"""CPU time and memory of process trees, from /proc. Nothing here fails: a process that is gone counts as nothing."""
import glob
import os

TICKS = os.sysconf("SC_CLK_TCK")


def table():
    """pid -> (parent, own seconds, seconds of children that ended and were waited for)."""
    found = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                fields = f.read().rpartition(")")[2].split()
        except OSError:
            continue
        own, reaped = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
        found[int(path.split("/")[2])] = (int(fields[1]), own / TICKS, reaped / TICKS)
    return found


def below(processes, root):
    """The descendants of a process, without itself."""
    children = {}
    for pid, (parent, _, _) in processes.items():
        children.setdefault(parent, []).append(pid)
    found, todo = [], list(children.get(root, []))
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def own(processes, pid):
    return processes[pid][1] if pid in processes else 0.0


def descendants(processes, pid):
    """CPU of all descendants, living or ended."""
    return sum(sum(processes[p][1:]) for p in below(processes, pid)) + (processes[pid][2] if pid in processes else 0.0)


def tree(processes, pid):
    return own(processes, pid) + descendants(processes, pid)


def machine():
    """(busy, all) CPU seconds of the machine since it started."""
    with open("/proc/stat", encoding="ascii") as f:
        v = [int(x) for x in f.readline().split()[1:9]]
    idle = v[3] + v[4]
    return (sum(v) - idle) / TICKS, sum(v) / TICKS


def status_mib(pid, field):
    """A field of /proc/PID/status in MiB: VmRSS, VmHWM (its highest), RssAnon."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
            for line in f:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0
