//! Feature gates that releases no longer know.
//!
//! A component that is given a gate it does not know exits. Of each release: the gates that the one before still took.
//! From Kubernetes' own list of removed gates; that of 1.33 is not complete, and later ones are not here. A gate in this
//! table had been on (or, if it was withdrawn, off) for good in the releases before, so that nothing changes when it goes.

/// Releases, and what each of them took away.
const GONE: [(u32, &str); 17] = [
    (
        17,
        "CSIPersistentVolume CustomPodDNS ExperimentalCriticalPodAnnotation GCERegionalPersistentDisk HugePages
        KubeletPluginsWatcher PersistentLocalVolumes PodReadinessGates VolumeScheduling",
    ),
    (18, "EnableAggregatedDiscoveryTimeout MountContainers RequestManagement"),
    (
        19,
        "CustomResourceDefaulting CustomResourcePublishOpenAPI CustomResourceSubresources CustomResourceValidation
        CustomResourceWebhookConversion PodPriority ResourceQuotaScopeSelectors ScheduleDaemonSetPods
        TaintNodesByCondition",
    ),
    (20, "DynamicAuditing PodShareProcessNamespace ResourceLimitsPriorityFunction"),
    (
        21,
        "HyperVContainer ServiceLoadBalancerFinalizer SupportIPVSProxyMode TaintBasedEvictions WindowsGMSA
        WindowsRunAsUserName",
    ),
    (
        22,
        "AttachVolumeLimit BlockVolume CSIBlockVolume CSIDriverRegistry CSIMigrationAWSComplete
        CSIMigrationAzureDiskComplete CSIMigrationAzureFileComplete CSIMigrationGCEComplete
        CSIMigrationOpenStackComplete EvenPodsSpread RotateKubeletClientCertificate TokenRequest
        TokenRequestProjection VolumePVCDataSource",
    ),
    (
        23,
        "BalanceAttachedNodeVolumes CRIContainerLogRotation CSIMigrationvSphereComplete CSINodeInfo
        ExternalPolicyForExternalIP LegacyNodeRoleBehavior NodeDisruptionExclusion RootCAConfigMap RunAsGroup
        SCTPSupport ServiceAppProtocol ServiceNodeExclusion ServiceTopology Sysctls VolumeSnapshotDataSource",
    ),
    (
        24,
        "BoundServiceAccountTokenVolume CronJobControllerV2 EnableEquivalenceClassCache NamespaceDefaultLabelName
        NodeLease ServiceAccountIssuerDiscovery StartupProbe SupportNodePidsLimit SupportPodPidsLimit",
    ),
    // EphemeralContainers is taken until 1.26, and on for good since 1.25.
    (
        25,
        "CSIServiceAccountToken EndpointSlice EndpointSliceNodeName EndpointSliceProxying EphemeralContainers
        GenericEphemeralVolume HugePageStorageMediumSize IPv6DualStack ImmutableEphemeralVolumes
        IngressClassNamespacedParams RuntimeClass SetHostnameAsFQDN StorageObjectInUseProtection
        StreamingProxyRedirects TTLAfterFinished ValidateProxyRedirects VolumeSubpath VolumeSubpathEnvExpansion
        WarningHeaders WindowsEndpointSliceProxying",
    ),
    (
        26,
        "AllowInsecureBackendProxy CSIMigrationOpenStack CSIVolumeFSGroupPolicy CSRDuration ConfigurableFSGroupPolicy
        DefaultPodTopologySpread DynamicKubeletConfig IndexedJob NonPreemptingPriority PodAffinityNamespaceSelector
        PodDisruptionBudget PodOverhead PreferNominatedNode SelectorIndex ServiceLBNodePortControl
        ServiceLoadBalancerClass SuspendJob",
    ),
    (
        27,
        "CSIInlineVolume CSIMigration CSIMigrationAWS CSIMigrationAzureDisk ControllerManagerLeaderMigration
        DaemonSetUpdateSurge ExpandCSIVolumes ExpandInUsePersistentVolumes ExpandPersistentVolumes IdentifyPodOS
        LocalStorageCapacityIsolation NetworkPolicyEndPort StatefulSetMinReadySeconds",
    ),
    (
        28,
        "AdvancedAuditing CSIMigrationGCE CSIStorageCapacity DelegateFSGroupToCSIDriver DevicePlugins
        DisableAcceleratorUsageMetrics DryRun EndpointSliceTerminatingCondition KubeletCredentialProviders
        MixedProtocolLBService NetworkPolicyStatus PodHasNetworkCondition PodSecurity ServiceIPStaticSubrange
        ServiceInternalTrafficPolicy UserNamespacesStatelessPodsSupport WindowsHostProcessContainers",
    ),
    (
        29,
        "CSIMigrationvSphere CronJobTimeZone DownwardAPIHugePages GRPCContainerProbe
        JobMutableNodeSchedulingDirectives JobTrackingWithFinalizers LegacyServiceAccountTokenNoAutoGeneration
        MultiCIDRRangeAllocator OpenAPIV3 ProbeTerminationGracePeriod RetroactiveDefaultStorageClass SeccompDefault
        TopologyManager",
    ),
    (
        30,
        "APISelfSubjectReview CSIMigrationAzureFile ExpandedDNSConfig ExperimentalHostUserNamespaceDefaulting
        IPTablesOwnershipCleanup KubeletPodResources KubeletPodResourcesGetAllocatable
        LegacyServiceAccountTokenTracking MinimizeIPTablesRestore ProxyTerminatingEndpoints RemoveSelfLink
        SecurityContextDeny",
    ),
    (
        31,
        "APIPriorityAndFairness CSIMigrationRBD CSINodeExpandSecret ConsistentHTTPGetHandlers
        CustomResourceValidationExpressions DefaultHostNetworkHostPortsInPodTemplates InTreePluginAWSUnregister
        InTreePluginAzureDiskUnregister InTreePluginAzureFileUnregister InTreePluginGCEUnregister
        InTreePluginOpenStackUnregister InTreePluginRBDUnregister InTreePluginvSphereUnregister JobReadyPods
        ReadWriteOncePod ServiceNodePortStaticSubrange SkipReadOnlyValidationGCE",
    ),
    (
        32,
        "CloudDualStackNodeIPs DRAControlPlaneController HPAContainerMetrics KMSv2 KMSv2KDF
        LegacyServiceAccountTokenCleanUp MinDomainsInPodTopologySpread NewVolumeManagerReconstruction
        NodeOutOfServiceVolumeDetach PodHostIPs ServerSideApply ServerSideFieldValidation StableLoadBalancerNodeSet
        ZeroLimitedNominalConcurrencyShares",
    ),
    (33, "APIListChunking AdmissionWebhookMatchConditions AggregatedDiscoveryEndpoint"),
];

/// Gates of kubeadm itself, in `featureGates` of ClusterConfiguration, and the release since which they are gone.
const OF_KUBEADM: [(&str, u32); 4] = [
    ("IPv6DualStack", 24),
    ("UnversionedKubeletConfigMap", 26),
    ("UpgradeAddonsBeforeControlPlane", 31),
    ("EtcdLearnerMode", 33),
];

/// Since which minor release components do not know a gate.
pub fn gone(gate: &str) -> Option<u32> {
    GONE.iter().find(|(_, names)| names.split_whitespace().any(|name| name == gate)).map(|(since, _)| *since)
}

/// Since which minor release kubeadm does not know a gate.
pub fn gone_from_kubeadm(gate: &str) -> Option<u32> {
    OF_KUBEADM.iter().find(|(name, _)| *name == gate).map(|(_, since)| *since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gate_is_there_once() {
        let all: Vec<&str> = GONE.iter().flat_map(|(_, names)| names.split_whitespace()).collect();
        let unique: std::collections::HashSet<&&str> = all.iter().collect();
        assert_eq!(unique.len(), all.len());
        assert!(GONE.is_sorted_by_key(|(since, _)| *since));
        assert!(all.iter().all(|name| name.bytes().all(|b| b.is_ascii_alphanumeric())));
        assert_eq!((gone("TTLAfterFinished"), gone("SeccompDefault"), gone("NodeSwap")), (Some(25), Some(29), None));
    }
}
