//! Who logs in: key pairs of ECS, of which Kiln hands over the public half only.

use serde::Deserialize;

use super::network::Tags;
use crate::client::{Call, Client};
use crate::{Result, Stop};

/// A key pair.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct KeyPair {
    /// Its name, which is its id.
    pub key_pair_name: String,
    /// Its tags.
    pub tags: Tags,
}

impl Client {
    /// Hands over the public half of a key, as a line of `authorized_keys`.
    ///
    /// # Errors
    /// Those of the call.
    pub fn import_key_pair(&self, name: &str, line: &str, tags: &[(String, String)], stop: Stop<'_>) -> Result<()> {
        let call = Call::new("ImportKeyPair").with("KeyPairName", name).with("PublicKeyBody", line).tags(tags);
        match self.call(&call, stop) {
            // The name is made for this build: whose answer was lost made it.
            Err(error) if error.refusal().is_some_and(|r| r.repeated && r.is(&["KeyPair.AlreadyExist"])) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Key pairs: of a name, of a mark, of all.
    ///
    /// # Errors
    /// Those of the call.
    pub fn key_pairs(&self, call: Call, stop: Stop<'_>) -> Result<Vec<KeyPair>> {
        self.list(&call, "/KeyPairs/KeyPair", stop)
    }

    /// Takes a key pair from a machine.
    ///
    /// # Errors
    /// Those of the call.
    pub fn detach_key_pair(&self, name: &str, instance: &str, stop: Stop<'_>) -> Result<()> {
        let ids = format!("[\"{instance}\"]");
        self.call(&Call::new("DetachKeyPair").with("KeyPairName", name).with("InstanceIds", ids), stop).map(drop)
    }
}
