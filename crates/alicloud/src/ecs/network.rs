//! VPCs, vSwitches, security groups, elastic addresses.

use serde::Deserialize;

use super::wait::{self, SHORT, Sight, state_of};
use super::{Mark, TAG};
use crate::client::{Call, Client};
use crate::{Result, Stop};

/// A network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Vpc {
    /// `vpc-…`.
    pub vpc_id: String,
    /// Its name.
    pub vpc_name: String,
    /// `Pending`, `Available`.
    pub status: String,
    /// Its addresses.
    pub cidr_block: String,
    /// Free text: the mark of a build.
    pub description: String,
}

/// A part of a network in one zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VSwitch {
    /// `vsw-…`.
    pub v_switch_id: String,
    /// Its name.
    pub v_switch_name: String,
    /// The network.
    pub vpc_id: String,
    /// The zone.
    pub zone_id: String,
    /// `Pending`, `Available`.
    pub status: String,
    /// Its addresses.
    pub cidr_block: String,
    /// Free text: the mark of a build.
    pub description: String,
}

/// Who may talk to a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SecurityGroup {
    /// `sg-…`.
    pub security_group_id: String,
    /// Its name.
    pub security_group_name: String,
    /// Its network.
    pub vpc_id: String,
    /// Free text.
    pub description: String,
    /// Its tags.
    pub tags: Tags,
}

/// Tags in an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Tags {
    /// Each.
    #[serde(rename = "Tag")]
    pub tag: Vec<Tag>,
}

/// A tag in an answer; what it is called differs from call to call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Tag {
    /// Its key.
    #[serde(rename = "TagKey", alias = "Key")]
    pub key: String,
    /// Its value.
    #[serde(rename = "TagValue", alias = "Value")]
    pub value: String,
}

impl Tags {
    /// The build that this is of.
    pub fn build(&self) -> Option<&str> {
        self.tag.iter().find(|tag| tag.key == TAG).map(|tag| &*tag.value)
    }
}

/// An elastic address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Eip {
    /// `eip-…`.
    pub allocation_id: String,
    /// The address.
    pub ip_address: String,
    /// `Available`, `InUse`, `Associating`, `Unassociating`.
    pub status: String,
    /// The machine that has it.
    pub instance_id: String,
}

/// What an elastic address is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EipOrder {
    /// In Mbit/s.
    pub bandwidth: u64,
    /// `PayByTraffic`, `PayByBandwidth`.
    pub charge: String,
}

impl Client {
    /// Makes a network.
    ///
    /// # Errors
    /// Those of the call.
    pub fn create_vpc(&self, token: &str, name: &str, block: &str, mark: &Mark, stop: Stop<'_>) -> Result<String> {
        let call = Call::new("CreateVpc")
            .with("ClientToken", token)
            .with("VpcName", name)
            .with("CidrBlock", block)
            .with("Description", mark.description())
            .again(&["TOKEN_PROCESSING"]);
        self.text(&call, "/VpcId", stop)
    }

    /// All networks, or the one of this id.
    ///
    /// # Errors
    /// Those of the call.
    pub fn vpcs(&self, id: Option<&str>, stop: Stop<'_>) -> Result<Vec<Vpc>> {
        self.list(&Call::new("DescribeVpcs").maybe("VpcId", id), "/Vpcs/Vpc", stop)
    }

    /// A network, once it can be used.
    ///
    /// # Errors
    /// Those of the call; that it takes too long.
    pub fn vpc_available(&self, id: &str, stop: Stop<'_>) -> Result<Vpc> {
        wait::until(&format!("the VPC {id}"), "Available", SHORT, stop, || {
            let all = self.vpcs(Some(id), stop)?;
            Ok(state_of(all.into_iter().find(|vpc| vpc.vpc_id == id), "Available", |vpc| &vpc.status))
        })
    }

    /// Makes a part of a network.
    ///
    /// # Errors
    /// Those of the call.
    pub fn create_vswitch(&self, token: &str, new: &VSwitch, stop: Stop<'_>) -> Result<String> {
        let call = Call::new("CreateVSwitch")
            .with("ClientToken", token)
            .with("VpcId", &new.vpc_id)
            .with("ZoneId", &new.zone_id)
            .with("CidrBlock", &new.cidr_block)
            .with("VSwitchName", &new.v_switch_name)
            .with("Description", &new.description)
            .again(&["TOKEN_PROCESSING", "InvalidStatus.RouteEntry", "IncorrectVpcStatus", "TaskConflict"]);
        self.text(&call, "/VSwitchId", stop)
    }

    /// All parts of a network, or the one of this id.
    ///
    /// # Errors
    /// Those of the call.
    pub fn vswitches(&self, vpc: Option<&str>, id: Option<&str>, stop: Stop<'_>) -> Result<Vec<VSwitch>> {
        let call = Call::new("DescribeVSwitches").maybe("VpcId", vpc).maybe("VSwitchId", id);
        self.list(&call, "/VSwitches/VSwitch", stop)
    }

    /// A part of a network, once it can be used.
    ///
    /// # Errors
    /// Those of the call; that it takes too long.
    pub fn vswitch_available(&self, id: &str, stop: Stop<'_>) -> Result<VSwitch> {
        wait::until(&format!("the vSwitch {id}"), "Available", SHORT, stop, || {
            let all = self.vswitches(None, Some(id), stop)?;
            Ok(state_of(all.into_iter().find(|v| v.v_switch_id == id), "Available", |v| &v.status))
        })
    }

    /// Makes a security group, which lets nobody in yet.
    ///
    /// # Errors
    /// Those of the call.
    pub fn create_security_group(
        &self,
        token: &str,
        new: &SecurityGroup,
        tags: &[(String, String)],
        stop: Stop<'_>,
    ) -> Result<String> {
        let call = Call::new("CreateSecurityGroup")
            .with("ClientToken", token)
            .with("VpcId", &new.vpc_id)
            .with("SecurityGroupName", &new.security_group_name)
            .with("Description", &new.description)
            .tags(tags)
            .again(&["IdempotentProcessing", "IncorrectVpcStatus"]);
        self.text(&call, "/SecurityGroupId", stop)
    }

    /// Lets a block of addresses reach one port by TCP. The same rule twice is one.
    ///
    /// # Errors
    /// Those of the call.
    pub fn admit(&self, group: &str, port: u16, from: &str, stop: Stop<'_>) -> Result<()> {
        let call = Call::new("AuthorizeSecurityGroup")
            .with("SecurityGroupId", group)
            .with("IpProtocol", "tcp")
            .with("PortRange", format!("{port}/{port}"))
            .with("SourceCidrIp", from)
            .with("NicType", "intranet")
            .with("Policy", "accept")
            .with("Priority", "1");
        match self.call(&call, stop) {
            Err(error) if error.is(&["InvalidPermission.Duplicate", "AuthorizationExists"]) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Security groups: of an id, of a mark, of all.
    ///
    /// # Errors
    /// Those of the call.
    pub fn security_groups(&self, call: Call, stop: Stop<'_>) -> Result<Vec<SecurityGroup>> {
        self.list(&call, "/SecurityGroups/SecurityGroup", stop)
    }

    /// Takes an elastic address, and returns its id and itself.
    ///
    /// # Errors
    /// Those of the call.
    pub fn allocate_eip(&self, token: &str, order: &EipOrder, stop: Stop<'_>) -> Result<(String, String)> {
        let call = Call::new("AllocateEipAddress")
            .with("ClientToken", token)
            .with("Bandwidth", order.bandwidth.to_string())
            .with("InternetChargeType", &order.charge)
            .again(&["LastTokenProcessing"]);
        let answer = self.call(&call, stop)?;
        let text = |name: &str| answer.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let (id, address) = (text("AllocationId"), text("EipAddress"));
        match id.is_empty() || address.is_empty() {
            false => Ok((id, address)),
            true => Err(crate::AlicloudError::Protocol {
                action: "AllocateEipAddress".to_owned(),
                why: "it has no AllocationId and EipAddress".to_owned(),
            }),
        }
    }

    /// An elastic address of this account.
    ///
    /// # Errors
    /// Those of the call.
    pub fn eip(&self, id: &str, stop: Stop<'_>) -> Result<Option<Eip>> {
        let call = Call::new("DescribeEipAddresses").with("AllocationId", id);
        let all: Vec<Eip> = self.list(&call, "/EipAddresses/EipAddress", stop)?;
        Ok(all.into_iter().find(|eip| eip.allocation_id == id))
    }

    /// Gives an address to a machine, and waits until it has it.
    ///
    /// # Errors
    /// Those of the calls; that it takes too long.
    pub fn associate_eip(&self, id: &str, instance: &str, stop: Stop<'_>) -> Result<Eip> {
        let call = Call::new("AssociateEipAddress").with("AllocationId", id).with("InstanceId", instance);
        let call = call.again(&["TaskConflict", "IncorrectInstanceStatus"]);
        wait::until(&format!("the address {id}"), "given to the machine", SHORT, stop, || {
            match self.call(&call, stop) {
                // A lost answer: what it did is in the way of doing it again.
                Err(error) if error.refusal().is_some_and(|r| r.repeated && r.status < 500) => Ok(Sight::There(())),
                // It is not free yet, or is given already.
                Err(error) if error.is(&["IncorrectEipStatus"]) => match self.eip(id, stop)? {
                    Some(eip) if eip.instance_id == instance => Ok(Sight::There(())),
                    seen => Ok(Sight::Not(seen.map_or_else(|| "not there".to_owned(), |eip| eip.status))),
                },
                other => other.map(|_| Sight::There(())),
            }
        })?;
        wait::until(&format!("the address {id}"), "InUse", SHORT, stop, || {
            Ok(state_of(self.eip(id, stop)?, "InUse", |eip| &eip.status))
        })
    }

    /// Takes an address from the machine that has it, and waits until it is free.
    ///
    /// # Errors
    /// Those of the calls; that it takes too long.
    pub fn free_eip(&self, id: &str, instance: &str, stop: Stop<'_>) -> Result<()> {
        let call = Call::new("UnassociateEipAddress").with("AllocationId", id).with("InstanceId", instance);
        let call = call.again(&["TaskConflict", "IncorrectInstanceStatus"]);
        match self.call(&call, stop) {
            Err(error) if error.is(&["IncorrectEipStatus", "InvalidAssociation"]) => {}
            Err(error) if error.refusal().is_some_and(crate::Refusal::is_absence) => return Ok(()),
            other => drop(other?),
        }
        wait::until(&format!("the address {id}"), "Available", SHORT, stop, || match self.eip(id, stop)? {
            None => Ok(Sight::There(())),
            Some(eip) if eip.status == "Available" => Ok(Sight::There(())),
            Some(eip) => Ok(Sight::Not(eip.status)),
        })
    }
}
