"""What is done next on a user's disk, and what the kernel's lists mean: all without touching a disk."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traitlets import TraitError

from gavip_spawner import volumes as plan
from gavip_spawner.disks import UserDisks
from gavip_spawner.layout import StateLayout
from gavip_spawner.volumes import Facts, Step, next_step

SIZE = 64 << 20
BIGGER = 128 << 20
DONE = Facts(size=SIZE, layers=1, attached=True)


@pytest.mark.parametrize(
    ("facts", "step"),
    [
        pytest.param(Facts(), Step.MAKE, id="nothing yet"),
        pytest.param(Facts(content=True), Step.MAKE, id="a folder from before"),
        pytest.param(Facts(half=True), Step.DISCARD, id="killed while it was made"),
        pytest.param(
            Facts(half=True, staged=True), Step.UNSTAGE, id="killed while files were copied"
        ),
        pytest.param(Facts(half=True, old=True), Step.DISCARD, id="killed between the renames"),
        pytest.param(Facts(old=True), Step.RESTORE, id="the folder moved away, no image"),
        pytest.param(Facts(old=True, content=True), Step.SET_ASIDE, id="and a new folder filled"),
        pytest.param(Facts(size=SIZE), Step.MOUNT, id="rebooted"),
        pytest.param(Facts(size=SIZE, old=True), Step.MOUNT, id="killed before the first mount"),
        pytest.param(Facts(size=0), Step.GROW_UNMOUNTED, id="damaged: checked, never made again"),
        pytest.param(Facts(size=SIZE, content=True), Step.SET_ASIDE, id="written without a mount"),
        pytest.param(Facts(size=SIZE, attached=True), Step.MOUNT, id="a container has it mounted"),
        pytest.param(DONE, None, id="ready"),
        pytest.param(replace(DONE, size=BIGGER), None, id="larger than wanted"),
        pytest.param(replace(DONE, layers=2), Step.UNSTACK, id="mounted twice"),
        pytest.param(replace(DONE, read_only=True), Step.UNMOUNT, id="the host was full"),
        pytest.param(replace(DONE, old=True), Step.CLEAR_OLD, id="the copied folder is left"),
        pytest.param(Facts(foreign=True), Step.REFUSE, id="something else"),
        pytest.param(replace(DONE, foreign=True), Step.REFUSE, id="something else on top"),
    ],
)
def test_what_is_done_next(facts: Facts, step: Step | None) -> None:
    assert next_step(facts, SIZE) is step


@pytest.mark.parametrize(
    ("facts", "step"),
    [
        pytest.param(Facts(size=SIZE), Step.GROW_UNMOUNTED, id="not mounted"),
        pytest.param(Facts(size=SIZE, attached=True), Step.MOUNT, id="mounted by a container"),
        pytest.param(DONE, Step.GROW, id="mounted"),
        pytest.param(replace(DONE, may_resize=False), Step.UNMOUNT, id="mounted, not allowed"),
        pytest.param(Facts(), Step.MAKE, id="none yet"),
    ],
)
def test_disks_grow(facts: Facts, step: Step) -> None:
    assert next_step(facts, BIGGER) is step


def after(facts: Facts, step: Step) -> Facts:
    """What a step that ends well leaves behind."""
    return {
        Step.UNSTAGE: lambda: replace(facts, staged=False),
        Step.DISCARD: lambda: replace(facts, half=False),
        Step.RESTORE: lambda: replace(facts, old=False, content=True),
        Step.SET_ASIDE: lambda: replace(facts, content=False),
        Step.MAKE: lambda: replace(facts, size=BIGGER, old=facts.content, content=False),
        Step.MOUNT: lambda: replace(facts, layers=1, attached=True),
        Step.UNSTACK: lambda: replace(facts, layers=facts.layers - 1),
        Step.GROW: lambda: replace(facts, size=BIGGER),
        Step.UNMOUNT: lambda: replace(facts, layers=0, attached=False),
        Step.GROW_UNMOUNTED: lambda: replace(facts, size=BIGGER),
        Step.CLEAR_OLD: lambda: replace(facts, old=False),
    }[step]()


EVERYTHING = [
    Facts(
        size, half, staged, old, layers, False, content, attached or layers > 0, False, may_resize
    )
    for size, half, staged, old, layers, content, attached, may_resize in itertools.product(
        (None, SIZE, BIGGER), *[(False, True)] * 3, (0, 1, 3), *[(False, True)] * 3
    )
    if not (layers and (content or size is None))
]


@pytest.mark.parametrize("facts", EVERYTHING, ids=str)
def test_every_state_leads_to_a_mounted_disk(facts: Facts) -> None:
    steps: list[Step] = []
    while (step := next_step(facts, BIGGER)) is not None:
        steps.append(step)
        assert len(steps) <= 10, steps
        facts = after(facts, step)
    assert facts.layers == 1
    assert facts.size == BIGGER
    assert facts == replace(facts, half=False, staged=False, old=False)


def test_files_are_never_hidden_below_a_mount() -> None:
    assert [f for f in EVERYTHING if f.content and next_step(f, SIZE) is Step.MOUNT] == []


def test_paths() -> None:
    userspace, home = plan.volumes(StateLayout(Path("/srv")), "alice", SIZE, SIZE)
    assert userspace.image == Path("/srv/disks/alice/userspace.img")
    assert home.image == Path("/srv/disks/alice/home.img")
    assert (userspace.target, home.target) == (
        Path("/srv/userspace/alice"),
        Path("/srv/homes/alice"),
    )


def test_the_commands_are_argument_lists() -> None:
    image = Path("/srv/a b;c/-x.img")
    for argv in (
        plan.mkfs_argv(image, 32768),
        plan.mount_argv(image, image, loop=True),
        plan.fsck_argv(image),
        plan.resize_argv(image),
        plan.umount_argv(image),
    ):
        assert str(image) in argv
    options = plan.mount_argv(image, image, loop=True)[4].split(",")
    assert {"loop", "nosuid", "nodev"} <= set(options)


MOUNTINFO = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 7:0 / /srv/user\\040space/a rw,nosuid,nodev shared:3 master:1 - ext4 /dev/loop0 ro,discard
41 22 0:40 / /srv/ü rw - tmpfs tmpfs rw
"""


def test_mounts_are_read() -> None:
    mounts = plan.parse_mountinfo(MOUNTINFO)
    assert [(m.device, m.target, m.shared, m.read_only) for m in mounts] == [
        ("254:0", "/", True, False),
        ("7:0", "/srv/user space/a", True, True),
        ("0:40", "/srv/ü", False, False),
    ]
    found = plan.innermost(mounts, Path("/srv/ü/x"))
    assert found is not None
    assert found.target == "/srv/ü"
    found = plan.innermost(mounts, Path("/srv/other"))
    assert found is not None
    assert found.target == "/"


def test_loop_devices_are_read() -> None:
    listed = {
        "name": "/dev/loop3",
        "maj:min": "  7:3  ",
        "back-ino": 12,
        "back-maj:min": " 254:0 ",
        "back-file": "/srv/x.img",
    }
    text = json.dumps({"loopdevices": [listed, dict.fromkeys(listed)]})
    assert plan.parse_losetup(text) == [
        plan.LoopDevice("/dev/loop3", "7:3", 12, "254:0", "/srv/x.img")
    ]
    assert plan.parse_losetup("") == []


@given(st.binary(max_size=3000))
def test_a_superblock_may_be_anything(head: bytes) -> None:
    assert plan.filesystem_bytes(head) is None or head[1080:1082] == b"\x53\xef"


@pytest.mark.parametrize(
    ("status", "may"),
    [
        pytest.param("CapEff:\t000001ffffffffff\n", True, id="everything"),
        pytest.param("CapEff:\t000001fffeffffff\n", False, id="all but that"),
        pytest.param("", False, id="unknown"),
    ],
)
def test_who_may_resize(status: str, may: bool) -> None:
    assert plan.may_resize(status) is may


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"quota": "1K"}, id="too small"),
        pytest.param({"home_quota": "much"}, id="no size"),
        pytest.param({"quotas": {"alice": "none"}}, id="no size of a user"),
        pytest.param({"reserve": "-1"}, id="negative reserve"),
        pytest.param({"bytes_per_inode": 1}, id="too many inodes"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(TraitError):
        UserDisks(**options)


def test_sizes_of_single_users() -> None:
    disks = UserDisks(state_dir="/srv", quota="64M", home_quota="32M", quotas={"bob": "1G"})
    assert [v.size for v in disks.volumes("alice")] == [64 << 20, 32 << 20]
    assert [v.size for v in disks.volumes("bob")] == [1 << 30, 32 << 20]


def test_switched_off_nothing_is_touched(tmp_path: Path) -> None:
    disks = UserDisks(state_dir=str(tmp_path))
    disks.ensure("alice")
    with disks.held("alice"):
        assert disks.usage("alice") is None
    assert disks.find() == []
    assert list(tmp_path.iterdir()) == []
