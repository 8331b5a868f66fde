"""A network of the test's own: a namespace for each node, one that routes between them, and faults on its links.

Everything is done with iproute2 and takes root. A direction is cut by a blackhole rule in the routing namespace, which
drops packets in silence as a broken link does; no packet filter is needed. The namespaces carry the pid of their
process in their names, and those of a dead process are removed before new ones are made.
"""

import itertools
import json
import os
import random
import re
import subprocess

PREFIX = "chronik"
# Reserved for tests of networks (RFC 2544): no machine outside can be meant.
SUBNETS = [f"198.{high}.{low}" for high in (18, 19) for low in range(256)]
HOST, GATEWAY = 253, 254
RULE_PRIORITY = 100
RULE_PRESENT = 2


class NetworkError(Exception):
    """The machine does not do what a network of namespaces needs."""


def run(*words, check=True):
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    if check and done.returncode != 0:
        raise NetworkError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode} "
                           "(network faults take root, iproute2, and a kernel with namespaces and veth)")
    return done


def ip(*words, inside=None, check=True):
    return run("ip", *(["-n", inside] if inside else []), *words, check=check)


def namespaces():
    found = json.loads(run("ip", "-j", "netns", "list").stdout or "[]")
    return [one["name"] for one in found]


def remove_leftovers():
    """Namespaces of processes that are gone. Their links go with them."""
    for name in namespaces():
        owner = re.fullmatch(rf"{PREFIX}-(\d+)-.*", name)
        if owner and not os.path.exists(f"/proc/{owner[1]}"):
            ip("netns", "delete", name, check=False)


class Network:
    """Addresses for nodes 1 to `count`, each behind a link of its own; the tests themselves are another host."""

    numbers = itertools.count(1)

    def __init__(self, count):
        remove_leftovers()
        self.count = count
        self.tag = f"{os.getpid()}-{next(self.numbers)}"
        self.router = f"{PREFIX}-{self.tag}-router"
        self.subnet = self.free_subnet()
        self.made = []
        self.limited = set()
        try:
            self.build()
        except BaseException:
            self.remove()
            raise

    @staticmethod
    def free_subnet():
        taken = run("ip", "-4", "route", "show", "table", "all").stdout
        free = [subnet for subnet in SUBNETS if subnet + "." not in taken]
        return random.SystemRandom().choice(free)

    def space(self, number):
        return f"{PREFIX}-{self.tag}-node{number}"

    def address(self, number):
        return f"{self.subnet}.{number}"

    def build(self):
        self.add_space(self.router)
        self.set_routing()
        for number in range(1, self.count + 1):
            self.add_space(self.space(number))
            self.link(f"node{number}", self.address(number), self.space(number), "eth0")
            ip("route", "add", "default", "via", self.address(GATEWAY), inside=self.space(number))
        # The name of this end is seen by the whole machine.
        outside = f"ck{self.tag.replace('-', 'x')}"
        self.link("host", self.address(HOST), None, outside)
        ip("route", "add", f"{self.subnet}.0/24", "via", self.address(GATEWAY), "dev", outside)

    def add_space(self, name):
        ip("netns", "add", name)
        self.made.append(name)
        ip("link", "set", "lo", "up", inside=name)

    def set_routing(self):
        settings = {"ip_forward": 1, "conf/all/rp_filter": 0, "conf/default/rp_filter": 0}
        script = "; ".join(f"echo {value} > /proc/sys/net/ipv4/{key}" for key, value in settings.items())
        run(*self.enter(self.router), "sh", "-ec", script)

    def link(self, router_end, address, space, name):
        """A cable from the router to `address`, which lies in `space`, or on the machine itself."""
        ip("link", "add", router_end, "netns", self.router, "type", "veth", "peer", "name", name,
           *(["netns", space] if space else []))
        ip("address", "add", self.address(GATEWAY), "dev", router_end, inside=self.router)
        ip("link", "set", router_end, "up", inside=self.router)
        ip("route", "add", address, "dev", router_end, inside=self.router)
        ip("address", "add", address, "dev", name, inside=space)
        ip("link", "set", name, "up", inside=space)
        ip("route", "add", self.address(GATEWAY), "dev", name, inside=space)

    @staticmethod
    def enter(space):
        """The words before a command that runs in a namespace; the pid stays that of the command."""
        return ["nsenter", f"--net=/run/netns/{space}"]

    def cut(self, source, target):
        """Nothing from node `source` reaches node `target`. The other direction is as it was. `None` is the tests."""
        name, address = (f"node{source}" if source else "host"), self.address(target or HOST)
        done = ip("rule", "add", "priority", str(RULE_PRIORITY), "iif", name, "to", address, "blackhole",
                  inside=self.router, check=False)
        if done.returncode not in (0, RULE_PRESENT):
            raise NetworkError(f"the rule against {name} -> {address}: {done.stderr}")

    def part(self, group, others):
        """Two groups of nodes lose each other, in both directions."""
        for one, other in itertools.product(group, others):
            self.cut(one, other)
            self.cut(other, one)

    def shapes(self):
        """The ways in which this kernel can make a link slow, each with its name: delay and loss, or a narrow rate."""
        known = {
            "delay": ["netem", "delay", "40ms", "20ms", "loss", "2%"],
            "narrow": ["tbf", "rate", "1mbit", "burst", "16kb", "latency", "2s"],
        }
        return {name: words for name, words in known.items() if self.can_shape(words)}

    def can_shape(self, words):
        able = self.shape(self.router, "node1", words, check=False).returncode == 0
        if able:
            run("tc", "-n", self.router, "qdisc", "del", "dev", "node1", "root")
        return able

    @staticmethod
    def shape(space, name, words, check=True):
        return run("tc", "-n", space, "qdisc", "add", "dev", name, "root", *words, check=check)

    def slow(self, number, words):
        """The link of a node is slow in both directions."""
        self.limited.add(number)
        self.shape(self.router, f"node{number}", words)
        self.shape(self.space(number), "eth0", words)

    def heal(self):
        """Every link is whole again."""
        while ip("rule", "del", "priority", str(RULE_PRIORITY), inside=self.router, check=False).returncode == 0:
            pass
        for number in self.limited:
            run("tc", "-n", self.router, "qdisc", "del", "dev", f"node{number}", "root", check=False)
            run("tc", "-n", self.space(number), "qdisc", "del", "dev", "eth0", "root", check=False)
        self.limited.clear()

    def remove(self):
        for name in reversed(self.made):
            ip("netns", "delete", name, check=False)
        self.made.clear()
