"""Python's kubernetes client, as its documentation shows: a dynamic list, a watch that sees a change, Pods and their logs."""

import sys

from kubernetes import client, config, dynamic, watch

config.load_kube_config(sys.argv[1])
api = client.ApiClient()
pools = dynamic.DynamicClient(api).resources.get(api_version="weir.dev/v1", kind="WorkerPool")

listed = pools.get()
assert [pool.metadata.name for pool in listed.items] == ["talk", "web"], listed
version = listed.metadata.resourceVersion

pools.patch(name="web", body={"spec": {"replicas": 1}}, content_type="application/merge-patch+json")
seen = []
for event in pools.watch(resource_version=version, timeout=20):
    pool = event["object"]
    seen.append((event["type"], pool.metadata.name, pool.spec.replicas, pool.status.readyReplicas))
    if pool.metadata.name == "web" and pool.spec.replicas == 1 and pool.status.readyReplicas == 1:
        break
else:
    raise AssertionError(f"the change was never seen: {seen}")

core = client.CoreV1Api()
assert [pod.metadata.name for pod in core.list_namespaced_pod("default").items] == ["talk-0", "web-0"]
assert core.read_namespaced_pod_log("talk-0", "default") == "hello from talk-0\n"
names = {event["object"].metadata.name for event in watch.Watch().stream(core.list_namespaced_pod, "default", timeout_seconds=1)}
assert names == {"talk-0", "web-0"}, names
assert any(event.reason == "Scaled" for event in client.EventsV1Api().list_namespaced_event("default").items)

custom = client.CustomObjectsApi()
assert custom.get_cluster_custom_object("weir.dev", "v1", "workerpools", "web")["spec"]["replicas"] == 1
scale = custom.get_cluster_custom_object_scale("weir.dev", "v1", "workerpools", "web")
assert scale["spec"]["replicas"] == 1, scale
try:
    custom.get_cluster_custom_object("weir.dev", "v1", "workerpools", "nosuch")
    raise AssertionError("it was found")
except client.ApiException as error:
    assert error.status == 404, error
