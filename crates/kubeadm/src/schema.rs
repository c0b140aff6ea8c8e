//! The fields of each kind, by API version.
//!
//! A line is a path and a type; `[]` is each item of a list, `*` each key of a map. Behind them may stand the API
//! versions of kubeadm that have the field: `2` for v1beta2, `34` for v1beta3 and v1beta4; none is all. The fields are
//! those of kubeadm's types of v1beta2, v1beta3 and v1beta4, and of the kubelet's and kube-proxy's configuration.

use std::fmt;

/// A version of kubeadm's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// Releases 1.15 to 1.26
    V1beta2,
    /// Releases since 1.22
    V1beta3,
    /// Releases since 1.31
    V1beta4,
}

impl Api {
    /// All of them.
    pub const ALL: [Api; 3] = [Api::V1beta2, Api::V1beta3, Api::V1beta4];

    /// The newest that a minor release of Kubernetes has for good.
    pub fn of_release(minor: u32) -> Api {
        match minor {
            0..22 => Api::V1beta2,
            22..31 => Api::V1beta3,
            _ => Api::V1beta4,
        }
    }

    /// `v1beta3`
    pub fn name(self) -> &'static str {
        ["v1beta2", "v1beta3", "v1beta4"][self as usize]
    }

    fn digit(self) -> char {
        ['2', '3', '4'][self as usize]
    }
}

/// A kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Of `kubeadm init`
    InitConfiguration,
    /// Of the cluster
    ClusterConfiguration,
    /// Of kube-proxy
    KubeProxyConfiguration,
    /// Of kubelets
    KubeletConfiguration,
    /// Of `kubeadm join`
    JoinConfiguration,
    /// Of `kubeadm reset`
    ResetConfiguration,
    /// Of `kubeadm upgrade`
    UpgradeConfiguration,
}

impl Kind {
    /// All, in the order they are written in.
    pub const ALL: [Kind; 7] = [
        Kind::InitConfiguration,
        Kind::ClusterConfiguration,
        Kind::KubeProxyConfiguration,
        Kind::KubeletConfiguration,
        Kind::JoinConfiguration,
        Kind::ResetConfiguration,
        Kind::UpgradeConfiguration,
    ];

    /// The kind of a name.
    pub fn of(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.to_string() == name)
    }

    /// The API group that it belongs to.
    pub fn group(self) -> &'static str {
        match self {
            Kind::KubeProxyConfiguration => "kubeproxy.config.k8s.io",
            Kind::KubeletConfiguration => "kubelet.config.k8s.io",
            _ => "kubeadm.k8s.io",
        }
    }

    /// The apiVersion that it has in a version of kubeadm's API.
    pub fn api_version(self, api: Api) -> String {
        match self {
            Kind::KubeProxyConfiguration => "kubeproxy.config.k8s.io/v1alpha1".to_owned(),
            Kind::KubeletConfiguration => "kubelet.config.k8s.io/v1beta1".to_owned(),
            _ => format!("kubeadm.k8s.io/{}", api.name()),
        }
    }

    /// Whether Kiln's table of its fields may lack what newer releases have: an unknown field is then passed on.
    pub fn is_open(self) -> bool {
        matches!(self, Kind::KubeProxyConfiguration | Kind::KubeletConfiguration)
    }

    fn table(self) -> &'static str {
        match self {
            Kind::InitConfiguration => INIT,
            Kind::ClusterConfiguration => CLUSTER,
            Kind::KubeProxyConfiguration => PROXY,
            Kind::KubeletConfiguration => KUBELET,
            Kind::JoinConfiguration => JOIN,
            Kind::ResetConfiguration => RESET,
            Kind::UpgradeConfiguration => UPGRADE,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A string, or a duration
    Text,
    /// An integer
    Integer,
    /// `true` or `false`
    Bool,
    /// Anything
    Any,
    /// A list
    List,
    /// A map
    Map,
}

/// The fields of a kind in one API version.
#[derive(Debug)]
pub struct Schema {
    fields: Vec<(Vec<String>, Type)>,
}

impl Schema {
    /// Of a kind; nothing, if the API version does not have it.
    pub fn new(kind: Kind, api: Api) -> Option<Schema> {
        let late = matches!(kind, Kind::ResetConfiguration | Kind::UpgradeConfiguration);
        if late && api < Api::V1beta4 {
            return None;
        }
        let mut fields = Vec::new();
        for line in kind.table().lines() {
            let mut words = line.split_whitespace();
            let (Some(path), Some(word)) = (words.next(), words.next()) else { continue };
            if words.next().is_some_and(|versions| !versions.contains(api.digit())) {
                continue;
            }
            let kind = match word {
                "int" => Type::Integer,
                "bool" => Type::Bool,
                "any" => Type::Any,
                _ => Type::Text,
            };
            let path = path.replace("[]", ".[]");
            for component in components(&path) {
                fields.push((component.split('.').map(str::to_owned).collect(), kind));
            }
        }
        Some(Schema { fields })
    }

    /// What is at a path, whose lists are `[]`.
    pub fn at(&self, path: &[String]) -> Option<Type> {
        let fits = |field: &[String]| path.iter().zip(field).all(|(a, b)| a == b || b == "*");
        self.fields.iter().find_map(|(field, kind)| {
            if *kind == Type::Any && field.len() <= path.len() && fits(field) {
                return Some(Type::Any);
            }
            if field.len() < path.len() || !fits(field) {
                return None;
            }
            Some(match field.get(path.len()).map(String::as_str) {
                None => *kind,
                Some("[]") => Type::List,
                Some(_) => Type::Map,
            })
        })
    }

    /// The names of the fields of a map.
    pub fn names(&self, path: &[String]) -> Vec<&str> {
        let fits =
            |field: &[String]| field.len() > path.len() && path.iter().zip(field).all(|(a, b)| a == b || b == "*");
        let mut names: Vec<&str> =
            self.fields.iter().filter(|(field, _)| fits(field)).map(|(field, _)| &*field[path.len()]).collect();
        names.dedup();
        names
    }
}

/// `{a,b}.c` is `a.c` and `b.c`.
fn components(path: &str) -> Vec<String> {
    match path.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some((names, rest)) => names.split(',').map(|name| format!("{name}{rest}")).collect(),
        None => vec![path.to_owned()],
    }
}

const INIT: &str = "
bootstrapTokens[].token text
bootstrapTokens[].description text
bootstrapTokens[].ttl text
bootstrapTokens[].expires text
bootstrapTokens[].usages[] text
bootstrapTokens[].groups[] text
dryRun bool 4
nodeRegistration.name text
nodeRegistration.criSocket text
nodeRegistration.taints[].key text
nodeRegistration.taints[].value text
nodeRegistration.taints[].effect text
nodeRegistration.taints[].timeAdded text
nodeRegistration.kubeletExtraArgs.* text 23
nodeRegistration.kubeletExtraArgs[].name text 4
nodeRegistration.kubeletExtraArgs[].value text 4
nodeRegistration.ignorePreflightErrors[] text
nodeRegistration.imagePullPolicy text 34
nodeRegistration.imagePullSerial bool 4
localAPIEndpoint.advertiseAddress text
localAPIEndpoint.bindPort int
certificateKey text
skipPhases[] text 34
patches.directory text 34
timeouts.controlPlaneComponentHealthCheck text 4
timeouts.kubeletHealthCheck text 4
timeouts.kubernetesAPICall text 4
timeouts.etcdAPICall text 4
timeouts.tlsBootstrap text 4
timeouts.discovery text 4
timeouts.upgradeManifests text 4
";

const CLUSTER: &str = "
etcd.local.imageRepository text
etcd.local.imageTag text
etcd.local.dataDir text
etcd.local.extraArgs.* text 23
etcd.local.extraArgs[].name text 4
etcd.local.extraArgs[].value text 4
etcd.local.extraEnvs[] any 4
etcd.local.serverCertSANs[] text
etcd.local.peerCertSANs[] text
etcd.external.endpoints[] text
etcd.external.caFile text
etcd.external.certFile text
etcd.external.keyFile text
etcd.external.httpEndpoints[] text 4
networking.serviceSubnet text
networking.podSubnet text
networking.dnsDomain text
kubernetesVersion text
controlPlaneEndpoint text
{apiServer,controllerManager,scheduler}.extraArgs.* text 23
{apiServer,controllerManager,scheduler}.extraArgs[].name text 4
{apiServer,controllerManager,scheduler}.extraArgs[].value text 4
{apiServer,controllerManager,scheduler}.extraVolumes[].name text
{apiServer,controllerManager,scheduler}.extraVolumes[].hostPath text
{apiServer,controllerManager,scheduler}.extraVolumes[].mountPath text
{apiServer,controllerManager,scheduler}.extraVolumes[].readOnly bool
{apiServer,controllerManager,scheduler}.extraVolumes[].pathType text
{apiServer,controllerManager,scheduler}.extraEnvs[] any 4
apiServer.certSANs[] text
apiServer.timeoutForControlPlane text 23
dns.type text 2
dns.imageRepository text
dns.imageTag text
dns.disabled bool 4
proxy.disabled bool 4
certificatesDir text
imageRepository text
useHyperKubeImage bool 2
featureGates.* bool
clusterName text
encryptionAlgorithm text 4
certificateValidityPeriod text 4
caCertificateValidityPeriod text 4
";

const JOIN: &str = "
dryRun bool 4
nodeRegistration.name text
nodeRegistration.criSocket text
nodeRegistration.taints[].key text
nodeRegistration.taints[].value text
nodeRegistration.taints[].effect text
nodeRegistration.taints[].timeAdded text
nodeRegistration.kubeletExtraArgs.* text 23
nodeRegistration.kubeletExtraArgs[].name text 4
nodeRegistration.kubeletExtraArgs[].value text 4
nodeRegistration.ignorePreflightErrors[] text
nodeRegistration.imagePullPolicy text 34
nodeRegistration.imagePullSerial bool 4
caCertPath text
discovery.bootstrapToken.token text
discovery.bootstrapToken.apiServerEndpoint text
discovery.bootstrapToken.caCertHashes[] text
discovery.bootstrapToken.unsafeSkipCAVerification bool
discovery.file.kubeConfigPath text
discovery.tlsBootstrapToken text
discovery.timeout text 23
controlPlane.localAPIEndpoint.advertiseAddress text
controlPlane.localAPIEndpoint.bindPort int
controlPlane.certificateKey text
skipPhases[] text 34
patches.directory text 34
timeouts.controlPlaneComponentHealthCheck text 4
timeouts.kubeletHealthCheck text 4
timeouts.kubernetesAPICall text 4
timeouts.etcdAPICall text 4
timeouts.tlsBootstrap text 4
timeouts.discovery text 4
timeouts.upgradeManifests text 4
";

const RESET: &str = "
cleanupTmpDir bool
certificatesDir text
criSocket text
dryRun bool
force bool
ignorePreflightErrors[] text
skipPhases[] text
unmountFlags[] text
timeouts.* text
";

const UPGRADE: &str = "
apply.kubernetesVersion text
{apply,plan}.allowExperimentalUpgrades bool
{apply,plan}.allowRCUpgrades bool
{apply,node,plan}.dryRun bool
{apply,node,plan}.etcdUpgrade bool
{apply,node}.certificateRenewal bool
{apply,node}.imagePullPolicy text
{apply,node}.imagePullSerial bool
{apply,node}.patches.directory text
{apply,node}.skipPhases[] text
{apply,node,plan}.ignorePreflightErrors[] text
{apply,plan}.printConfig bool
apply.forceUpgrade bool
plan.kubernetesVersion text
diff.kubernetesVersion text
diff.contextLines int
timeouts.* text
";

const PROXY: &str = "
featureGates.* bool
bindAddress text
healthzBindAddress text
metricsBindAddress text
bindAddressHardFail bool
enableProfiling bool
clusterCIDR text
hostnameOverride text
clientConnection any
iptables any
ipvs.syncPeriod text
ipvs.minSyncPeriod text
ipvs.scheduler text
ipvs.excludeCIDRs[] text
ipvs.strictARP bool
ipvs.tcpTimeout text
ipvs.tcpFinTimeout text
ipvs.udpTimeout text
nftables any
oomScoreAdj int
mode text
portRange text
udpIdleTimeout text
conntrack any
configSyncPeriod text
nodePortAddresses[] text
winkernel any
showHiddenMetricsForVersion text
detectLocalMode text
detectLocal any
logging any
";

const KUBELET: &str = "
enableServer bool
staticPodPath text
podLogsDir text
syncFrequency text
fileCheckFrequency text
httpCheckFrequency text
staticPodURL text
staticPodURLHeader any
address text
port int
readOnlyPort int
tlsCertFile text
tlsPrivateKeyFile text
tlsCipherSuites[] text
tlsMinVersion text
rotateCertificates bool
serverTLSBootstrap bool
authentication.x509.clientCAFile text
authentication.webhook.enabled bool
authentication.webhook.cacheTTL text
authentication.anonymous.enabled bool
authorization.mode text
authorization.webhook.cacheAuthorizedTTL text
authorization.webhook.cacheUnauthorizedTTL text
registryPullQPS int
registryBurst int
eventRecordQPS int
eventBurst int
enableDebuggingHandlers bool
enableContentionProfiling bool
healthzPort int
healthzBindAddress text
oomScoreAdj int
clusterDomain text
clusterDNS[] text
streamingConnectionIdleTimeout text
nodeStatusUpdateFrequency text
nodeStatusReportFrequency text
nodeLeaseDurationSeconds int
imageMinimumGCAge text
imageMaximumGCAge text
imageGCHighThresholdPercent int
imageGCLowThresholdPercent int
volumeStatsAggPeriod text
kubeletCgroups text
systemCgroups text
cgroupRoot text
cgroupsPerQOS bool
cgroupDriver text
cpuManagerPolicy text
cpuManagerPolicyOptions.* text
cpuManagerReconcilePeriod text
memoryManagerPolicy text
topologyManagerPolicy text
topologyManagerScope text
topologyManagerPolicyOptions.* text
qosReserved.* text
runtimeRequestTimeout text
hairpinMode text
maxPods int
podCIDR text
podPidsLimit int
resolvConf text
runOnce bool
cpuCFSQuota bool
cpuCFSQuotaPeriod text
nodeStatusMaxImages int
maxOpenFiles int
contentType text
kubeAPIQPS int
kubeAPIBurst int
serializeImagePulls bool
maxParallelImagePulls int
evictionHard.* text
evictionSoft.* text
evictionSoftGracePeriod.* text
evictionPressureTransitionPeriod text
evictionMaxPodGracePeriod int
evictionMinimumReclaim.* text
podsPerCore int
enableControllerAttachDetach bool
protectKernelDefaults bool
makeIPTablesUtilChains bool
iptablesMasqueradeBit int
iptablesDropBit int
featureGates.* bool
failSwapOn bool
memorySwap any
containerLogMaxSize text
containerLogMaxFiles int
configMapAndSecretChangeDetectionStrategy text
systemReserved.* text
kubeReserved.* text
reservedSystemCPUs text
showHiddenMetricsForVersion text
systemReservedCgroup text
kubeReservedCgroup text
enforceNodeAllocatable[] text
allowedUnsafeSysctls[] text
volumePluginDir text
providerID text
kernelMemcgNotification bool
logging any
enableSystemLogHandler bool
shutdownGracePeriod text
shutdownGracePeriodCriticalPods text
shutdownGracePeriodByPodPriority[] any
reservedMemory[] any
enableProfilingHandler bool
enableDebugFlagsHandler bool
seccompDefault bool
memoryThrottlingFactor any
registerWithTaints[] any
registerNode bool
tracing any
localStorageCapacityIsolation bool
containerRuntimeEndpoint text
imageServiceEndpoint text
failCgroupV1 bool
";
