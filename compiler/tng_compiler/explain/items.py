"""Which item of the document names a destination: the plan merges items, so that its regions no longer say."""

from __future__ import annotations

from tng_compiler.explain.situation import Situation
from tng_compiler.model.types import CaptureDst, Config
from tng_compiler.plan import names
from tng_compiler.plan.items import ports_of
from tng_compiler.plan.types import Interception


def covering(config: Config, entry: Interception, situation: Situation) -> str | None:
    """Return the pointer of the first item of ``entry`` that names the destination, None if none does.

    An entry without items captures every destination, by ``capture_dst`` when that is empty and by its cgroups else.
    """
    netfilter = next(each.netfilter for each in config.entries if each.pointer == entry.pointer)
    if not netfilter.capture_dst:
        return f"{netfilter.pointer}/{'capture_cgroup' if netfilter.capture_dst is None else 'capture_dst'}"
    return next((item.pointer for item in netfilter.capture_dst if _names(item, situation)), None)


def _names(item: CaptureDst, situation: Situation) -> bool:
    first, last = ports_of(item)
    if not first <= situation.port <= last:
        return False
    if item.ipset is not None:
        return names.operator(item.ipset, situation.family) in situation.sets
    if item.network is None:
        return True
    if item.network.version != (4 if situation.family == "ipv4" else 6):
        return False
    return item.network.first <= situation.destination.address <= item.network.last
