//! Objects of OSS, as far as an image's way into ECS needs them: buckets, uploads in parts, deletion.
//!
//! [`request`] one request     [`bucket`] what objects are in     [`upload`] a file in parts, which goes on where it stopped

mod bucket;
mod request;
mod upload;

use kiln_ledger::Resource;
use kiln_ledger::sweep::Gone;

use crate::client::Client;
use crate::sweep::Kind;
use crate::{AlicloudError, Result, Stop};

pub use upload::{PART, Upload};

/// The objects of a client's region.
#[derive(Debug, Clone, Copy)]
pub struct Oss<'a> {
    pub(crate) client: &'a Client,
}

impl<'a> Oss<'a> {
    /// With the rights of this client.
    pub fn new(client: &'a Client) -> Oss<'a> {
        Oss { client }
    }
}

/// Deletes what a ledger has of OSS.
pub(crate) fn remove(client: &Client, kind: Kind, resource: &Resource, stop: Stop<'_>) -> Result<Gone> {
    let oss = Oss::new(client);
    let scope = |name: &str| resource.scope.get(name).map_or("", String::as_str);
    let (bucket, key) = (scope("bucket"), scope("key"));
    let result = match (kind, &resource.id) {
        (Kind::Upload, Some(id)) => oss.abort(bucket, key, id, stop),
        (Kind::Upload, None) => {
            let all = oss.uploads(bucket, key, stop)?;
            all.iter().try_for_each(|id| oss.abort(bucket, key, id, stop))
        }
        (Kind::Object, _) => oss.delete(bucket, key, stop),
        _ => oss.delete_bucket(bucket, stop),
    };
    match result {
        Ok(()) => Ok(Gone::Deleted),
        Err(error) if error.is(&["NoSuchUpload", "NoSuchBucket", "NoSuchKey"]) => Ok(Gone::WasNotThere),
        // What somebody put into it is not Kiln's.
        Err(AlicloudError::Refused { refusal, .. }) if refusal.is(&["BucketNotEmpty"]) => Ok(Gone::WasNotThere),
        Err(error) => Err(error),
    }
}
