//! Images and snapshots.

use serde_json::{Value, json};

use super::networks::made;
use super::rpc::{Ask, Done, Refused, refused, tags_value};
use super::state::{Image, Life, Pairs, Snapshot, State};

pub(super) fn act(ask: &Ask<'_>, state: &mut State) -> Option<Result<Done, Refused>> {
    Some(match &*ask.action {
        "DescribeImages" => Ok(describe(ask, state)),
        "DescribeImageFromFamily" => Ok(of_family(ask, state)),
        "CreateImage" => create(ask, state),
        "CopyImage" => copy(ask, state),
        "CancelCopyImage" => cancel(ask, state),
        "ImportImage" => import(ask, state),
        "DeleteImage" => delete(ask, state),
        "ModifyImageSharePermission" => share(ask, state),
        "CreateSnapshot" => snapshot(ask, state),
        "DescribeSnapshots" => Ok(snapshots(ask, state)),
        "DeleteSnapshot" => delete_snapshot(ask, state),
        "TagResources" | "UntagResources" | "AddTags" => tag(ask, state),
        _ => return None,
    })
}

fn value(id: &str, image: &mut Image) -> Value {
    let status = image.life.look();
    let disks: Vec<Value> =
        image.snapshots.iter().map(|id| json!({"SnapshotId": id, "Device": "/dev/xvda", "Size": "20"})).collect();
    json!({"ImageId": id, "ImageName": image.name, "Status": status, "ImageOwnerAlias": image.owner,
        "Progress": if status == "Available" { "100%" } else { "50%" }, "Size": 20, "Architecture": "x86_64",
        "Description": image.description, "DiskDeviceMappings": {"DiskDeviceMapping": disks}, "Tags": tags_value(&image.tags)})
}

fn describe(ask: &Ask<'_>, state: &mut State) -> Done {
    let states: Vec<String> = ask.get("Status").unwrap_or("Available").split(',').map(str::to_owned).collect();
    let (id, name, owner) = (ask.get("ImageId"), ask.get("ImageName"), ask.get("ImageOwnerAlias"));
    let all = state.images.iter_mut().filter(|(known, image)| {
        image.region == ask.region
            && id.is_none_or(|id| id.split(',').any(|id| id == *known))
            && name.is_none_or(|name| name == image.name)
            && owner.is_none_or(|owner| owner == image.owner)
            && ask.wants(&image.tags)
            && states.iter().any(|state| state == image.life.now())
    });
    let all = all.map(|(id, image)| value(id, image)).collect();
    ask.page("Images", "Image", all)
}

fn of_family(ask: &Ask<'_>, state: &mut State) -> Done {
    let family = ask.text("ImageFamily");
    let found = state.images.iter_mut().find(|(_, image)| image.region == ask.region && image.family == family);
    let image = found.map_or(json!({}), |(id, image)| value(id, image));
    Done { value: json!({"Image": image}), resource: "list", ..Done::default() }
}

fn free(state: &State, region: &str, name: &str) -> Result<(), Refused> {
    let taken = |image: &Image| image.region == region && image.name == name && image.owner == "self";
    match state.images.values().any(taken) {
        true => refused(400, "InvalidImageName.Duplicated", "The specified Image name has already existed."),
        false => Ok(()),
    }
}

fn add(ask: &Ask<'_>, state: &mut State, region: &str, name: &str, snapshots: Vec<String>) -> String {
    let id = state.id("m");
    let end = if ask.faults.images_fail { "CreateFailed" } else { "Available" };
    let left = if ask.faults.stuck == Some("image") { u32::MAX } else { ask.faults.pending };
    let image = Image {
        region: region.to_owned(),
        name: name.to_owned(),
        owner: "self",
        life: Life::new("Creating", end, left),
        snapshots,
        tags: ask.tags(),
        shares: Vec::new(),
        family: ask.text("ImageFamily"),
        description: ask.text("Description"),
        encrypted: ask.get("Encrypted") == Some("true"),
    };
    state.images.insert(id.clone(), image);
    id
}

fn add_snapshot(ask: &Ask<'_>, state: &mut State, region: &str, tags: Pairs) -> String {
    let id = state.id("s");
    let life = Life::new("progressing", "accomplished", ask.faults.pending);
    let (region, name) = (region.to_owned(), ask.text("SnapshotName"));
    state.snapshots.insert(id.clone(), Snapshot { region, name, life, tags });
    id
}

fn create(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let (name, region) = (ask.need("ImageName")?, ask.region.clone());
    free(state, &region, &name)?;
    let snapshots = match (ask.get("InstanceId"), ask.get("SnapshotId").or(ask.get("DiskDeviceMapping.1.SnapshotId"))) {
        (Some(instance), _) => {
            let at_rest = state.instances.get(instance).map(|instance| instance.life.now());
            if !matches!(at_rest, Some("Running" | "Stopped")) {
                return refused(
                    403,
                    "IncorrectInstanceStatus",
                    "The current status of the instance does not support this.",
                );
            }
            vec![add_snapshot(ask, state, &region, Vec::new())]
        }
        (None, Some(snapshot)) => {
            if state.snapshots.get(snapshot).is_none_or(|snapshot| snapshot.life.now() != "accomplished") {
                return refused(404, "InvalidSnapshotId.NotReady", "The specified snapshot has not completed yet.");
            }
            vec![snapshot.to_owned()]
        }
        (None, None) => {
            return refused(400, "MissingParameter", "InstanceId, SnapshotId or DiskDeviceMapping is needed");
        }
    };
    let id = add(ask, state, &region, &name, snapshots);
    Ok(made(json!({"ImageId": id}), "image", &id))
}

fn copy(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let (from, region) = (ask.need("ImageId")?, ask.need("DestinationRegionId")?);
    let name = ask.need("DestinationImageName")?;
    if !state.images.get(&from).is_some_and(|image| image.region == ask.region && image.life.now() == "Available") {
        return refused(404, "InvalidImageId.NotFound", "The specified image does not exist or is not ready.");
    }
    free(state, &region, &name)?;
    let snapshot = add_snapshot(ask, state, &region, Vec::new());
    let id = add(ask, state, &region, &name, vec![snapshot]);
    Ok(made(json!({"ImageId": id}), "image", &id))
}

fn cancel(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let id = ask.need("ImageId")?;
    match state.images.get_mut(&id) {
        Some(image) if image.life.now() == "Creating" => {
            image.life = Life::new("CreateFailed", "CreateFailed", 0);
            Ok(made(json!({}), "state", &id))
        }
        _ => refused(403, "IncorrectImageStatus", "The image is not being copied."),
    }
}

fn import(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let (name, region) = (ask.need("ImageName")?, ask.region.clone());
    let part = |name: &str| format!("DiskDeviceMapping.1.{name}");
    let (bucket, key) = (ask.need(&part("OSSBucket"))?, ask.need(&part("OSSObject"))?);
    let (format, size) = (ask.need(&part("Format"))?, ask.need(&part("DiskImageSize"))?);
    if !state.import_role {
        return refused(400, "NoSetRoletoECSServiceAcount", "ECS service account Have no right to access your OSS.");
    }
    if !matches!(&*format, "RAW" | "VHD" | "qcow2") || !(5..=2048).contains(&size.parse::<u64>().unwrap_or(0)) {
        return refused(400, "InvalidImageFormat.Malformed", "The specified Image Format is not valid.");
    }
    if state.oss.region_of(&bucket).as_deref() != Some(&region) || state.oss.object(&bucket, &key).is_none() {
        return refused(404, "InvalidOSSObject.NotFound", "The specified OSS object does not exist in this region.");
    }
    free(state, &region, &name)?;
    let snapshot = add_snapshot(ask, state, &region, Vec::new());
    let id = add(ask, state, &region, &name, vec![snapshot]);
    Ok(made(json!({"ImageId": id, "TaskId": "t-1"}), "image", &id))
}

fn delete(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let id = ask.need("ImageId")?;
    match state.images.get(&id).map(|image| image.owner) {
        Some("self") => {
            state.images.remove(&id);
            Ok(made(json!({}), "image", &id))
        }
        Some(_) => refused(403, "Forbidden.NotOwner", "The image is not yours."),
        None => refused(404, "InvalidImageId.NotFound", "The specified ImageId does not exist."),
    }
}

fn share(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let id = ask.need("ImageId")?;
    let (add, remove) = (ask.list("AddAccount"), ask.list("RemoveAccount"));
    let Some(image) = state.images.get_mut(&id).filter(|image| image.life.now() == "Available") else {
        return refused(404, "InvalidImageId.NotFound", "The specified ImageId does not exist.");
    };
    image.shares.retain(|account| !remove.contains(account));
    image.shares.extend(add);
    Ok(made(json!({}), "share", &id))
}

fn snapshot(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    ask.need("DiskId")?;
    let id = add_snapshot(ask, state, &ask.region.clone(), ask.tags());
    Ok(made(json!({"SnapshotId": id}), "snapshot", &id))
}

fn snapshots(ask: &Ask<'_>, state: &mut State) -> Done {
    let wanted = ask.array("SnapshotIds");
    let all = state.snapshots.iter_mut().filter(|(id, it)| {
        it.region == ask.region && ask.wants(&it.tags) && wanted.as_ref().is_none_or(|wanted| wanted.contains(id))
    });
    let value = |(id, it): (&String, &mut Snapshot)| json!({"SnapshotId": id, "SnapshotName": it.name, "Status": it.life.look(), "Progress": "100%", "Tags": tags_value(&it.tags)});
    let all = all.map(value).collect();
    ask.page("Snapshots", "Snapshot", all)
}

fn delete_snapshot(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let id = ask.need("SnapshotId")?;
    if state.images.values().any(|image| image.snapshots.contains(&id)) {
        return refused(403, "SnapshotCreatedImage", "The snapshot has been used to create an image.");
    }
    match state.snapshots.remove(&id) {
        Some(_) => Ok(made(json!({}), "snapshot", &id)),
        None => refused(404, "InvalidSnapshotId.NotFound", "The specified SnapshotId does not exist."),
    }
}

fn tag(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    let mut ids = ask.list("ResourceId");
    ids.extend(ask.get("ResourceId").map(str::to_owned));
    let (tags, keys) = (ask.tags(), ask.list("TagKey"));
    for id in &ids {
        let of = match ask.need("ResourceType")?.as_str() {
            "image" => state.images.get_mut(id).map(|it| &mut it.tags),
            "snapshot" => state.snapshots.get_mut(id).map(|it| &mut it.tags),
            _ => return refused(400, "InvalidResourceType.NotSupported", "The ResourceType is not supported."),
        };
        let Some(of) = of else { return refused(404, "InvalidResourceId.NotFound", "The resource does not exist.") };
        of.retain(|(key, _)| !keys.contains(key) && !tags.iter().any(|(new, _)| new == key));
        of.extend(tags.iter().cloned());
    }
    Ok(made(json!({}), "tags", &ids.join(",")))
}
