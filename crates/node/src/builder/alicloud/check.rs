//! What is asked before anything is made: regions, names, the image, where such a machine can be had, who may reach it.

use kiln_alicloud::address::{self, Seen};
use kiln_alicloud::client::Service;
use kiln_alicloud::ecs::network::{VSwitch, Vpc};
use kiln_alicloud::{Call, Client, Stop};

use super::config::{Config, NetworkConfig};
use super::{failed, user_data};
use crate::builder::Job;
use crate::communicator::Communicator;
use crate::communicator::settings::Checking;
use crate::error::{NodeError, Result};

/// What was found out.
pub struct Found {
    /// The image to start from.
    pub image: String,
    /// Where the machine will be.
    pub place: Place,
    /// Whom its security group lets in; nobody needs one that is there already.
    pub admitted: Vec<String>,
    /// Whether it is told its host key.
    pub pin: bool,
}

/// Where the machine will be.
pub enum Place {
    /// In a part of a network that is there.
    Within(VSwitch),
    /// In a new part of a network that is there: its zone and its addresses.
    Part(Vpc, String, String),
    /// In a new network: the zone, and the addresses of its part.
    New(String, String),
}

/// What asks.
struct Asking<'a> {
    config: &'a Config,
    client: &'a Client,
    job: &'a Job<'a>,
    stop: Stop<'a>,
}

/// Asks all of it.
///
/// # Errors
/// Everything that would go wrong later; places in the template where that has some.
pub fn check(config: &Config, client: &Client, job: &Job<'_>) -> Result<Found> {
    let stop = || job.cancel.is_cancelled();
    let asking = Asking { config, client, job, stop: &stop };
    let pin = asking.pin()?;
    let admitted = asking.admitted()?;
    job.ui.say("Prevalidating source region and copied regions...");
    asking.regions()?;
    job.ui.say("Prevalidating image name...");
    asking.names()?;
    let image = asking.source()?;
    job.ui.message(&format!("Found image ID: {image}"));
    let place = asking.place()?;
    asking.others()?;
    asking.processors()?;
    Ok(Found { image, place, admitted, pin })
}

impl Asking<'_> {
    /// Whether the machine is told its host key; without any it has to be said that this is no matter.
    fn pin(&self) -> Result<bool> {
        let Communicator::Ssh(settings) = &self.config.communicator else { return Ok(false) };
        if settings.host_key.is_some() || settings.checking.is_some_and(|checking| checking != Checking::Yes) {
            return Ok(false);
        }
        match user_data::takes_key(self.config.machine.user_data.as_deref()) {
            true => Ok(true),
            false => Err(NodeError::Unsupported {
                what: "the user data consists of parts already, or is none of cloud-init's: the machine cannot be told its \
                       host key with it"
                    .to_owned(),
                hint: Some("say which it will have (ssh_host_key), or \"ssh_strict_host_key_checking\": \"no\"".to_owned()),
            }),
        }
    }

    fn admitted(&self) -> Result<Vec<String>> {
        let network = &self.config.network;
        let needless = network.group.is_some() || matches!(self.config.communicator, Communicator::None);
        if needless || !network.admitted.is_empty() {
            return Ok(if needless { Vec::new() } else { network.admitted.clone() });
        }
        let endpoint = self.client.endpoint(Service::Ecs).map_err(failed("Error finding ECS"))?;
        one_block(address::seen(&endpoint), network.private).map(|block| vec![block]).map_err(|why| {
            let message = format!("whom the security group of the machine is to let in is not known: {why}");
            self.config.fault("security_group_source_cidrs", "UnknownAddress", message).hint(WHOM).into()
        })
    }

    fn regions(&self) -> Result<()> {
        let config = self.config;
        if config.trust_regions {
            return Ok(());
        }
        let known = self.client.regions(self.stop).map_err(failed("Error querying regions"))?;
        let own = ("region", self.client.region());
        let copies = config.image.copies.iter().map(|copy| ("image_copy_regions", &*copy.region));
        for (key, region) in std::iter::once(own).chain(copies) {
            if !known.iter().any(|known| known == region) {
                let fault = config.fault(key, "UnknownRegion", format!("there is no region `{region}`"));
                return Err(fault.suggest(region, known.iter().map(String::as_str)).into());
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<()> {
        let (config, image) = (self.config, &self.config.image);
        if config.trust_images || image.skip {
            return Ok(());
        }
        let own = (self.client.region(), &*image.name, "image_name");
        let copies = image.copies.iter().map(|copy| (&*copy.region, &*copy.name, "image_copy_regions"));
        for (region, name, key) in std::iter::once(own).chain(copies) {
            let there = self.client.in_region(region).map_err(failed("Error querying alicloud image"))?;
            let found = there.images_named(name, self.stop).map_err(failed("Error querying alicloud image"))?;
            if let (Some(found), false) = (found.first(), image.force || self.job.force) {
                let message = format!("Alicloud image_name: '{name}' already exists in {region}: {}", found.image_id);
                let fault = config.fault(key, "NameTaken", message);
                return Err(fault
                    .hint("choose another name, or let it be deleted: image_force_delete, or -force")
                    .into());
            }
        }
        Ok(())
    }

    fn source(&self) -> Result<String> {
        use super::config::Source;
        let config = self.config;
        match &config.machine.source {
            Source::Image(id) if config.trust_images => Ok(id.clone()),
            Source::Image(id) => {
                match self.client.source_image(id, self.stop).map_err(failed("Error querying alicloud image"))? {
                    Some(image) => Ok(image.image_id),
                    None => {
                        let message =
                            format!("No alicloud image was found matching filters: `{id}` in {}", self.client.region());
                        Err(config.fault("source_image", "NoImage", message).into())
                    }
                }
            }
            Source::Family(family) => {
                let image =
                    self.client.image_of_family(family, self.stop).map_err(failed("Error querying alicloud image"))?;
                let missing = || {
                    config
                        .fault("source_image", "NoImage", format!("No image of the family `{family}` was found"))
                        .into()
                };
                image.map(|image| image.image_id).ok_or_else(missing)
            }
        }
    }

    fn place(&self) -> Result<Place> {
        let (network, action) = (&self.config.network, "Error querying networks");
        if let Some(id) = &network.vswitch {
            let all = self.client.vswitches(network.vpc.as_deref(), Some(id), self.stop).map_err(failed(action))?;
            let Some(vswitch) = all.into_iter().find(|vswitch| vswitch.v_switch_id == *id) else {
                return Err(self.config.fault("vswitch_id", "NoVSwitch", format!("there is no vSwitch `{id}`")).into());
            };
            if let Some(zone) = network.zone.as_ref().filter(|zone| **zone != vswitch.zone_id) {
                let message = format!("the vSwitch `{id}` is in the zone {}, and not in {zone}", vswitch.zone_id);
                return Err(self.config.fault("zone_id", "OtherZone", message).into());
            }
            self.zone(Some(&vswitch.zone_id))?;
            return Ok(Place::Within(vswitch));
        }
        let zone = self.zone(network.zone.as_deref())?;
        let Some(id) = &network.vpc else { return Ok(Place::New(zone, part_of(&network.block, &[]))) };
        let all = self.client.vpcs(Some(id), self.stop).map_err(failed(action))?;
        let Some(vpc) = all.into_iter().find(|vpc| vpc.vpc_id == *id) else {
            return Err(NodeError::Unsupported { what: format!("there is no VPC `{id}`"), hint: None });
        };
        let parts = self.client.vswitches(Some(id), None, self.stop).map_err(failed(action))?;
        let taken: Vec<String> = parts.into_iter().map(|part| part.cidr_block).collect();
        let block = part_of(&vpc.cidr_block, &taken);
        Ok(Place::Part(vpc, zone, block))
    }

    /// A zone that has such machines.
    fn zone(&self, wanted: Option<&str>) -> Result<String> {
        let (config, kind) = (self.config, &self.config.machine.kind);
        let zones = self.client.zones(self.stop).map_err(failed("Error querying zones"))?;
        if let Some(wanted) = wanted
            && !zones.iter().any(|zone| zone.zone_id == wanted)
        {
            let fault =
                config.fault("zone_id", "NoZone", format!("there is no zone `{wanted}` in {}", self.client.region()));
            return Err(fault.suggest(wanted, zones.iter().map(|zone| &*zone.zone_id)).into());
        }
        let fits = |zone: &&kiln_alicloud::ecs::region::Zone| {
            wanted.is_none_or(|wanted| zone.zone_id == wanted) && zone.has(kind) && zone.can("VSwitch")
        };
        if let Some(zone) = zones.iter().find(fits) {
            return Ok(zone.zone_id.clone());
        }
        let elsewhere: Vec<&str> = zones.iter().filter(|zone| zone.has(kind)).map(|zone| &*zone.zone_id).collect();
        let place = wanted.unwrap_or(self.client.region());
        let fault =
            config.fault("instance_type", "NoSuchMachines", format!("there are no machines `{kind}` in {place}"));
        Err(match elsewhere.is_empty() {
            false => fault.hint(format!("they are in {}", elsewhere.join(", "))),
            true => {
                let all = zones.iter().flat_map(|zone| &zone.available_instance_types.instance_types);
                fault.suggest(kind, all.map(String::as_str))
            }
        }
        .into())
    }

    /// What else is to be there already.
    fn others(&self) -> Result<()> {
        let missing = |what: String| Err(NodeError::Unsupported { what, hint: None });
        let NetworkConfig { group, eip, .. } = &self.config.network;
        if let Some(id) = group {
            let call = Call::new("DescribeSecurityGroups").with("SecurityGroupId", id);
            let all = self.client.security_groups(call, self.stop).map_err(failed("Error querying security groups"))?;
            if !all.iter().any(|group| group.security_group_id == *id) {
                return missing(format!("there is no security group `{id}`"));
            }
        }
        if let Some(id) = eip {
            match self.client.eip(id, self.stop).map_err(failed("Error querying EIPs"))? {
                Some(eip) if eip.status == "Available" => {}
                Some(eip) => return missing(format!("the address `{id}` is not free: it is {}", eip.status)),
                None => return missing(format!("there is no elastic address `{id}`")),
            }
        }
        Ok(())
    }

    fn processors(&self) -> Result<()> {
        match self.client.processors(self.stop) {
            Ok(Some(left)) if left.used >= left.most => Err(NodeError::Unsupported {
                what: format!(
                    "the account uses {} of {} processors: a machine more cannot be made",
                    left.used, left.most
                ),
                hint: Some(
                    "free some, or ask for more in the Quota Center; `kiln node gc` deletes what builds left"
                        .to_owned(),
                ),
            }),
            Ok(_) => Ok(()),
            Err(kiln_alicloud::AlicloudError::Cancelled) => Err(NodeError::Cancelled),
            // Not everybody may ask; whoever may not learns it from the machine's own call.
            Err(error) if error.refusal().is_some() => {
                self.job.ui.message(&format!("quotas could not be checked: {error}"));
                Ok(())
            }
            Err(error) => Err(failed("Error querying quotas")(error)),
        }
    }
}

/// What to do where nobody here knows by which address the cloud sees this machine.
const WHOM: &str = "add the address that the cloud sees (the router, NAT gateway or CI runner has it; a page that shows visitors \
                    their address says which) to the builder: \"security_group_source_cidrs\": [\"203.0.113.7/32\"]. A block lets in \
                    all of it, 0.0.0.0/0 everybody, to the port of SSH alone. Without a public address: \"ssh_private_ip\": true within \
                    the VPC, or a group of your own: security_group_id";

/// The block that the group lets in: this machine alone, if it is known by which address it comes.
fn one_block(seen: Seen, private: bool) -> std::result::Result<String, String> {
    let address = match seen {
        Seen::As(address) => address,
        Seen::Behind(address) if private => address,
        Seen::Behind(address) => {
            return Err(format!("this machine has {address}, which is translated on its way out (NAT)"));
        }
        Seen::Unknown => return Err("this machine has no way to ECS by IPv4, or its name is not known".to_owned()),
    };
    address::block(&address.to_string())
}

/// Addresses within a network's, which no other part of it has: 256 of them, or all if there are fewer.
fn part_of(block: &str, taken: &[String]) -> String {
    let Some((base, bits)) = parsed(block) else { return "172.16.0.0/24".to_owned() };
    if bits >= 24 {
        return block.to_owned();
    }
    let taken: Vec<(u32, u32)> = taken.iter().filter_map(|block| parsed(block)).collect();
    let overlaps = |start: u32| {
        taken.iter().any(|(other, bits)| {
            let mask = u32::MAX.checked_shl(32 - (*bits).min(24)).unwrap_or(0);
            start & mask == other & mask
        })
    };
    let count = 1_u32 << (24 - bits);
    let free = (0..count).map(|n| base + (n << 8)).find(|start| !overlaps(*start));
    format!("{}/24", std::net::Ipv4Addr::from(free.unwrap_or(base)))
}

fn parsed(block: &str) -> Option<(u32, u32)> {
    let (address, bits) = block.split_once('/')?;
    let bits: u32 = bits.parse().ok().filter(|bits| (1..=32).contains(bits))?;
    let address = u32::from(address.parse::<std::net::Ipv4Addr>().ok()?);
    Some((address & u32::MAX.checked_shl(32 - bits).unwrap_or(0), bits))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn behind_a_router_it_is_said_why_and_what_to_do() {
        let (inner, outer) = (IpAddr::from([192, 168, 1, 5]), IpAddr::from([203, 0, 113, 7]));
        assert_eq!(one_block(Seen::As(outer), false).unwrap(), "203.0.113.7/32");
        assert_eq!(one_block(Seen::Behind(inner), true).unwrap(), "192.168.1.5/32");
        assert!(one_block(Seen::Behind(inner), false).unwrap_err().contains("192.168.1.5, which is translated"));
        assert!(one_block(Seen::Unknown, true).unwrap_err().contains("IPv4"));
        assert!(one_block(Seen::As(IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped())), false).is_err());
        for word in ["\"security_group_source_cidrs\": [\"", "0.0.0.0/0", "ssh_private_ip", "security_group_id"] {
            assert!(WHOM.contains(word), "{word}");
        }
    }

    #[test]
    fn a_part_has_addresses_that_no_other_has() {
        assert_eq!(part_of("172.16.0.0/16", &[]), "172.16.0.0/24");
        assert_eq!(part_of("10.1.0.0/16", &["10.1.0.0/24".to_owned(), "10.1.1.0/25".to_owned()]), "10.1.2.0/24");
        assert_eq!(part_of("10.1.0.0/16", &["10.1.0.0/20".to_owned()]), "10.1.16.0/24");
        assert_eq!(part_of("192.168.5.0/26", &[]), "192.168.5.0/26");
        assert_eq!(part_of("nonsense", &[]), "172.16.0.0/24");
    }
}
