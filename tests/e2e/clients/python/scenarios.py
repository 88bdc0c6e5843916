"""The official Python client with default settings, against the server of $KUBECONFIG. The argument names a scenario; it
states facts, and an assertion that does not hold ends it with 1. At the line RESTART the test kills the server and starts
it again on the same data."""

import sys
import threading
import time

import urllib3
from kubernetes import client, config, dynamic, informer, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.stream import stream

SOON = 40


def fact(text):
    print("fact:", text, flush=True)


def restart():
    print("RESTART", flush=True)
    sys.stdin.readline()


def eventually(what, attempt):
    end, last = time.monotonic() + SOON, None
    while time.monotonic() < end:
        try:
            if (found := attempt()) is not None:
                return found
        except (ApiException, urllib3.exceptions.HTTPError) as e:
            last = e
        time.sleep(0.05)
    raise AssertionError(f"not within {SOON} s: {what}; last: {last}")


def refused(status, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ApiException as e:
        assert e.status == status, f"{e.status}, not {status}: {e.body}"
        return e
    raise AssertionError(f"{call.__name__} was not refused")


def config_map(name, value="", labels=None):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data={"value": value})


def deployment(name):
    labels = {"app": name}
    container = client.V1Container(name="main", image="example.com/app:1", ports=[client.V1ContainerPort(container_port=80)])
    template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container]))
    spec = client.V1DeploymentSpec(replicas=0, selector=client.V1LabelSelector(match_labels=labels), template=template)
    return client.V1Deployment(metadata=client.V1ObjectMeta(name=name, labels=labels), spec=spec)


def crud(core, ns):
    made = core.create_namespaced_config_map(ns, config_map("one", "a"))
    assert core.read_namespaced_config_map("one", ns).data == {"value": "a"}
    stale = core.read_namespaced_config_map("one", ns)
    made.data["value"] = "b"
    made = core.replace_namespaced_config_map("one", ns, made)
    stale.data["value"] = "c"
    assert "the object has been modified" in refused(409, core.replace_namespaced_config_map, "one", ns, stale).body
    assert "already exists" in refused(409, core.create_namespaced_config_map, ns, config_map("one")).body
    refused(404, core.read_namespaced_config_map, "none", ns)
    refused(422, core.create_namespaced_config_map, ns, config_map("No Name"))
    fact("create, read, replace, and refusals")

    apps = client.AppsV1Api()
    found = apps.create_namespaced_deployment(ns, deployment("web"))
    assert found.spec.strategy.rolling_update.max_surge == "25%" and found.metadata.generation == 1, found
    patches = [
        ("application/json-patch+json", [{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]),
        ("application/merge-patch+json", {"metadata": {"annotations": {"c": "d"}}}),
        ("application/strategic-merge-patch+json", {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s"}]}}}}),
    ]
    for content_type, body in patches:
        found = apps.patch_namespaced_deployment("web", ns, body, _content_type=content_type)
    assert found.metadata.annotations == {"a": "b", "c": "d"}, found.metadata.annotations
    assert [c.name for c in found.spec.template.spec.containers] == ["side", "main"], found.spec
    dry = apps.patch_namespaced_deployment_scale("web", ns, {"spec": {"replicas": 5}}, dry_run="All", _content_type=patches[1][0])
    assert dry.spec.replicas == 5 and not apps.read_namespaced_deployment_scale("web", ns).spec.replicas
    fact("three types of patches, scale, dry run")

    core.delete_namespaced_config_map("one", ns, body=client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=made.metadata.uid)))
    refused(404, core.read_namespaced_config_map, "one", ns)
    for number in range(4):
        core.create_namespaced_config_map(ns, config_map(f"many-{number}", labels={"many": "yes"}))
    core.delete_collection_namespaced_config_map(ns, label_selector="many=yes")
    assert core.list_namespaced_config_map(ns, label_selector="many=yes").items == []
    fact("deletion with preconditions, of one and of many")


def apply(core, ns):
    def applied(manager, value, **more):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": value}
        return core.patch_namespaced_config_map("shared", ns, body, field_manager=manager, _content_type="application/apply-patch+yaml", **more)

    first = applied("one", {"a": "1", "b": "1"})
    assert applied("one", {"a": "1", "b": "1"}).metadata.resource_version == first.metadata.resource_version
    error = refused(409, applied, "two", {"a": "2"})
    assert 'Apply failed with 1 conflict: conflict with \\"one\\": .data.a' in error.body, error.body
    assert applied("two", {"a": "2"}, force=True).data == {"a": "2", "b": "1"}
    assert applied("one", {}).data == {"a": "2"}
    fact("apply, a conflict, force, giving up")

    dyn = dynamic.DynamicClient(client.ApiClient())
    maps = dyn.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dynamic"}, "data": {"x": "y"}}
    assert dyn.server_side_apply(maps, body=body, namespace=ns, field_manager="dynamic").data.x == "y"
    assert maps.get(name="dynamic", namespace=ns).metadata.managedFields[0].operation == "Apply"
    fact("the dynamic client discovers and applies")


def pages(core, ns):
    for number in range(25):
        core.create_namespaced_config_map(ns, config_map(f"page-{number:02}", labels={"paged": "yes"}))
    names, more, count = [], None, 0
    while True:
        page = core.list_namespaced_config_map(ns, label_selector="paged=yes", limit=10, _continue=more)
        names += [item.metadata.name for item in page.items]
        count, more = count + 1, page.metadata._continue
        if not more:
            break
        # not in the moment that is listed
        core.create_namespaced_config_map(ns, config_map(f"page-late-{count}", labels={"paged": "yes"}))
        if count == 1:
            restart()
    assert count == 3 and names == [f"page-{number:02}" for number in range(25)], names
    refused(400, core.list_namespaced_config_map, ns, _continue="forged")
    fact("pages of one moment, over a restart")


def watching(core, ns):
    """A stream that the server's end breaks is resumed at the last resourceVersion, without a gap and without repetition."""
    labels = {"watched": "yes"}
    seen, done = [], threading.Event()
    version = core.list_namespaced_config_map(ns, label_selector="watched=yes").metadata.resource_version

    def follow():
        nonlocal version
        while not done.is_set():
            source = watch.Watch()
            try:
                for event in source.stream(core.list_namespaced_config_map, ns, label_selector="watched=yes", resource_version=version, timeout_seconds=60):
                    seen.append((event["type"], event["object"].metadata.name, event["object"].data["value"]))
                    version = event["object"].metadata.resource_version
                    if done.is_set():
                        return
            except (urllib3.exceptions.HTTPError, OSError):
                # the server is away
                time.sleep(0.05)

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    expected = []
    for number in range(12):
        if number in (4, 8):
            restart()
        made = eventually("it is created", lambda: core.create_namespaced_config_map(ns, config_map(f"map-{number}", "a", labels)))
        made.data["value"] = "b"
        core.replace_namespaced_config_map(made.metadata.name, ns, made)
        expected += [("ADDED", made.metadata.name, "a"), ("MODIFIED", made.metadata.name, "b")]
        if number % 2:
            core.delete_namespaced_config_map(made.metadata.name, ns)
            expected.append(("DELETED", made.metadata.name, "b"))
    eventually("all is seen", lambda: True if len(seen) >= len(expected) else None)
    assert seen == expected, f"{seen}\n{expected}"
    done.set()
    fact("a watch is resumed after restarts: everything once, in order")
    # from a version that was never there
    refused_stream = watch.Watch().stream(core.list_namespaced_config_map, ns, resource_version="1", timeout_seconds=2)
    types = {event["type"] for event in refused_stream}
    assert types <= {"ADDED", "MODIFIED", "DELETED"}, types
    informed(core, ns)


def informed(core, ns):
    """The client's own informer."""
    added = []
    inf = informer.SharedInformer(core.list_namespaced_config_map, namespace=ns, label_selector="watched=yes")
    inf.add_event_handler(informer.ADDED, lambda o: added.append(o.metadata.name))
    inf.start()
    eventually("the informer has what is there", lambda: True if len(inf.cache.list()) == 6 else None)
    core.create_namespaced_config_map(ns, config_map("informed", "a", {"watched": "yes"}))
    eventually("the informer has what came", lambda: True if len(inf.cache.list()) == 7 and "informed" in added else None)
    inf.stop()
    fact("an informer holds what is there")


def leading(core, ns):
    """A candidate of a Lease leads and renews it. (A connection that is refused ends this elector, as it is written.)"""
    led = threading.Event()
    settings = electionconfig.Config(LeaseLock("lock", ns, "one"), lease_duration=15, renew_deadline=10, retry_period=1,
                                     onstarted_leading=led.set, onstopped_leading=led.clear)
    threading.Thread(target=leaderelection.LeaderElection(settings).run, daemon=True).start()
    assert led.wait(SOON), "nobody leads"
    leases = client.CoordinationV1Api()
    before = leases.read_namespaced_lease("lock", ns).spec
    assert before.holder_identity == "one", before
    renewed = lambda: True if leases.read_namespaced_lease("lock", ns).spec.renew_time > before.renew_time else None
    eventually("the lease is renewed", renewed)
    assert led.is_set()
    fact("a candidate leads by a lease and renews it")


def execute(core, ns):
    """exec by websocket, in a pod `shell` that the test has made."""
    said = stream(core.connect_get_namespaced_pod_exec, "shell", "default", command=["/bin/sh", "-c", "echo out; echo err >&2"],
                  stderr=True, stdin=False, stdout=True, tty=False)
    assert "out" in said and "err" in said, said
    ws = stream(core.connect_get_namespaced_pod_exec, "shell", "default", command=["/bin/sh", "-c", "read line; echo got $line; exit 3"],
                stderr=True, stdin=True, stdout=True, tty=False, _preload_content=False)
    ws.write_stdin("this\n")
    ws.run_forever(timeout=SOON)
    assert ws.read_stdout() == "got this\n", "nothing was said"
    assert ws.returncode == 3, ws.returncode
    assert core.read_namespaced_pod_log("shell", "default") == "begun\n"
    fact("exec with input, output and exit code; logs")


SCENARIOS = {"crud": crud, "apply": apply, "pages": pages, "watch": watching, "lead": leading, "exec": execute}


def main(name):
    config.load_kube_config()
    core = client.CoreV1Api()
    made = core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(generate_name=f"{name}-")))
    ns = made.metadata.name
    eventually("the namespace is furnished", lambda: core.read_namespaced_service_account("default", ns))
    SCENARIOS[name](core, ns)
    print("done", flush=True)


main(sys.argv[1])
