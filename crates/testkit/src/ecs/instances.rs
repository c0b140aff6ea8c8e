//! Machines.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Boot;
use super::networks::made;
use super::rpc::{Ask, Done, Refused, refused, tags_value};
use super::state::{Instance, KINDS, Life, State};

pub(super) fn act(ask: &Ask<'_>, state: &mut State) -> Option<Result<Done, Refused>> {
    Some(match &*ask.action {
        "CreateInstance" => create(ask, state, false),
        "RunInstances" => create(ask, state, true),
        "DescribeInstances" => Ok(describe(ask, state)),
        "StartInstance" => change(ask, state, "Stopped", Life::new("Starting", "Running", ask.faults.pending)),
        "StopInstance" => change(ask, state, "Running", Life::new("Stopping", "Stopped", ask.faults.pending)),
        "DeleteInstance" => delete(ask, state),
        "DescribeDisks" => Ok(disks(ask, state)),
        _ => return None,
    })
}

fn create(ask: &Ask<'_>, state: &mut State, running: bool) -> Result<Done, Refused> {
    let (image, kind) = (ask.need("ImageId")?, ask.need("InstanceType")?);
    let (vswitch, group) = (ask.need("VSwitchId")?, ask.need("SecurityGroupId")?);
    if !KINDS.contains(&&*kind) {
        return refused(403, "InvalidInstanceType.ValueNotSupported", "The specified InstanceType is not supported.");
    }
    let of = state.images.get(&image);
    if !of.is_some_and(|image| image.region == ask.region && image.life.now() == "Available") {
        return refused(404, "InvalidImageId.NotFound", "The specified ImageId does not exist.");
    }
    let Some(part) = state.vswitches.get(&vswitch) else {
        return refused(404, "InvalidVSwitchId.NotFound", "The specified VSwitchId does not exist.");
    };
    if part.life.now() != "Available" {
        return refused(400, "IncorrectVSwitchStatus", "The current status of the VSwitch does not support this.");
    }
    if !part.zone.ends_with("-b") {
        return refused(403, "InvalidResourceType.NotSupported", "This zone does not have this InstanceType.");
    }
    match state.groups.get(&group) {
        Some(group) if group.vpc == part.vpc => {}
        _ => return refused(404, "InvalidSecurityGroupId.NotFound", "There is no such group in the VPC."),
    }
    let key = ask.get("KeyPairName").map(str::to_owned);
    if key.as_ref().is_some_and(|key| !state.keys.contains_key(key)) {
        return refused(404, "InvalidKeyPairName.NotFound", "The specified KeyPairName does not exist.");
    }
    if ask.faults.quota {
        return refused(
            403,
            "QuotaExceed.ElasticQuota",
            "The number of vCPUs assigned to the instances has reached the upper limit.",
        );
    }
    if ask.get("DryRun") == Some("true") {
        return refused(400, "DryRunOperation", "Request validation has been passed with DryRun flag set.");
    }
    let id = state.id("i");
    let user_data = STANDARD.decode(ask.text("UserData")).unwrap_or_default();
    let life = match running {
        true => Life::new("Pending", "Running", ask.faults.pending),
        false => Life::new("Pending", "Stopped", ask.faults.pending),
    };
    let instance = Instance {
        region: ask.region.clone(),
        name: ask.text("InstanceName"),
        life,
        vswitch,
        group,
        key,
        user_data: String::from_utf8_lossy(&user_data).into_owned(),
        tags: ask.tags(),
        kind,
        image,
    };
    state.instances.insert(id.clone(), instance);
    let value = match running {
        true => json!({"InstanceIdSets": {"InstanceIdSet": [id]}}),
        false => json!({"InstanceId": id}),
    };
    let boot = running.then(|| boot(state, &id));
    Ok(Done { boot, ..made(value, "instance", &id) })
}

fn boot(state: &State, id: &str) -> Boot {
    let Some(instance) = state.instances.get(id) else { return Boot::default() };
    let key = instance.key.as_ref().and_then(|key| state.keys.get(key));
    Boot {
        instance: id.to_owned(),
        public_key: key.map(|key| key.public.clone()),
        user_data: instance.user_data.clone(),
        host_key: host_key(&instance.user_data),
    }
}

/// The private host key of a cloud-config, or of one that is a part among others.
fn host_key(user_data: &str) -> Option<String> {
    let parts = user_data.split("\n\n").filter_map(|part| {
        let body: String = part.lines().take_while(|line| !line.starts_with("--")).collect();
        String::from_utf8(STANDARD.decode(body).ok()?).ok()
    });
    std::iter::once(user_data.to_owned()).chain(parts).find_map(|part| key_of(&part))
}

/// The block of text below `ecdsa_private: |` and the like.
fn key_of(config: &str) -> Option<String> {
    let mut lines = config.lines().skip_while(|line| !line.trim().ends_with("_private: |"));
    let depth = |line: &str| line.len() - line.trim_start().len();
    let at = depth(lines.next()?);
    let block: Vec<&str> = lines.take_while(|line| depth(line) > at).map(str::trim).collect();
    Some(block.join("\n") + "\n").filter(|text| text.contains("PRIVATE KEY"))
}

fn describe(ask: &Ask<'_>, state: &mut State) -> Done {
    let wanted = ask.array("InstanceIds");
    let eips: Vec<(String, String)> = state
        .eips
        .iter()
        .filter(|(_, eip)| eip.life.now() == "InUse")
        .map(|(id, eip)| (eip.instance.clone(), id.clone()))
        .collect();
    let all = state.instances.iter_mut().filter(|(id, it)| {
        it.region == ask.region && ask.wants(&it.tags) && wanted.as_ref().is_none_or(|wanted| wanted.contains(id))
    });
    let value = |(id, it): (&String, &mut Instance)| {
        let eip = eips.iter().find(|(instance, _)| instance == id).map(|(_, eip)| eip.clone()).unwrap_or_default();
        let address = if eip.is_empty() { "" } else { "127.0.0.1" };
        json!({"InstanceId": id, "InstanceName": it.name, "Status": it.life.look(), "InstanceType": it.kind,
            "ImageId": it.image, "KeyPairName": it.key,
            "VpcAttributes": {"VSwitchId": it.vswitch, "PrivateIpAddress": {"IpAddress": ["127.0.0.1"]}},
            "EipAddress": {"AllocationId": eip, "IpAddress": address},
            "PublicIpAddress": {"IpAddress": []}, "Tags": tags_value(&it.tags)})
    };
    let all: Vec<Value> = all.map(value).collect();
    ask.page("Instances", "Instance", all)
}

fn change(ask: &Ask<'_>, state: &mut State, from: &str, life: Life) -> Result<Done, Refused> {
    let id = ask.need("InstanceId")?;
    let Some(instance) = state.instances.get_mut(&id) else {
        return refused(404, "InvalidInstanceId.NotFound", "The specified InstanceId does not exist.");
    };
    if instance.life.now() != from {
        return refused(403, "IncorrectInstanceStatus", "The current status of the resource does not support this.");
    }
    instance.life = life;
    let boot = (ask.action == "StartInstance").then(|| boot(state, &id));
    Ok(Done { boot, ..made(json!({}), "state", &id) })
}

fn delete(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let id = ask.need("InstanceId")?;
    let Some(instance) = state.instances.get_mut(&id) else {
        return refused(404, "InvalidInstanceId.NotFound", "The specified InstanceId does not exist.");
    };
    // Who asks for this long enough gets it, whether or not anybody looks meanwhile.
    if instance.life.look() == "Pending" {
        return refused(
            403,
            "IncorrectInstanceStatus.Initializing",
            "The specified instance status does not support this.",
        );
    }
    if instance.life.now() != "Stopped" && ask.get("Force") != Some("true") {
        return refused(403, "IncorrectInstanceStatus", "The current status of the resource does not support this.");
    }
    state.instances.remove(&id);
    for eip in state.eips.values_mut().filter(|eip| eip.instance == id) {
        eip.life = Life::new("Available", "Available", 0);
        eip.instance.clear();
    }
    Ok(made(json!({}), "instance", &id))
}

fn disks(ask: &Ask<'_>, state: &State) -> Done {
    let id = ask.text("InstanceId");
    let all = state.instances.contains_key(&id).then(|| json!({"DiskId": format!("d-{id}"), "Type": "system"}));
    ask.page("Disks", "Disk", all.into_iter().collect())
}
