"""A watch has a gap and objects vanish in it: kopf sends no DELETED for them, the sweep finds them."""

from __future__ import annotations


async def test_what_vanished_while_the_watch_was_down_is_forgotten_within_one_relist(kube, replica, proxy):
    await kube.add("only")
    operator = replica("a", CLARA_SWEEP_SECONDS="100000", CLARA_RESYNC_SECONDS="100000")

    async def seen():
        return await kube.said("only") == "a saw one"

    await kube.until("the operator saw it", seen, 60)
    proxy.cut()
    await kube.delete("only")  # the last of its kind: the relist brings no event at all
    await kube.add("after")
    proxy.heal()

    async def told():
        return "gone only" in operator.log()

    await kube.until("the operator forgot it", told, 15)
    assert operator.process.poll() is None, operator.log()

    async def goes_on():
        return await kube.said("after") == "a saw one"

    await kube.until("the operator sees what is new", goes_on, 15)
