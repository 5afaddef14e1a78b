"""Container specs, compared whole.

After a wanted change: ``GAVIP_WRITE_GOLDEN=1 python -m pytest tests/unit/gavip_spawner/test_containers.py``,
then read the difference of ``golden/`` as what it is: what user code may do.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traitlets import TraitError

from gavip_api.enums import Role, Template
from gavip_api.errors import InvalidInput
from gavip_api.manifest import NOTHING_GRANTED, Permissions
from gavip_api.models import InstanceOptions, ResourceAmount, UserProfile
from gavip_spawner.containers import Containers, ContainerSettings, container_spec
from gavip_spawner.layout import StateLayout
from gavip_spawner.placement import InContainer, Mount, OnHost
from gavip_spawner.specs import LaunchSpec, interface_spec, notebook_spec, pipeline_spec

GOLDEN = Path(__file__).with_name("golden")
STATE = Path("/srv/gavip")
LAYOUT = StateLayout(STATE)
SHA = "a" * 40
JOB = "01a20008-71fb-757f-87d6-1e6bd2daad9e"
SETTINGS = ContainerSettings(
    platform="test",
    state=str(STATE),
    images={name: f"gavip/avi-{name}:1" for name in ("python", "java", "fortran", "lab")},
    network="gavip-test",
    gateway="http://10.213.0.1:8099",
)
HUB = {"JUPYTERHUB_API_TOKEN": "limited", "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:8888/x/"}
ALICE = UserProfile(name="alice", roles=(Role.SCIENTIST,))
AMOUNT = ResourceAmount(memory=512 << 20, cpu=0.25)


def interface(permissions=NOTHING_GRANTED, placement=None):
    return interface_spec(
        LAYOUT,
        name="avi-00ff.1",
        options=InstanceOptions(
            id=JOB,
            owner=ALICE,
            avi="gaia/demo",
            release=SHA,
            template=Template.PYTHON,
            view="interface",
            notebook="app.ipynb",
            permissions=permissions,
            resources=AMOUNT,
        ),
        hub_environment=HUB,
        archive_url="http://10.213.0.1:8099/tap",
        api_url="http://10.213.0.1:8099/services/portal/api/v1",
        frame_ancestors="'self' http://portal.x.test",
        server="avi-00ff/",
        placement=placement or InContainer(),
        platform={},
    )


def job(template=Template.PYTHON, amount=AMOUNT, permissions=NOTHING_GRANTED, time_limit=3600):
    own = LAYOUT.avi_folder("alice", "gaia/demo")
    return pipeline_spec(
        LAYOUT,
        job_id=JOB,
        attempt=2,
        owner=ALICE,
        avi="gaia/demo",
        release=SHA,
        pipeline="work",
        amount=amount,
        time_limit=time_limit,
        output_dir=own / "work-1",
        parameters_file=LAYOUT.run / "jobs" / f"{JOB}.json",
        archive_url="",
        job_url="http://10.213.0.1:8099/services/jobqueue/api/v1/runs/1",
        job_token="one-job",
        template=template,
        permissions=permissions,
        placement=InContainer(),
        platform={"AWS_SECRET_ACCESS_KEY": "s3cret", "PATH": "/host/bin"},
    )


def notebook():
    return notebook_spec(
        LAYOUT,
        name="alice.1",
        user="alice",
        amount=ResourceAmount(memory=1 << 30, cpu=2),
        argv=("/opt/gavip/bin/python", "-m", "jupyterhub.singleuser"),
        hub_environment=HUB,
        archive_url="http://10.213.0.1:8099/tap",
        server="alice/",
        placement=InContainer(),
        platform={},
    )


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        pytest.param("notebook", notebook(), id="notebook"),
        pytest.param("interface", interface(), id="interface, nothing granted"),
        pytest.param(
            "interface-granted",
            interface(Permissions(userspace="read", archive=True, network=("example.org",))),
            id="interface, user-space and network granted",
        ),
        pytest.param("job-python", job(), id="job"),
        pytest.param(
            "job-java", job(Template.JAVA, ResourceAmount(memory=1, cpu=0)), id="java job"
        ),
    ],
)
def test_whole_specs(name, spec):
    built = container_spec(spec, SETTINGS)
    made = {"create": built.create, "host": built.host}
    text = json.dumps(made, indent=1, sort_keys=True) + "\n"
    file = GOLDEN / f"{name}.json"
    if os.environ.get("GAVIP_WRITE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize(
    ("spec", "most", "quota"),
    [
        pytest.param(interface(), 1.0, 100_000, id="an interface, more than reserved"),
        pytest.param(interface(), 0.1, 25_000, id="an interface, never less than reserved"),
        pytest.param(interface(), 0, 25_000, id="an interface, switched off"),
        pytest.param(job(), 1.0, 25_000, id="a job, what is reserved"),
        pytest.param(notebook(), 4.0, 200_000, id="a notebook, what its person chose"),
    ],
)
def test_processor_time(spec, most, quota):
    host = container_spec(spec, replace(SETTINGS, interface_cpu=most)).host
    assert host["cpu_quota"] == quota
    assert host["cpu_shares"] == round(1024 * spec.amount.cpu)


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30)


@given(
    names,
    st.dictionaries(names, names, max_size=3),
    st.lists(st.tuples(names, names, st.booleans()), max_size=3),
    st.integers(0, 1 << 50),
    st.floats(0, 1024),
    st.none() | st.integers(1, 1 << 31),
    st.sampled_from(["python", "lab", "", "evil"]),
)
def test_nothing_yields_more_than_is_allowed(
    name, environment, mounts, memory, cpu, seconds, image
):
    spec = LaunchSpec(
        name=name,
        argv=("x",),
        environment=environment,
        cwd="/userspace",
        amount=ResourceAmount(memory=memory, cpu=cpu),
        time_limit=seconds,
        labels={"gavip.platform": "another", "gavip.permissions": '{"archive":true}'},
        mounts=tuple(Mount(*m) for m in mounts),
        image=image,
    )
    try:
        built = container_spec(spec, SETTINGS)
    except InvalidInput:
        return
    host = built.host
    assert host["privileged"] is False
    assert host["read_only"] is True
    assert host["cap_drop"] == ["ALL"]
    assert host["security_opt"] == ["no-new-privileges"]
    assert host["network_mode"] == "gavip-test"
    assert host["mem_limit"] == host["memswap_limit"] == memory
    assert host["cpu_quota"] >= 1000
    assert not {"cap_add", "devices", "pid_mode", "userns_mode", "volumes_from"} & host.keys()
    assert host["ipc_mode"] == "private"
    assert built.create["user"] == "1000:1000"
    assert built.create["image"] == f"gavip/avi-{image}:1"
    assert built.create["labels"]["gavip.platform"] == "test"
    assert built.create["labels"]["gavip.permissions"] == '{"archive":false,"network":[]}'
    assert all(bind.startswith(f"{STATE}/") for bind in host["binds"])


@pytest.mark.parametrize(
    ("source", "target"),
    [
        pytest.param("/var/run/docker.sock", "/userspace/x", id="engine socket"),
        pytest.param("/srv/gavip/../x", "/userspace/x", id="out of the state folder"),
        pytest.param("/srv/gavipx", "/userspace/x", id="beside the state folder"),
        pytest.param("/srv/gavip/a:/etc:rw", "/userspace", id="another bind in the source"),
        pytest.param("/srv/gavip/a", "/etc", id="over the image"),
        pytest.param("/srv/gavip/a", "/userspace/../etc", id="over the image by dots"),
        pytest.param("/srv/gavip/a", "/userspace:rw,z", id="options in the target"),
    ],
)
def test_mounts_are_refused(source, target):
    spec = LaunchSpec(
        name="a", argv=("x",), environment={}, cwd="/", amount=AMOUNT, image="python",
        mounts=(Mount(source, target),),
    )  # fmt: skip
    with pytest.raises(InvalidInput):
        container_spec(spec, SETTINGS)


def test_inside_nothing_tells_of_the_host():
    spec = interface(Permissions(userspace="read"))
    seen = json.dumps([spec.environment, spec.argv, spec.cwd, [m.target for m in spec.mounts]])
    assert str(STATE) not in seen
    assert "alice" not in json.dumps([m.target for m in spec.mounts])
    on_host = interface(placement=OnHost("python3"))
    assert {m.source for m in on_host.mounts} == {m.target for m in on_host.mounts}


@pytest.mark.parametrize("name", ["Gavip", "a-b", "toolongforaname", "ü"])
def test_names_of_platforms_are_checked(name):
    with pytest.raises(TraitError):
        Containers(platform=name)


def test_root_is_never_the_account():
    with pytest.raises(TraitError):
        Containers(uid=0)
