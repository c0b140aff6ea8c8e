//! Regions, zones, and what an account may have.

use serde::Deserialize;

use crate::client::{Call, Client};
use crate::{Result, Stop};

/// A region.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Region {
    /// `cn-hangzhou`.
    pub region_id: String,
}

/// A zone, and what can be had there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Zone {
    /// `cn-hangzhou-i`.
    pub zone_id: String,
    /// Types of machines.
    pub available_instance_types: Types,
    /// `Instance`, `VSwitch`, `Disk`.
    pub available_resource_creation: Resources,
}

/// Types of machines.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Types {
    /// Each.
    pub instance_types: Vec<String>,
}

/// Kinds of resources.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Resources {
    /// Each.
    pub resource_types: Vec<String>,
}

impl Zone {
    /// Whether it has this type of machines.
    pub fn has(&self, kind: &str) -> bool {
        self.available_instance_types.instance_types.iter().any(|known| known == kind)
    }

    /// Whether a resource of this kind can be made there.
    pub fn can(&self, resource: &str) -> bool {
        let all = &self.available_resource_creation.resource_types;
        all.is_empty() || all.iter().any(|known| known == resource)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Attribute {
    attribute_name: String,
    attribute_values: Values,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Values {
    value_item: Vec<Item>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Item {
    value: String,
}

/// Processors that an account may have at once, paid by use, and those it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processors {
    /// At the most.
    pub most: u64,
    /// In use.
    pub used: u64,
}

impl Client {
    /// The names of all regions.
    ///
    /// # Errors
    /// Those of the call.
    pub fn regions(&self, stop: Stop<'_>) -> Result<Vec<String>> {
        let all: Vec<Region> = self.list(&Call::new("DescribeRegions"), "/Regions/Region", stop)?;
        Ok(all.into_iter().map(|region| region.region_id).collect())
    }

    /// The zones of the region.
    ///
    /// # Errors
    /// Those of the call.
    pub fn zones(&self, stop: Stop<'_>) -> Result<Vec<Zone>> {
        self.list(&Call::new("DescribeZones"), "/Zones/Zone", stop)
    }

    /// What is left of the account's processors, if the service says so.
    ///
    /// # Errors
    /// Those of the call.
    pub fn processors(&self, stop: Stop<'_>) -> Result<Option<Processors>> {
        const NAMES: [&str; 2] = ["max-postpaid-instance-vcpu-count", "used-postpaid-instance-vcpu-count"];
        let call = Call::new("DescribeAccountAttributes").list("AttributeName", &NAMES);
        let all: Vec<Attribute> = self.list(&call, "/AccountAttributeItems/AccountAttributeItem", stop)?;
        let value = |name: &str| -> Option<u64> {
            let attribute = all.iter().find(|attribute| attribute.attribute_name == name)?;
            attribute.attribute_values.value_item.first()?.value.parse().ok()
        };
        Ok(value(NAMES[0]).zip(value(NAMES[1])).map(|(most, used)| Processors { most, used }))
    }
}
