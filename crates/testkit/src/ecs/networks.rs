//! VPCs, vSwitches, security groups, elastic addresses, key pairs.

use serde_json::{Value, json};

use super::rpc::{Ask, Done, Refused, refused, tags_value};
use super::state::{Eip, Group, KeyPair, Life, State, VSwitch, Vpc};

pub(super) fn act(ask: &Ask<'_>, state: &mut State) -> Option<Result<Done, Refused>> {
    Some(match &*ask.action {
        "CreateVpc" => Ok(create_vpc(ask, state)),
        "DescribeVpcs" => Ok(vpcs(ask, state)),
        "DeleteVpc" => delete_vpc(ask, state),
        "CreateVSwitch" => create_vswitch(ask, state),
        "DescribeVSwitches" => Ok(vswitches(ask, state)),
        "DeleteVSwitch" => delete_vswitch(ask, state),
        "CreateSecurityGroup" => create_group(ask, state),
        "DescribeSecurityGroups" => Ok(groups(ask, state)),
        "AuthorizeSecurityGroup" | "AuthorizeSecurityGroupEgress" => authorize(ask, state),
        "DeleteSecurityGroup" => delete_group(ask, state),
        "AllocateEipAddress" => Ok(allocate(ask, state)),
        "DescribeEipAddresses" => Ok(eips(ask, state)),
        "AssociateEipAddress" => associate(ask, state),
        "UnassociateEipAddress" => unassociate(ask, state),
        "ReleaseEipAddress" => release(ask, state),
        "CreateKeyPair" | "ImportKeyPair" => key_pair(ask, state),
        "DescribeKeyPairs" => Ok(key_pairs(ask, state)),
        "AttachKeyPair" | "DetachKeyPair" => attach(ask, state),
        "DeleteKeyPairs" => delete_keys(ask, state),
        _ => return None,
    })
}

pub(super) fn made(value: Value, resource: &'static str, id: &str) -> Done {
    Done { value, resource, id: id.to_owned(), boot: None }
}

fn life(ask: &Ask<'_>, kind: &str) -> Life {
    let left = if ask.faults.stuck == Some(kind) { u32::MAX } else { ask.faults.pending };
    Life::new("Pending", "Available", left)
}

/// Whether something is still in use because a test wants so.
fn still_in_use(ask: &Ask<'_>, state: &mut State, id: &str, code: &str) -> Result<(), Refused> {
    let times = state.refused.entry(id.to_owned()).or_default();
    if *times < ask.faults.in_use {
        *times += 1;
        return refused(400, code, "The specified resource is in use.");
    }
    Ok(())
}

fn create_vpc(ask: &Ask<'_>, state: &mut State) -> Done {
    let id = state.id("vpc");
    let vpc = Vpc {
        region: ask.region.clone(),
        name: ask.text("VpcName"),
        block: ask.get("CidrBlock").unwrap_or("172.16.0.0/12").to_owned(),
        description: ask.text("Description"),
        life: life(ask, "vpc"),
    };
    state.vpcs.insert(id.clone(), vpc);
    made(json!({"VpcId": id, "RouteTableId": "vtb-1", "VRouterId": "vrt-1"}), "vpc", &id)
}

fn vpcs(ask: &Ask<'_>, state: &mut State) -> Done {
    let wanted = ask.get("VpcId").map(str::to_owned);
    let all = state.vpcs.iter_mut().filter(|(id, vpc)| {
        vpc.region == ask.region && wanted.as_ref().is_none_or(|wanted| wanted.split(',').any(|w| w == *id))
    });
    let value = |(id, vpc): (&String, &mut Vpc)| {
        json!({"VpcId": id, "VpcName": vpc.name, "Status": vpc.life.look(), "CidrBlock": vpc.block,
            "Description": vpc.description, "RegionId": vpc.region, "VSwitchIds": {"VSwitchId": []}})
    };
    let all = all.map(value).collect();
    ask.page("Vpcs", "Vpc", all)
}

fn delete_vpc(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let id = ask.need("VpcId")?;
    if !state.vpcs.contains_key(&id) {
        return refused(404, "InvalidVpcId.NotFound", "Specified VPC does not exist.");
    }
    if state.vswitches.values().any(|vswitch| vswitch.vpc == id) {
        return refused(400, "DependencyViolation.VSwitch", "VSwitches exist in the VPC.");
    }
    if state.groups.values().any(|group| group.vpc == id) {
        return refused(400, "DependencyViolation.SecurityGroup", "Security groups exist in the VPC.");
    }
    still_in_use(ask, state, &id, "DependencyViolation.RouteEntry")?;
    state.vpcs.remove(&id);
    Ok(made(json!({}), "vpc", &id))
}

fn create_vswitch(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let (vpc, zone, block) = (ask.need("VpcId")?, ask.need("ZoneId")?, ask.need("CidrBlock")?);
    let Some(of) = state.vpcs.get(&vpc) else { return refused(404, "InvalidVpcId.NotFound", "no such VPC") };
    if of.life.now() != "Available" {
        return refused(400, "IncorrectVpcStatus", "Current VPC status does not support this operation.");
    }
    if !zone.starts_with(&format!("{}-", ask.region)) {
        return refused(404, "InvalidZoneId.NotFound", "Specified zone does not exist.");
    }
    let inner = |text: &str| text.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
    if inner(&block) != inner(&of.block) {
        return refused(400, "InvalidCidrBlock.Malformed", "The CIDR block is not in that of the VPC.");
    }
    if state.vswitches.values().any(|other| other.vpc == vpc && other.block == block) {
        return refused(400, "InvalidCidrBlock.Overlapped", "Specified CIDR block overlapped with other subnets.");
    }
    let id = state.id("vsw");
    let vswitch = VSwitch {
        region: ask.region.clone(),
        vpc,
        zone,
        name: ask.text("VSwitchName"),
        block,
        description: ask.text("Description"),
        life: life(ask, "vswitch"),
    };
    state.vswitches.insert(id.clone(), vswitch);
    Ok(made(json!({"VSwitchId": id}), "vswitch", &id))
}

fn vswitches(ask: &Ask<'_>, state: &mut State) -> Done {
    let (vpc, wanted) = (ask.get("VpcId").map(str::to_owned), ask.get("VSwitchId").map(str::to_owned));
    let all = state.vswitches.iter_mut().filter(|(id, it)| {
        it.region == ask.region && vpc.as_ref().is_none_or(|v| *v == it.vpc) && wanted.as_ref().is_none_or(|w| w == *id)
    });
    let value = |(id, it): (&String, &mut VSwitch)| {
        json!({"VSwitchId": id, "VSwitchName": it.name, "VpcId": it.vpc, "ZoneId": it.zone, "Status": it.life.look(),
            "CidrBlock": it.block, "Description": it.description, "AvailableIpAddressCount": 250})
    };
    let all = all.map(value).collect();
    ask.page("VSwitches", "VSwitch", all)
}

fn delete_vswitch(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let id = ask.need("VSwitchId")?;
    if !state.vswitches.contains_key(&id) {
        return refused(404, "InvalidVSwitchId.NotFound", "Specified VSwitch does not exist.");
    }
    if state.instances.values().any(|instance| instance.vswitch == id) {
        return refused(400, "DependencyViolation", "There is still instance(s) in the VSwitch.");
    }
    still_in_use(ask, state, &id, "DependencyViolation")?;
    state.vswitches.remove(&id);
    Ok(made(json!({}), "vswitch", &id))
}

fn create_group(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let vpc = ask.need("VpcId")?;
    if state.vpcs.get(&vpc).is_none_or(|vpc| vpc.life.now() != "Available") {
        return refused(404, "InvalidVpcId.NotFound", "The specified VPC does not exist or is not ready.");
    }
    let id = state.id("sg");
    let group = Group {
        region: ask.region.clone(),
        vpc,
        name: ask.text("SecurityGroupName"),
        description: ask.text("Description"),
        tags: ask.tags(),
    };
    state.groups.insert(id.clone(), group);
    Ok(made(json!({"SecurityGroupId": id}), "security_group", &id))
}

fn groups(ask: &Ask<'_>, state: &State) -> Done {
    let wanted =
        ask.get("SecurityGroupId").map(str::to_owned).or_else(|| ask.array("SecurityGroupIds")?.into_iter().next());
    let vpc = ask.get("VpcId");
    let all = state.groups.iter().filter(|(id, it)| {
        it.region == ask.region
            && ask.wants(&it.tags)
            && wanted.as_ref().is_none_or(|w| w == *id)
            && vpc.is_none_or(|v| v == it.vpc)
    });
    let value = |(id, it): (&String, &Group)| {
        json!({"SecurityGroupId": id, "SecurityGroupName": it.name, "VpcId": it.vpc, "Description": it.description,
            "Tags": tags_value(&it.tags)})
    };
    ask.page("SecurityGroups", "SecurityGroup", all.map(value).collect())
}

fn authorize(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let id = ask.need("SecurityGroupId")?;
    if !state.groups.contains_key(&id) {
        return refused(404, "InvalidSecurityGroupId.NotFound", "The specified SecurityGroupId does not exist.");
    }
    let block = ask.get("SourceCidrIp").or(ask.get("DestCidrIp")).unwrap_or_default();
    state.rules.push(format!("{} {} {block}", ask.need("IpProtocol")?, ask.need("PortRange")?));
    Ok(made(json!({}), "rule", &id))
}

fn delete_group(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let id = ask.need("SecurityGroupId")?;
    if !state.groups.contains_key(&id) {
        return refused(404, "InvalidSecurityGroupId.NotFound", "The specified SecurityGroupId does not exist.");
    }
    if state.instances.values().any(|instance| instance.group == id) {
        return refused(400, "DependencyViolation", "There is still instance(s) in the security group.");
    }
    still_in_use(ask, state, &id, "DependencyViolation")?;
    state.groups.remove(&id);
    Ok(made(json!({}), "security_group", &id))
}

fn allocate(ask: &Ask<'_>, state: &mut State) -> Done {
    let id = state.id("eip");
    let life = Life::new("Available", "Available", 0);
    state.eips.insert(id.clone(), Eip { region: ask.region.clone(), life, instance: String::new() });
    made(json!({"AllocationId": id, "EipAddress": "127.0.0.1"}), "eip", &id)
}

fn eips(ask: &Ask<'_>, state: &mut State) -> Done {
    let wanted = ask.get("AllocationId").map(str::to_owned);
    let all = state
        .eips
        .iter_mut()
        .filter(|(id, eip)| eip.region == ask.region && wanted.as_ref().is_none_or(|wanted| wanted == *id));
    let value = |(id, eip): (&String, &mut Eip)| {
        let status = eip.life.look();
        let instance = if status == "Available" { "" } else { &eip.instance };
        json!({"AllocationId": id, "IpAddress": "127.0.0.1", "Status": status, "InstanceId": instance,
            "RegionId": eip.region, "Bandwidth": "5", "InternetChargeType": "PayByTraffic"})
    };
    let all = all.map(value).collect();
    ask.page("EipAddresses", "EipAddress", all)
}

fn associate(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let (id, instance) = (ask.need("AllocationId")?, ask.need("InstanceId")?);
    let at_rest = state.instances.get(&instance).map(|it| it.life.now());
    if !matches!(at_rest, Some("Running" | "Stopped")) {
        return refused(400, "IncorrectInstanceStatus", "Current instance status does not support this operation.");
    }
    let Some(eip) = state.eips.get_mut(&id) else {
        return refused(404, "InvalidAllocationId.NotFound", "Specified allocation ID is not found.");
    };
    if eip.life.now() != "Available" {
        return refused(400, "IncorrectEipStatus", "Current elastic IP status does not support this operation.");
    }
    eip.life = Life::new("Associating", "InUse", ask.faults.pending);
    eip.instance = instance;
    Ok(made(json!({}), "association", &id))
}

fn unassociate(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let id = ask.need("AllocationId")?;
    let Some(eip) = state.eips.get_mut(&id) else {
        return refused(404, "InvalidAllocationId.NotFound", "Specified allocation ID is not found.");
    };
    if eip.life.now() != "InUse" {
        return refused(400, "IncorrectEipStatus", "Current elastic IP status does not support this operation.");
    }
    eip.life = Life::new("Unassociating", "Available", ask.faults.pending);
    Ok(made(json!({}), "association", &id))
}

fn release(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let id = ask.need("AllocationId")?;
    match state.eips.get(&id).map(|eip| eip.life.now()) {
        None => refused(404, "InvalidAllocationId.NotFound", "Specified allocation ID is not found."),
        Some("Available") => {
            state.eips.remove(&id);
            Ok(made(json!({}), "eip", &id))
        }
        Some(_) => refused(400, "IncorrectEipStatus", "Current elastic IP status does not support this operation."),
    }
}

fn key_pair(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let name = ask.need("KeyPairName")?;
    if state.keys.contains_key(&name) {
        return refused(400, "KeyPair.AlreadyExist", "The key pair already exist.");
    }
    let (public, private) = match &*ask.action {
        "ImportKeyPair" => (ask.need("PublicKeyBody")?, String::new()),
        _ => new_key(),
    };
    if !public.starts_with("ssh-rsa ") && !public.starts_with("ecdsa-") && !public.starts_with("ssh-ed25519 ") {
        return refused(400, "InvalidPublicKeyBody.Malformed", "The specified parameter PublicKeyBody is not valid.");
    }
    let value = json!({"KeyPairName": name, "KeyPairFingerPrint": "00:11", "KeyPairId": format!("ssh-{name}"), "PrivateKeyBody": private});
    state.keys.insert(name.clone(), KeyPair { region: ask.region.clone(), public, tags: ask.tags() });
    Ok(made(value, "key_pair", &name))
}

/// A key as the cloud makes it: both halves.
fn new_key() -> (String, String) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("key");
    let out = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-C", "double", "-f"])
        .arg(&path)
        .output()
        .expect("`ssh-keygen` cannot be run: install the package `openssh-client`");
    assert!(out.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&out.stderr));
    let read = |path: &std::path::Path| std::fs::read_to_string(path).expect("a key");
    (read(&path.with_extension("pub")).trim().to_owned(), read(&path))
}

fn key_pairs(ask: &Ask<'_>, state: &State) -> Done {
    let name = ask.get("KeyPairName");
    let all = state
        .keys
        .iter()
        .filter(|(id, key)| key.region == ask.region && ask.wants(&key.tags) && name.is_none_or(|name| name == *id));
    let value = |(id, key): (&String, &KeyPair)| json!({"KeyPairName": id, "Tags": tags_value(&key.tags)});
    ask.page("KeyPairs", "KeyPair", all.map(value).collect())
}

fn attach(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let name = ask.need("KeyPairName")?;
    if !state.keys.contains_key(&name) {
        return refused(404, "InvalidKeyPairName.NotFound", "The specified KeyPairName does not exist.");
    }
    for id in ask.array("InstanceIds").unwrap_or_default() {
        let Some(instance) = state.instances.get_mut(&id) else {
            return refused(404, "InvalidInstanceId.NotFound", "The specified InstanceId does not exist.");
        };
        instance.key = (ask.action == "AttachKeyPair").then(|| name.clone());
    }
    Ok(made(json!({"TotalCount": "1", "FailCount": "0"}), "attachment", &name))
}

fn delete_keys(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let names = ask.array("KeyPairNames").unwrap_or_default();
    for name in &names {
        // Deleting what is not there is no mistake there either.
        state.keys.remove(name);
    }
    Ok(made(json!({}), "key_pair", &names.join(",")))
}
