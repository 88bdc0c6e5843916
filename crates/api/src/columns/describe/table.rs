//! Generated once from upstream's printers: which field each column shows, or the words that stand for none.
//! `(kind, [(column, source)])`; a source is `=words` or `type field`, the type without `io.k8s.api.`.

pub(super) static COLUMNS: &[(&str, &[(&str, &str)])] = &[
    (
        "APIService",
        &[
            ("Service", "=The reference to the service that hosts this API endpoint."),
            ("Available", "=Whether this service is available."),
        ],
    ),
    (
        "CSIDriver",
        &[
            ("AttachRequired", "storage.v1.CSIDriverSpec attachRequired"),
            ("PodInfoOnMount", "storage.v1.CSIDriverSpec podInfoOnMount"),
            ("StorageCapacity", "storage.v1.CSIDriverSpec storageCapacity"),
            ("TokenRequests", "storage.v1.CSIDriverSpec tokenRequests"),
            ("RequiresRepublish", "storage.v1.CSIDriverSpec requiresRepublish"),
            ("Modes", "storage.v1.CSIDriverSpec volumeLifecycleModes"),
        ],
    ),
    ("CSINode", &[("Drivers", "=Drivers indicates the number of CSI drivers registered on the node")]),
    (
        "CSIStorageCapacity",
        &[
            ("StorageClassName", "storage.v1.CSIStorageCapacity storageClassName"),
            ("Capacity", "storage.v1.CSIStorageCapacity capacity"),
        ],
    ),
    (
        "CertificateSigningRequest",
        &[
            // of the older version, which upstream's printer still describes
            (
                "SignerName",
                "=Requested signer for the request. It is a qualified name in the form: `scope-hostname.io/name`. If empty, it will be defaulted:\n 1. If it's a kubelet client certificate, it is assigned\n    \"kubernetes.io/kube-apiserver-client-kubelet\".\n 2. If it's a kubelet serving certificate, it is assigned\n    \"kubernetes.io/kubelet-serving\".\n 3. Otherwise, it is assigned \"kubernetes.io/legacy-unknown\".\nDistribution of trust for signers happens out of band. You can select on this field using `spec.signerName`.",
            ),
            ("Requestor", "=Base64-encoded PKCS#10 CSR data"),
            ("RequestedDuration", "certificates.v1.CertificateSigningRequestSpec expirationSeconds"),
            ("Condition", "=Conditions applied to the request, such as approval or denial."),
        ],
    ),
    (
        "ClusterRoleBinding",
        &[
            ("Role", "rbac.v1.ClusterRoleBinding roleRef"),
            ("Users", "=Users in the clusterRoleBinding"),
            ("Groups", "=Groups in the clusterRoleBinding"),
            ("ServiceAccounts", "=ServiceAccounts in the clusterRoleBinding"),
        ],
    ),
    ("ClusterTrustBundle", &[("SignerName", "certificates.v1.ClusterTrustBundleSpec signerName")]),
    (
        "ComponentStatus",
        &[
            ("Status", "=Status of the component conditions"),
            ("Message", "=Message of the component conditions"),
            ("Error", "=Error of the component conditions"),
        ],
    ),
    ("ConfigMap", &[("Data", "core.v1.ConfigMap data")]),
    (
        "ControllerRevision",
        &[("Controller", "=Controller of the object"), ("Revision", "apps.v1.ControllerRevision revision")],
    ),
    (
        "CronJob",
        &[
            ("Schedule", "batch.v1.CronJobSpec schedule"),
            ("Timezone", "batch.v1.CronJobSpec timeZone"),
            ("Suspend", "batch.v1.CronJobSpec suspend"),
            ("Active", "batch.v1.CronJobStatus active"),
            ("Last Schedule", "batch.v1.CronJobStatus lastScheduleTime"),
            ("Containers", "=Names of each container in the template."),
            ("Images", "=Images referenced by each container in the template."),
            ("Selector", "batch.v1.JobSpec selector"),
        ],
    ),
    (
        "CustomResourceDefinition",
        &[
            ("Scope", "=Cluster/Namespaced"),
            ("Versions", "=Served versions"),
            ("Group", "=API group"),
            ("Kind", "=CustomResource kind"),
            ("ShortNames", "=Short names"),
            ("Established", "=Established status"),
        ],
    ),
    (
        "DaemonSet",
        &[
            ("Desired", "apps.v1.DaemonSetStatus desiredNumberScheduled"),
            ("Current", "apps.v1.DaemonSetStatus currentNumberScheduled"),
            ("Ready", "apps.v1.DaemonSetStatus numberReady"),
            ("Up-to-date", "apps.v1.DaemonSetStatus updatedNumberScheduled"),
            ("Available", "apps.v1.DaemonSetStatus numberAvailable"),
            ("Node Selector", "core.v1.PodSpec nodeSelector"),
            ("Containers", "=Names of each container in the template."),
            ("Images", "=Images referenced by each container in the template."),
            ("Selector", "apps.v1.DaemonSetSpec selector"),
        ],
    ),
    (
        "Deployment",
        &[
            ("Ready", "=Number of the pod with ready state"),
            ("Up-to-date", "apps.v1.DeploymentStatus updatedReplicas"),
            ("Available", "apps.v1.DeploymentStatus availableReplicas"),
            ("Containers", "=Names of each container in the template."),
            ("Images", "=Images referenced by each container in the template."),
            ("Selector", "apps.v1.DeploymentSpec selector"),
        ],
    ),
    (
        "DeviceTaintRule",
        &[
            ("Key", "resource.v1.DeviceTaint key"),
            ("Value", "resource.v1.DeviceTaint value"),
            ("Effect", "resource.v1.DeviceTaint effect"),
            ("TimeAdded", "resource.v1.DeviceTaint timeAdded"),
        ],
    ),
    (
        "EndpointSlice",
        &[
            ("AddressType", "discovery.v1.EndpointSlice addressType"),
            ("Ports", "discovery.v1.EndpointSlice ports"),
            ("Endpoints", "discovery.v1.EndpointSlice endpoints"),
        ],
    ),
    ("Endpoints", &[("Endpoints", "core.v1.Endpoints subsets")]),
    (
        "Event",
        &[
            ("Last Seen", "core.v1.Event lastTimestamp"),
            ("Type", "core.v1.Event type"),
            ("Reason", "core.v1.Event reason"),
            ("Object", "core.v1.Event involvedObject"),
            ("Subobject", "core.v1.ObjectReference fieldPath"),
            ("Source", "core.v1.Event source"),
            ("Message", "core.v1.Event message"),
            ("First Seen", "core.v1.Event firstTimestamp"),
            ("Count", "core.v1.Event count"),
        ],
    ),
    (
        "FlowSchema",
        &[
            ("PriorityLevel", "flowcontrol.v1.PriorityLevelConfigurationReference name"),
            ("MatchingPrecedence", "flowcontrol.v1.FlowSchemaSpec matchingPrecedence"),
            ("DistinguisherMethod", "flowcontrol.v1.FlowSchemaSpec distinguisherMethod"),
            ("MissingPL", "=references a broken or non-existent PriorityLevelConfiguration"),
        ],
    ),
    (
        "HorizontalPodAutoscaler",
        &[
            ("Reference", "autoscaling.v2.HorizontalPodAutoscalerSpec scaleTargetRef"),
            ("Targets", "autoscaling.v2.HorizontalPodAutoscalerSpec metrics"),
            ("MinPods", "autoscaling.v2.HorizontalPodAutoscalerSpec minReplicas"),
            ("MaxPods", "autoscaling.v2.HorizontalPodAutoscalerSpec maxReplicas"),
            ("Replicas", "autoscaling.v2.HorizontalPodAutoscalerStatus currentReplicas"),
        ],
    ),
    ("IPAddress", &[("ParentRef", "networking.v1.IPAddressSpec parentRef")]),
    (
        "Ingress",
        &[
            ("Class", "=The name of the IngressClass resource that should be used for additional configuration"),
            ("Hosts", "=Hosts that incoming requests are matched against before the ingress rule"),
            ("Address", "=Address is a list containing ingress points for the load-balancer"),
            ("Ports", "=Ports of TLS configurations that open"),
        ],
    ),
    (
        "IngressClass",
        &[
            ("Controller", "=Controller that is responsible for handling this class"),
            ("Parameters", "=A reference to a resource with additional parameters"),
        ],
    ),
    (
        "Job",
        &[
            ("Status", "=Status of the job."),
            ("Completions", "batch.v1.JobStatus succeeded"),
            ("Duration", "=Time required to complete the job."),
            ("Containers", "=Names of each container in the template."),
            ("Images", "=Images referenced by each container in the template."),
            ("Selector", "batch.v1.JobSpec selector"),
        ],
    ),
    ("Lease", &[("Holder", "coordination.v1.LeaseSpec holderIdentity")]),
    (
        "MutatingAdmissionPolicy",
        &[
            ("Mutations", "=Mutation indicates the number of mutations rules defined in this configuration"),
            ("ParamKind", "=ParamKind specifies the kind of resources used to parameterize this policy"),
        ],
    ),
    (
        "MutatingAdmissionPolicyBinding",
        &[
            ("PolicyName", "=PolicyName indicates the policy definition which the policy binding binded to"),
            ("ParamRef", "=ParamRef indicates the param resource which sets the configuration param"),
        ],
    ),
    (
        "MutatingWebhookConfiguration",
        &[("Webhooks", "=Webhooks indicates the number of webhooks registered in this configuration")],
    ),
    ("Namespace", &[("Status", "=The status of the namespace")]),
    ("NetworkPolicy", &[("Pod-Selector", "networking.v1.NetworkPolicySpec podSelector")]),
    (
        "Node",
        &[
            ("Status", "=The status of the node"),
            ("Roles", "=The roles of the node"),
            ("Version", "core.v1.NodeSystemInfo kubeletVersion"),
            ("Internal-IP", "core.v1.NodeStatus addresses"),
            ("External-IP", "core.v1.NodeStatus addresses"),
            ("OS-Image", "core.v1.NodeSystemInfo osImage"),
            ("Kernel-Version", "core.v1.NodeSystemInfo kernelVersion"),
            ("Container-Runtime", "core.v1.NodeSystemInfo containerRuntimeVersion"),
        ],
    ),
    (
        "PersistentVolume",
        &[
            ("Capacity", "core.v1.PersistentVolumeSpec capacity"),
            ("Access Modes", "core.v1.PersistentVolumeSpec accessModes"),
            ("Reclaim Policy", "core.v1.PersistentVolumeSpec persistentVolumeReclaimPolicy"),
            ("Status", "core.v1.PersistentVolumeStatus phase"),
            ("Claim", "core.v1.PersistentVolumeSpec claimRef"),
            ("StorageClass", "=StorageClass of the pv"),
            ("VolumeAttributesClass", "=VolumeAttributesClass of the pv"),
            ("Reason", "core.v1.PersistentVolumeStatus reason"),
            ("VolumeMode", "core.v1.PersistentVolumeSpec volumeMode"),
        ],
    ),
    (
        "PersistentVolumeClaim",
        &[
            ("Status", "core.v1.PersistentVolumeClaimStatus phase"),
            ("Volume", "core.v1.PersistentVolumeClaimSpec volumeName"),
            ("Capacity", "core.v1.PersistentVolumeClaimStatus capacity"),
            ("Access Modes", "core.v1.PersistentVolumeClaimStatus accessModes"),
            ("StorageClass", "=StorageClass of the pvc"),
            ("VolumeAttributesClass", "=VolumeAttributesClass of the pvc"),
            ("VolumeMode", "core.v1.PersistentVolumeClaimSpec volumeMode"),
        ],
    ),
    (
        "Pod",
        &[
            ("Ready", "=The aggregate readiness state of this pod for accepting traffic."),
            ("Status", "=The aggregate status of the containers in this pod."),
            (
                "Restarts",
                "=The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
            ),
            ("IP", "core.v1.PodStatus podIP"),
            ("Node", "core.v1.PodSpec nodeName"),
            ("Nominated Node", "core.v1.PodStatus nominatedNodeName"),
            ("Readiness Gates", "core.v1.PodSpec readinessGates"),
        ],
    ),
    (
        "PodCertificateRequest",
        &[
            ("PodName", "certificates.v1.PodCertificateRequestSpec podName"),
            ("ServiceAccountName", "certificates.v1.PodCertificateRequestSpec serviceAccountName"),
            ("NodeName", "certificates.v1.PodCertificateRequestSpec nodeName"),
            ("SignerName", "certificates.v1.PodCertificateRequestSpec signerName"),
            ("State", "=Is the request Pending, Issued, Denied, or Failed?"),
            ("UnverifiedUserAnnotations", "certificates.v1.PodCertificateRequestSpec unverifiedUserAnnotations"),
        ],
    ),
    (
        "PodDisruptionBudget",
        &[
            ("Min Available", "=The minimum number of pods that must be available."),
            ("Max Unavailable", "=The maximum number of pods that may be unavailable."),
            ("Allowed Disruptions", "=Calculated number of pods that may be disrupted at this time."),
        ],
    ),
    (
        "PodTemplate",
        &[
            ("Containers", "=Names of each container in the template."),
            ("Images", "=Images referenced by each container in the template."),
            ("Pod Labels", "=The labels for the pod template."),
        ],
    ),
    (
        "PriorityClass",
        &[
            ("Value", "scheduling.v1.PriorityClass value"),
            ("Global-Default", "scheduling.v1.PriorityClass globalDefault"),
            ("PreemptionPolicy", "scheduling.v1.PriorityClass preemptionPolicy"),
        ],
    ),
    (
        "PriorityLevelConfiguration",
        &[
            ("Type", "flowcontrol.v1.PriorityLevelConfigurationSpec type"),
            ("NominalConcurrencyShares", "flowcontrol.v1.LimitedPriorityLevelConfiguration nominalConcurrencyShares"),
            ("Queues", "flowcontrol.v1.QueuingConfiguration queues"),
            ("HandSize", "flowcontrol.v1.QueuingConfiguration handSize"),
            ("QueueLengthLimit", "flowcontrol.v1.QueuingConfiguration queueLengthLimit"),
        ],
    ),
    (
        "ReplicaSet",
        &[
            ("Desired", "apps.v1.ReplicaSetSpec replicas"),
            ("Current", "apps.v1.ReplicaSetStatus replicas"),
            ("Ready", "apps.v1.ReplicaSetStatus readyReplicas"),
            ("Containers", "=Names of each container in the template."),
            ("Images", "=Images referenced by each container in the template."),
            ("Selector", "apps.v1.ReplicaSetSpec selector"),
        ],
    ),
    (
        "ReplicationController",
        &[
            ("Desired", "core.v1.ReplicationControllerSpec replicas"),
            ("Current", "core.v1.ReplicationControllerStatus replicas"),
            ("Ready", "core.v1.ReplicationControllerStatus readyReplicas"),
            ("Containers", "=Names of each container in the template."),
            ("Images", "=Images referenced by each container in the template."),
            ("Selector", "core.v1.ReplicationControllerSpec selector"),
        ],
    ),
    ("ResourceClaim", &[("State", "=A summary of the current state (allocated, pending, reserved, etc.).")]),
    (
        "ResourceQuota",
        &[
            ("Request", "=Request represents a minimum amount of cpu/memory that a container may consume."),
            (
                "Limit",
                "=Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
            ),
        ],
    ),
    (
        "ResourceSlice",
        &[
            ("Node", "resource.v1.ResourceSliceSpec nodeName"),
            ("Driver", "resource.v1.ResourceSliceSpec driver"),
            ("Pool", "resource.v1.ResourcePool name"),
        ],
    ),
    (
        "RoleBinding",
        &[
            ("Role", "rbac.v1.RoleBinding roleRef"),
            ("Users", "=Users in the roleBinding"),
            ("Groups", "=Groups in the roleBinding"),
            ("ServiceAccounts", "=ServiceAccounts in the roleBinding"),
        ],
    ),
    ("RuntimeClass", &[("Handler", "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta handler")]),
    (
        "Scale",
        &[("Desired", "autoscaling.v1.ScaleSpec replicas"), ("Available", "autoscaling.v1.ScaleStatus replicas")],
    ),
    ("Secret", &[("Type", "core.v1.Secret type"), ("Data", "core.v1.Secret data")]),
    (
        "Service",
        &[
            ("Type", "core.v1.ServiceSpec type"),
            ("Cluster-IP", "core.v1.ServiceSpec clusterIP"),
            ("External-IP", "core.v1.ServiceSpec externalIPs"),
            ("Port(s)", "core.v1.ServiceSpec ports"),
            ("Selector", "core.v1.ServiceSpec selector"),
        ],
    ),
    ("ServiceCIDR", &[("CIDRs", "networking.v1.ServiceCIDRSpec cidrs")]),
    (
        "StatefulSet",
        &[
            ("Ready", "=Number of the pod with ready state"),
            ("Containers", "=Names of each container in the template."),
            ("Images", "=Images referenced by each container in the template."),
        ],
    ),
    (
        "StorageClass",
        &[
            ("Provisioner", "storage.v1.StorageClass provisioner"),
            ("ReclaimPolicy", "storage.v1.StorageClass reclaimPolicy"),
            ("VolumeBindingMode", "storage.v1.StorageClass volumeBindingMode"),
            ("AllowVolumeExpansion", "storage.v1.StorageClass allowVolumeExpansion"),
        ],
    ),
    ("StorageVersionMigration", &[("Resource", "=GroupResource to migrate"), ("Status", "=Status of the migration")]),
    (
        "ValidatingAdmissionPolicy",
        &[
            ("Validations", "=Validations indicates the number of validation rules defined in this configuration"),
            ("ParamKind", "=ParamKind specifies the kind of resources used to parameterize this policy"),
        ],
    ),
    (
        "ValidatingAdmissionPolicyBinding",
        &[
            ("PolicyName", "=PolicyName indicates the policy definition which the policy binding binded to"),
            ("ParamRef", "=ParamRef indicates the param resource which sets the configuration param"),
        ],
    ),
    (
        "ValidatingWebhookConfiguration",
        &[("Webhooks", "=Webhooks indicates the number of webhooks registered in this configuration")],
    ),
    (
        "VolumeAttachment",
        &[
            ("Attacher", "storage.v1.VolumeAttachmentSpec attacher"),
            ("PV", "storage.v1.VolumeAttachmentSource persistentVolumeName"),
            ("Node", "storage.v1.VolumeAttachmentSpec nodeName"),
            ("Attached", "storage.v1.VolumeAttachmentStatus attached"),
        ],
    ),
    ("VolumeAttributesClass", &[("DriverName", "storage.v1.VolumeAttributesClass driverName")]),
];
