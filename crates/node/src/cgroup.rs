//! cgroups: a folder per instance, QoS class, pod and container, on v1 (hybrid included) and v2.
