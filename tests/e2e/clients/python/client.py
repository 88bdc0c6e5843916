"""A client as its users write it: in a pod, with nothing configured, it lists, watches, and is refused secrets."""

import json

from kubernetes import client, config, watch

config.load_incluster_config()
with open("/var/run/secrets/kubernetes.io/serviceaccount/namespace", encoding="utf-8") as f:
    namespace = f.read()
core = client.CoreV1Api()
for pod in core.list_namespaced_pod(namespace).items:
    print("pod", pod.metadata.name, pod.status.phase)
for event in watch.Watch().stream(core.list_namespaced_pod, namespace, timeout_seconds=10):
    print(event["type"].lower(), event["object"].metadata.name)
    break
try:
    core.list_namespaced_secret(namespace)
    print("secrets were not refused")
except client.ApiException as e:
    print(f"{e.status}: {json.loads(e.body)['message']}")
